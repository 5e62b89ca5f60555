//! The driver over a transport of `virtio_drivers` that leads to a model, and over its own MMIO transport.

use ioward_core::driver::{Blocked, Claim, Driver, MapRequests, Requirements, Translation};
use ioward_drivers::virtio::{BringUpError, Config, Transport as _, VirtioIommu, VirtioMmio};
use ioward_models::{
    DmaEngine, Memory, SimPlatform, Violations,
    platform::SimLock,
    virtio::{VirtioIommuConfig, VirtioIommuModel},
};
use ioward_types::{Attributes, IommuId, Iova, Mmio, PhysAddr, Platform, SourceId, Span};
use ioward_virtio_drivers::{Adapted, Legacy};
use std::{ptr::NonNull, sync::Arc};
use virtio_drivers::{
    Error, Result,
    transport::{
        DeviceStatus, DeviceType, InterruptStatus, Transport,
        mmio::{MmioTransport, VirtIOHeader},
    },
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

struct Bus(Arc<VirtioIommuModel>);

impl Mmio for Bus {
    fn read32(&self, at: usize) -> u32 {
        self.0.read32(at)
    }
    fn write32(&self, at: usize, value: u32) {
        self.0.write32(at, value)
    }
    fn read64(&self, at: usize) -> u64 {
        self.0.read64(at)
    }
    fn write64(&self, at: usize, value: u64) {
        self.0.write64(at, value)
    }
    fn read8(&self, at: usize) -> u8 {
        self.0.read8(at)
    }
    fn write8(&self, at: usize, value: u8) {
        self.0.write8(at, value)
    }
}

/// A transport as `virtio_drivers` has them, whose device is the model.
struct Theirs {
    registers: VirtioMmio<Bus>,
    bus: Bus,
    legacy: bool,
}

impl Transport for Theirs {
    fn device_type(&self) -> DeviceType {
        DeviceType::try_from(self.registers.device_id()).expect("a known type")
    }
    fn read_device_features(&mut self) -> u64 {
        self.registers.device_features()
    }
    fn write_driver_features(&mut self, features: u64) {
        self.registers.accept_features(features);
    }
    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.registers.queue_size(queue).into()
    }
    fn notify(&mut self, queue: u16) {
        self.registers.notify(queue);
    }
    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.registers.status().into())
    }
    fn set_status(&mut self, status: DeviceStatus) {
        self.registers.set_status(status.bits() as u8);
    }
    fn set_guest_page_size(&mut self, _: u32) {}
    fn requires_legacy_layout(&self) -> bool {
        self.legacy
    }
    fn queue_set(&mut self, queue: u16, size: u32, descriptors: u64, driver: u64, device: u64) {
        let setup = ioward_drivers::virtio::QueueSetup {
            entries: size as u16,
            descriptors: PhysAddr(descriptors),
            available: PhysAddr(driver),
            used: PhysAddr(device),
        };
        self.registers.start_queue(queue, &setup);
    }
    fn queue_unset(&mut self, _: u16) {}
    fn queue_used(&mut self, _: u16) -> bool {
        false
    }
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::from_bits_truncate(self.registers.acknowledge())
    }
    fn read_config_generation(&self) -> u32 {
        self.registers.config_generation()
    }
    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        let bytes: Vec<u8> = (offset..offset + size_of::<T>()).map(|at| self.bus.read8(0x100 + at)).collect();
        T::read_from_bytes(&bytes).map_err(|_| Error::ConfigSpaceTooSmall)
    }
    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result<()> {
        for (n, byte) in value.as_bytes().iter().enumerate() {
            self.bus.write8(0x100 + offset + n, *byte);
        }
        Ok(())
    }
}

fn machine() -> (Memory, SimPlatform, Arc<VirtioIommuModel>) {
    let memory = Memory::new(PhysAddr(0x8000_0000), 0x100_0000, Violations::default());
    let model = Arc::new(VirtioIommuModel::new(VirtioIommuConfig::default(), memory.clone()));
    (memory.clone(), SimPlatform::new(memory), model)
}

fn theirs(model: &Arc<VirtioIommuModel>, legacy: bool) -> Theirs {
    let registers = VirtioMmio::new(Bus(model.clone())).expect("a virtio device");
    Theirs { registers, bus: Bus(model.clone()), legacy }
}

#[test]
fn a_device_is_driven_through_somebody_elses_transport() {
    let (memory, platform, model) = machine();
    let transport = Adapted::<_, SimLock>::new(theirs(&model, false)).unwrap();
    let driver = VirtioIommu::bring_up(IommuId(0), transport, Config::default(), &platform).unwrap();
    assert!(!model.bypass());
    let nic = DmaEngine::new("nic", SourceId(8), Some(model.clone()), memory.clone(), false);
    let slot = driver.claim(&Claim { source: SourceId(8), pasid_bits: 0, ats: false }).unwrap();
    let tag = driver.tag(&driver.plan(&Requirements::default()).unwrap()).unwrap();
    let page = platform.frames(4096, 4096, PhysAddr(u64::MAX)).unwrap();
    let to = Span { start: page, bytes: 4096 };
    driver.map(tag, Iova(0x4000), to, Attributes::READ_WRITE).unwrap();
    // SAFETY: the device is a model, and nothing that Rust refers to is in its memory.
    unsafe { driver.install(&slot, None, &Translation::Requests { tag }) }.unwrap();
    nic.write(None, Iova(0x4000), b"through").unwrap();
    assert!(nic.write(None, Iova(0x5000), b"no").is_err());
    let mut faults = 0;
    driver.poll(&mut |_| faults += 1);
    assert_eq!(faults, 1);
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    assert!(nic.write(None, Iova(0x4000), b"no").is_err());
    memory.violations().assert_none();
}

#[test]
fn a_legacy_transport_is_refused() {
    let (_, _, model) = machine();
    assert_eq!(Adapted::<_, SimLock>::new(theirs(&model, true)).err(), Some(Legacy));
}

/// Registers of virtio over MMIO in plain memory: they hold what is written, and there is no device.
fn block() -> Box<[u64; 0x200 / 8]> {
    let mut block = Box::new([0u64; 0x200 / 8]);
    block[0] = 0x2_7472_6976;
    block[1] = 23;
    // DeviceFeatures, whichever half is selected: bits 0 to 2, and with them VERSION_1 to RING_PACKED.
    block[2] = 7;
    // page_size_mask.
    block[0x100 / 8] = 0xffff_f000;
    // input_range.end, and bypass after probe_size.
    block[0x110 / 8] = u64::MAX;
    block[0x120 / 8] = 1 << 32;
    block
}

#[test]
fn their_own_mmio_transport_reaches_the_registers() {
    let block = Box::into_raw(block());
    let header = NonNull::new(block.cast::<VirtIOHeader>()).unwrap();
    {
        // SAFETY: the block is as long as it is said to be, and outlives the transport.
        let mmio = unsafe { MmioTransport::new(header, 0x200) }.unwrap();
        let transport = Adapted::<_, SimLock>::new(mmio).unwrap();
        assert_eq!((transport.device_id(), transport.device_features()), (23, 7 | 7 << 32));
        assert_eq!((transport.config_read32(0), transport.config_read8(36)), (0xffff_f000, 1));
        transport.config_write8(36, 0);
        assert_eq!(transport.config_read8(36), 0);
        assert_eq!((transport.config_read32(0x1000), transport.config_read8(0x1000)), (u32::MAX, u8::MAX));
        transport.set_status(15);
        assert_eq!(transport.status(), 15);
        transport.set_status(0);
        let (_, platform, _) = machine();
        let brought = VirtioIommu::bring_up(IommuId(0), transport, Config::default(), &platform);
        // Its queues have no entries.
        assert_eq!(brought.err(), Some(BringUpError::Queue { queue: 0, entries: 0 }));
    }
    // SAFETY: it came from a box, and the transport is gone.
    drop(unsafe { Box::from_raw(block) });
}
