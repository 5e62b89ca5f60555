//! virtio over PCI, not legacy (virtio 1.3 §4.1).
//!
//! [`Places::find`] reads the capabilities and tells in which BARs the structures are; whoever owns the bus maps them and
//! makes [`Regions`].

use super::transport::{QueueSetup, Transport};
use core::fmt;
use ioward_spec::virtio::{
    REQUEST_QUEUE,
    pci::{DEVICE_ID_BASE, VENDOR_ID, capability, common},
};
use ioward_types::Mmio;

/// Offsets in configuration space (PCI 3.0, 6.1 and 6.7).
const STATUS: u16 = 0x04;
const CAPABILITIES_POINTER: u16 = 0x34;
/// There are no more than so many capabilities in 256 bytes.
const MOST: usize = 48;

/// A structure's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The BAR, 0 to 5.
    pub bar: u8,
    /// The first byte in it.
    pub offset: u32,
    /// How many bytes.
    pub bytes: u32,
}

/// Where the structures of a virtio function are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Places {
    /// The virtio device ID: 23 for a virtio-iommu.
    pub device_id: u16,
    /// The common configuration.
    pub common: Place,
    /// Where queues are notified.
    pub notify: Place,
    /// What a queue's notification offset is multiplied by.
    pub notify_multiplier: u32,
    /// The ISR status.
    pub isr: Place,
    /// The device configuration.
    pub device: Place,
}

/// Why a function is not a virtio device that can be driven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PlacesError {
    /// Vendor and device, the first 32 bits of configuration space, are not those of a virtio device that is not legacy.
    NotVirtio(u32),
    /// A structure is missing, lies in no BAR, or is too short.
    Missing(&'static str),
}

impl fmt::Display for PlacesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotVirtio(id) => write!(f, "{id:#010x} is no virtio function"),
            Self::Missing(what) => write!(f, "the virtio function has no usable {what}"),
        }
    }
}
impl core::error::Error for PlacesError {}

impl Places {
    /// Finds the structures. `read` reads 32 bits of the function's configuration space, at a multiple of 4 below 256.
    ///
    /// The first capability of each kind that can be used is taken (§4.1.4).
    pub fn find(read: impl Fn(u16) -> u32) -> Result<Self, PlacesError> {
        let id = read(0);
        let device_id = (id >> 16) as u16;
        if id as u16 != VENDOR_ID || device_id < DEVICE_ID_BASE {
            return Err(PlacesError::NotVirtio(id));
        }
        let mut found: [Option<Place>; 4] = [None; 4];
        let mut notify_multiplier = 0;
        let has_list = read(STATUS) >> 16 & 1 << 4 != 0;
        let mut at = if has_list { (read(CAPABILITIES_POINTER) & 0xfc) as u16 } else { 0 };
        for _ in 0..MOST {
            if at < 0x40 {
                break;
            }
            let head = read(at);
            let kind = (head >> 24) as u8;
            // A capability that would reach beyond configuration space is not read.
            let ends = at + if kind == capability::NOTIFY { 20 } else { 16 };
            if head as u8 == capability::ID && ends <= 256 && (1..=4).contains(&kind) {
                let place = Place {
                    bar: read(at + capability::BAR) as u8,
                    offset: read(at + capability::OFFSET),
                    bytes: read(at + capability::BYTES),
                };
                let fits = place.bar < 6 && place.offset.checked_add(place.bytes).is_some();
                let slot = &mut found[usize::from(kind) - 1];
                if slot.is_none() && fits && place.bytes != 0 {
                    *slot = Some(place);
                    if kind == capability::NOTIFY {
                        notify_multiplier = read(at + capability::NOTIFY_MULTIPLIER);
                    }
                }
            }
            at = (head >> 8 & 0xfc) as u16;
        }
        let [common_place, notify, isr, device] = found;
        let long = |place: Option<Place>, bytes: usize, what| {
            place.filter(|place| place.bytes as usize >= bytes).ok_or(PlacesError::Missing(what))
        };
        Ok(Self {
            device_id: device_id - DEVICE_ID_BASE,
            common: long(common_place, common::BYTES, "common configuration")?,
            notify: long(notify, 2, "notification structure")?,
            notify_multiplier,
            isr: long(isr, 1, "ISR status")?,
            device: long(device, 1, "device configuration")?,
        })
    }
}

/// The structures, mapped.
#[derive(Debug)]
pub struct Regions<M> {
    /// The common configuration.
    pub common: M,
    /// Where queues are notified.
    pub notify: M,
    /// What a queue's notification offset is multiplied by.
    pub notify_multiplier: u32,
    /// The ISR status.
    pub isr: M,
    /// The device configuration.
    pub device: M,
}

/// A virtio device on PCI.
#[derive(Debug)]
pub struct VirtioPci<M> {
    regions: Regions<M>,
    device_id: u32,
    /// The MSI-X vector of configuration changes and of the event queue.
    vector: u16,
    /// Where each of the two queues is notified, in bytes.
    notify: [core::sync::atomic::AtomicUsize; 2],
}

impl<M: Mmio> VirtioPci<M> {
    /// A transport over mapped `regions` of the device `device_id`. `vector`: the entry of its MSI-X table that faults
    /// are signalled with; none for a wired interrupt.
    pub fn new(regions: Regions<M>, device_id: u16, vector: Option<u16>) -> Self {
        let vector = vector.unwrap_or(common::NO_VECTOR);
        Self { regions, device_id: device_id.into(), vector, notify: Default::default() }
    }

    fn write_address(&self, at: usize, address: u64) {
        self.regions.common.write32(at, address as u32);
        self.regions.common.write32(at + 4, (address >> 32) as u32);
    }
}

impl<M: Mmio> Transport for VirtioPci<M> {
    fn device_id(&self) -> u32 {
        self.device_id
    }

    fn device_features(&self) -> u64 {
        let [low, high] = [0, 1].map(|half| {
            self.regions.common.write32(common::DEVICE_FEATURE_SELECT, half);
            u64::from(self.regions.common.read32(common::DEVICE_FEATURE))
        });
        low | high << 32
    }

    fn accept_features(&self, features: u64) {
        for half in [0, 1] {
            self.regions.common.write32(common::DRIVER_FEATURE_SELECT, half);
            self.regions.common.write32(common::DRIVER_FEATURE, (features >> (32 * half)) as u32);
        }
    }

    fn status(&self) -> u8 {
        self.regions.common.read8(common::DEVICE_STATUS)
    }

    fn set_status(&self, status: u8) {
        self.regions.common.write8(common::DEVICE_STATUS, status);
    }

    fn queue_size(&self, queue: u16) -> u16 {
        self.regions.common.write16(common::QUEUE_SELECT, queue);
        self.regions.common.read16(common::QUEUE_SIZE)
    }

    fn start_queue(&self, queue: u16, setup: &QueueSetup) {
        let common_cfg = &self.regions.common;
        common_cfg.write16(common::CONFIG_MSIX_VECTOR, self.vector);
        common_cfg.write16(common::QUEUE_SELECT, queue);
        common_cfg.write16(common::QUEUE_SIZE, setup.entries);
        // Requests are waited for by looking.
        let vector = if queue == REQUEST_QUEUE { common::NO_VECTOR } else { self.vector };
        common_cfg.write16(common::QUEUE_MSIX_VECTOR, vector);
        self.write_address(common::QUEUE_DESC, setup.descriptors.0);
        self.write_address(common::QUEUE_DRIVER, setup.available.0);
        self.write_address(common::QUEUE_DEVICE, setup.used.0);
        let offset = u64::from(common_cfg.read16(common::QUEUE_NOTIFY_OFF));
        let at = offset * u64::from(self.regions.notify_multiplier);
        if let Some(place) = self.notify.get(usize::from(queue)) {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            place.store(at, core::sync::atomic::Ordering::Relaxed);
        }
        common_cfg.write16(common::QUEUE_ENABLE, 1);
    }

    fn notify(&self, queue: u16) {
        if let Some(place) = self.notify.get(usize::from(queue)) {
            let at = place.load(core::sync::atomic::Ordering::Relaxed);
            self.regions.notify.write16(at, queue);
        }
    }

    fn acknowledge(&self) -> u32 {
        // Reading takes the interrupt back (§4.1.4.5).
        self.regions.isr.read8(0).into()
    }

    fn config_generation(&self) -> u32 {
        self.regions.common.read8(common::CONFIG_GENERATION).into()
    }

    fn config_read32(&self, at: usize) -> u32 {
        self.regions.device.read32(at)
    }

    fn config_read8(&self, at: usize) -> u8 {
        self.regions.device.read8(at)
    }

    fn config_write8(&self, at: usize, value: u8) {
        self.regions.device.write8(at, value);
    }
}
