//! What a transport does to a device that refuses its features, and to one that is gone.

use ioward_virtio_drivers::PlatformAccess;
use std::{cell::Cell, rc::Rc};
use virtio_drivers::{
    Error, Result,
    transport::{DeviceStatus, DeviceType, InterruptStatus, Transport},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

#[derive(Default)]
struct Seen {
    status: Cell<u32>,
    dropped: Cell<bool>,
}

struct Device {
    seen: Rc<Seen>,
    features: u64,
    /// Of the status that is written, which bits stay.
    keeps: u32,
    gone: bool,
}

impl Drop for Device {
    fn drop(&mut self) {
        self.seen.dropped.set(true);
    }
}

impl Transport for Device {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }
    fn read_device_features(&mut self) -> u64 {
        self.features
    }
    fn write_driver_features(&mut self, _: u64) {}
    fn max_queue_size(&mut self, _: u16) -> u32 {
        0
    }
    fn notify(&mut self, _: u16) {}
    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(if self.gone { 0xff } else { self.seen.status.get() })
    }
    fn set_status(&mut self, status: DeviceStatus) {
        self.seen.status.set(status.bits() & self.keeps);
    }
    fn set_guest_page_size(&mut self, _: u32) {}
    fn requires_legacy_layout(&self) -> bool {
        false
    }
    fn queue_set(&mut self, _: u16, _: u32, _: u64, _: u64, _: u64) {}
    fn queue_unset(&mut self, _: u16) {}
    fn queue_used(&mut self, _: u16) -> bool {
        false
    }
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }
    fn read_config_generation(&self) -> u32 {
        0
    }
    fn read_config_space<V: FromBytes + IntoBytes>(&self, _: usize) -> Result<V> {
        Err(Error::ConfigSpaceMissing)
    }
    fn write_config_space<V: IntoBytes + Immutable>(&mut self, _: usize, _: V) -> Result<()> {
        Err(Error::ConfigSpaceMissing)
    }
}

fn device(features: u64, keeps: u32, gone: bool) -> (Rc<Seen>, Device) {
    let seen = Rc::<Seen>::default();
    (seen.clone(), Device { seen, features, keeps, gone })
}

const PLATFORM: u64 = 1 << 33;

/// As its drivers do.
fn start(transport: &mut impl Transport) {
    let first = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
    transport.set_status(DeviceStatus::empty());
    transport.set_status(first);
    transport.write_driver_features(0);
    transport.set_status(first | DeviceStatus::FEATURES_OK);
    transport.finish_init();
}

#[test]
fn a_device_that_refuses_its_features_is_not_started() {
    let (seen, theirs) = device(PLATFORM, !DeviceStatus::FEATURES_OK.bits(), false);
    let mut transport = PlatformAccess::new(theirs).ok().unwrap();
    start(&mut transport);
    assert_eq!(seen.status.get(), DeviceStatus::FAILED.bits());

    let (seen, theirs) = device(PLATFORM, !0, false);
    let mut transport = PlatformAccess::new(theirs).ok().unwrap();
    start(&mut transport);
    assert_ne!(seen.status.get() & DeviceStatus::DRIVER_OK.bits(), 0);
    drop(transport);
    assert_eq!((seen.status.get(), seen.dropped.get()), (0, true));
}

#[test]
fn the_drop_of_a_device_that_is_gone_ends() {
    for features in [PLATFORM, 0] {
        let (seen, theirs) = device(features, !0, true);
        assert_eq!(PlatformAccess::new(theirs).is_ok(), features != 0);
        assert!(!seen.dropped.get(), "its own drop may wait for ever");
    }
}
