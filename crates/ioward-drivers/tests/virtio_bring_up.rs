//! Bringing a virtio-iommu up that firmware or an earlier kernel left running, that lets everything pass, or that is none.
#![cfg(feature = "virtio")]

#[path = "support/put.rs"]
mod put;
mod virtio_machine;

use ioward_core::driver::{Blocked, Claim, Driver, Event, Translation};
use ioward_drivers::virtio::{
    BringUpError, Config, MmioError, Place, Places, PlacesError, VirtioIommu, VirtioMmio,
};
use ioward_models::virtio::{Verdict, VirtioIommuConfig};
use ioward_spec::virtio::features;
use ioward_types::{Iova, Mmio, Nanos};
use put::Put;
use std::sync::{Arc, Mutex};
use virtio_machine::*;

const RUNNING: u8 = 0xf;

#[test]
fn bypass_is_off_before_anything_is_attached() {
    let machine = Machine::new(VirtioIommuConfig::default());
    let nic = machine.device(NIC);
    let page = machine.page();
    let through = || nic.write(None, Iova(page.phys().0), b"bypass").is_ok();
    assert!(through(), "it boots with bypass on");
    let _driver = machine.bring_up();
    assert!(!machine.model.bypass() && !through());
    machine.settled();
}

#[test]
fn the_old_bypass_feature_is_not_accepted() {
    let offered = VirtioIommuConfig::minimal().features | features::BYPASS;
    let machine = Machine::new(VirtioIommuConfig { features: offered, ..VirtioIommuConfig::minimal() });
    let _driver = machine.bring_up();
    assert_eq!(machine.model.accepted() & features::BYPASS, 0);
    let page = machine.page();
    assert!(machine.device(NIC).write(None, Iova(page.phys().0), b"bypass").is_err());
    machine.settled();
}

#[test]
fn bypass_that_cannot_be_turned_off_is_refused() {
    let machine = Machine::new(VirtioIommuConfig { bypass_stuck: true, ..VirtioIommuConfig::default() });
    let before = machine.memory.allocated();
    assert_eq!(machine.try_bring_up().err(), Some(BringUpError::Bypass));
    assert_eq!((machine.model.status(), machine.memory.allocated()), (0, before));
    machine.settled();
}

/// Looks at what a device reaches after each write of a register.
struct Watched<F>(Bus, F);

impl<F: Fn() + Send + Sync> Mmio for Watched<F> {
    fn read32(&self, at: usize) -> u32 {
        self.0.read32(at)
    }
    fn write32(&self, at: usize, value: u32) {
        self.0.write32(at, value);
        (self.1)();
    }
    fn read64(&self, at: usize) -> u64 {
        self.0.read64(at)
    }
    fn write64(&self, at: usize, value: u64) {
        self.0.write64(at, value);
        (self.1)();
    }
    fn read8(&self, at: usize) -> u8 {
        self.0.read8(at)
    }
    fn write8(&self, at: usize, value: u8) {
        self.0.write8(at, value);
        (self.1)();
    }
}

#[test]
fn a_device_found_running_lets_nothing_pass_on_the_way() {
    for bypass in [false, true] {
        let machine = Machine::new(VirtioIommuConfig { bypass, ..VirtioIommuConfig::default() });
        let nic = machine.device(NIC);
        let page = machine.page().phys();
        let (memory, disk) = (machine.memory.clone(), machine.device(DISK));
        // The earlier owner protected the NIC with a domain, and one more endpoint with none.
        machine.model.preset(RUNNING, machine.model.config().features, &[NIC]);
        assert!(nic.write(None, Iova(page.0), b"earlier").is_ok());
        let counts = Arc::new(Mutex::new((0, 0)));
        let seen = counts.clone();
        let model = machine.model.clone();
        let watch = move || {
            memory.dma_write("test", page, b"nothing").unwrap();
            let mut seen = seen.lock().unwrap();
            // Once the domain is gone, it reaches nothing.
            let detached = model.domain_of(NIC).is_none();
            let passed = disk.write(None, Iova(page.0), b"through").is_ok()
                || detached && nic.write(None, Iova(page.0), b"through").is_ok();
            if passed { seen.1 += 1 } else { seen.0 += 1 }
        };
        let transport = VirtioMmio::new(Watched(Bus(machine.model.clone()), watch)).unwrap();
        let driver = VirtioIommu::bring_up(UNIT, transport, machine.config(), &machine.platform).unwrap();
        let (blocked_after, passed) = *counts.lock().unwrap();
        assert!(blocked_after > 10);
        // The feature select registers are written while the bypass field is still what it was.
        assert!(if bypass { passed <= 2 } else { passed == 0 }, "{passed} of {blocked_after}");
        let slot = claim(&driver, NIC);
        let tag = tag(&driver);
        let own = machine.page().phys();
        map(&driver, tag, own).unwrap();
        driver.put(&slot, None, &Translation::Requests { tag }).unwrap();
        machine.reaches(&machine.device(NIC), own);
        machine.settled();
    }
}

/// Devices that forget nothing when they are reset, as QEMU 10 and cloud-hypervisor have them.
fn forgetful_of_nothing() -> [VirtioIommuConfig; 2] {
    let qemu = VirtioIommuConfig { keeps_domains: true, bypass: false, ..VirtioIommuConfig::default() };
    let other = VirtioIommuConfig { rejects_uncounted: true, counts_in_64_bits: true, ..qemu.clone() };
    [qemu, other]
}

#[test]
fn a_device_that_forgets_nothing_when_it_is_reset_lets_nothing_pass() {
    let [qemu, other] = forgetful_of_nothing();
    // The last one was reset politely, which only its user knows.
    for (config, status) in [(qemu.clone(), RUNNING), (other, RUNNING), (qemu, 0)] {
        let machine = Machine::new(config);
        let (nic, disk) = (machine.device(NIC), machine.device(DISK));
        let page = machine.page().phys();
        machine.model.preset(status, machine.model.config().features, &[NIC]);
        assert!(nic.write(None, Iova(page.0), b"earlier").is_ok());
        let config = Config { used_before: status == 0, ..machine.config() };
        let driver = VirtioIommu::bring_up(UNIT, transport(&machine), config, &machine.platform).unwrap();
        // It is on its old domain still, which leads nowhere, and of which nobody else becomes a part.
        assert!(machine.model.domain_of(NIC).is_some());
        assert!(nic.write(None, Iova(page.0), b"through").is_err());
        assert_eq!(driver.left_over(), []);
        let slot = claim(&driver, DISK);
        let tags = [(); 30].map(|()| tag(&driver));
        assert!(tags.iter().all(|tag| Some(tag.0) != machine.model.domain_of(NIC)));
        let own = machine.page().phys();
        map(&driver, tags[0], own).unwrap();
        driver.put(&slot, None, &Translation::Requests { tag: tags[0] }).unwrap();
        machine.reaches(&disk, own);
        assert!(nic.write(None, AT, b"through").is_err());
        // Claimed, it is on none, and then on its own.
        let slot = claim(&driver, NIC);
        assert_eq!(machine.model.domain_of(NIC), None);
        let other = machine.page().phys();
        map(&driver, tags[1], other).unwrap();
        driver.put(&slot, None, &Translation::Requests { tag: tags[1] }).unwrap();
        machine.reaches(&nic, other);
        machine.reaches(&disk, own);
        machine.settled();
    }
}

#[test]
fn a_domain_that_cannot_be_emptied_is_reported_and_left_when_its_source_is_claimed() {
    for config in forgetful_of_nothing() {
        let machine = Machine::new(config);
        let nic = machine.device(NIC);
        let page = machine.page().phys();
        machine.model.preset(RUNNING, machine.model.config().features, &[NIC]);
        machine.model.preset_bypass(NIC);
        let driver = machine.bring_up();
        assert_eq!(driver.left_over(), [NIC.0]);
        let what = "a domain of an earlier owner cannot be emptied";
        assert_eq!(events(&driver), [Event::Unit { what, code: NIC.0.into() }]);
        assert_eq!(events(&driver), [], "once");
        assert!(nic.write(None, Iova(page.0), b"through").is_ok());
        let slot = claim(&driver, NIC);
        assert!(nic.write(None, Iova(page.0), b"through").is_err());
        assert_eq!(machine.model.counts(), (0, 0));
        assert_eq!(driver.release(slot, false), Blocked::Confirmed);
        // That it was asked to be emptied is the only thing that the text forbids.
        let violations = machine.memory.violations().take();
        assert!(violations.iter().all(|violation| violation.to_string().contains("passes everything")));
        machine.settled();
    }
}

#[test]
fn of_a_device_that_nobody_had_nothing_is_asked() {
    let machine = Machine::new(VirtioIommuConfig::default());
    let driver = machine.bring_up();
    tag(&driver);
    assert_eq!(machine.model.requests(), 0);
    let _slot = claim(&driver, NIC);
    assert_eq!(machine.model.requests(), 1, "PROBE");
}

#[test]
fn what_was_left_over_and_cannot_be_dealt_with_is_refused() {
    let [config, _] = forgetful_of_nothing();
    let machine = Machine::new(config);
    let nic = machine.device(NIC);
    let page = machine.page().phys();
    machine.model.preset(RUNNING, machine.model.config().features, &[NIC]);
    let answer = |kind: u8, with: Verdict| {
        let filter = move |_, bytes: &[u8]| if bytes[0] == kind { with } else { Verdict::Process };
        machine.model.set_request_filter(Some(Box::new(filter)));
    };
    // It never says that it has no such domain: asked often enough, and no number is taken for free.
    answer(4, Verdict::Pretend);
    assert!(matches!(machine.try_bring_up().err(), Some(BringUpError::Device(_))));
    assert!(machine.model.requests() <= 2 * 4096);
    assert_eq!(machine.model.status(), 1, "that somebody had it is known to the next");
    // It does not answer.
    machine.model.set_request_filter(None);
    machine.model.set_hung(true);
    assert!(matches!(machine.try_bring_up().err(), Some(BringUpError::Hung(_))));
    machine.model.set_hung(false);
    assert_eq!(machine.model.status(), 1);
    assert!(nic.write(None, Iova(page.0), b"earlier").is_ok(), "nothing has been unmapped so far");
    // The next one finds what was left all the same.
    let driver = machine.bring_up();
    assert!(nic.write(None, Iova(page.0), b"through").is_err());
    // A source that cannot be moved, or not be taken off again, is not claimed, and is later.
    let source = Claim { source: NIC, pasid_bits: 0, ats: false };
    for kind in [1, 2] {
        answer(kind, Verdict::Answer(2));
        assert!(driver.claim(&source).is_err());
        assert!(machine.model.domain_of(NIC).is_some());
        assert!(nic.write(None, Iova(page.0), b"through").is_err());
    }
    machine.model.set_request_filter(None);
    let slot = claim(&driver, NIC);
    assert_eq!(machine.model.domain_of(NIC), None);
    assert_eq!(driver.release(slot, false), Blocked::Confirmed);
    assert_eq!(machine.model.counts(), (0, 0));
    machine.settled();
}

#[test]
fn an_owner_that_never_took_the_bypass_field_is_followed_all_the_same() {
    let machine = Machine::new(VirtioIommuConfig::default());
    machine.model.preset(RUNNING, features::VERSION_1 | features::MAP_UNMAP, &[NIC]);
    let _driver = machine.bring_up();
    assert!(!machine.model.bypass());
    machine.settled();
}

#[test]
fn a_device_that_needed_a_reset_gets_one() {
    let machine = Machine::new(VirtioIommuConfig::default());
    machine.model.preset(RUNNING | 64, machine.model.config().features, &[]);
    let driver = machine.bring_up();
    let _ = claim(&driver, NIC);
    machine.settled();
}

#[test]
fn what_cannot_be_driven_is_refused_and_left_reset() {
    let usual = VirtioIommuConfig::default();
    let refused = |config: VirtioIommuConfig| {
        let machine = Machine::new(config);
        let before = machine.memory.allocated();
        let error = machine.try_bring_up().expect_err("a refusal");
        assert_eq!(machine.memory.allocated(), before, "{error}");
        assert_eq!(machine.model.status(), 0, "{error}");
        machine.settled();
        error
    };
    let without = |bit: u64| VirtioIommuConfig { features: usual.features & !bit, ..usual.clone() };
    let lacks = |what, bit: u64| BringUpError::Lacks { what, offered: usual.features & !bit };
    let version = features::VERSION_1;
    assert_eq!(refused(without(version)), lacks("VIRTIO_F_VERSION_1", version));
    let map = features::MAP_UNMAP;
    assert_eq!(refused(without(map)), lacks("VIRTIO_IOMMU_F_MAP_UNMAP", map));
    assert_eq!(refused(VirtioIommuConfig { device_id: 2, ..usual.clone() }), BringUpError::Kind(2));
    assert_eq!(refused(VirtioIommuConfig { device_id: 0, ..usual.clone() }), BringUpError::Kind(0));
    let features = refused(VirtioIommuConfig { refuses_features: true, ..usual.clone() });
    assert!(matches!(features, BringUpError::Refuses { .. }));
    for odd in [
        VirtioIommuConfig { page_size_mask: 0, ..usual.clone() },
        VirtioIommuConfig { page_size_mask: 1 << 63, input: (0, 0xffff), ..usual.clone() },
        VirtioIommuConfig { input: (5, 4), ..usual.clone() },
        VirtioIommuConfig { domains: (5, 4), ..usual.clone() },
        VirtioIommuConfig { probe_size: u32::MAX, ..usual.clone() },
    ] {
        assert!(matches!(refused(odd), BringUpError::Device(_)));
    }
    for size in [0, 1] {
        let error = refused(VirtioIommuConfig { queue_size: size, ..usual.clone() });
        assert_eq!(error, BringUpError::Queue { queue: 0, entries: size });
    }
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let machine = Machine::new(VirtioIommuConfig::default());
    for entries in [0, 1, 3, 100] {
        let config = Config { entries, ..machine.config() };
        let result = VirtioIommu::bring_up(UNIT, transport(&machine), config, &machine.platform);
        assert!(matches!(result.err(), Some(BringUpError::Config(_))));
    }
}

#[test]
fn without_memory_nothing_is_kept() {
    for count in 0..5 {
        let machine = Machine::new(VirtioIommuConfig::default());
        let before = machine.memory.allocated();
        machine.memory.set_budget(Some(count));
        let error = machine.try_bring_up().expect_err("no memory");
        assert!(matches!(error, BringUpError::NoMemory(_)), "{error}");
        // What was allocated before may be leaked, and never is told to the device.
        machine.memory.set_budget(None);
        assert!(count > 1 || machine.memory.allocated() == before);
        assert_eq!(machine.model.status(), 0);
        machine.settled();
    }
}

/// Registers that never change.
struct Stuck(Bus, u32);

impl Mmio for Stuck {
    fn read32(&self, at: usize) -> u32 {
        if at == 0x70 { self.1 } else { self.0.read32(at) }
    }
    fn write32(&self, at: usize, value: u32) {
        self.0.write32(at, value);
    }
    fn read64(&self, at: usize) -> u64 {
        self.0.read64(at)
    }
    fn write64(&self, at: usize, value: u64) {
        self.0.write64(at, value);
    }
}

#[test]
fn a_reset_that_never_ends_is_told() {
    let machine = Machine::new(VirtioIommuConfig::default());
    let stuck = VirtioMmio::new(Stuck(Bus(machine.model.clone()), 1)).unwrap();
    let config = Config { patience: Nanos(1_000_000), ..machine.config() };
    let error = VirtioIommu::bring_up(UNIT, stuck, config, &machine.platform).err();
    assert!(matches!(error, Some(BringUpError::Hung(hung)) if hung.what == "reset"), "{error:?}");
}

#[test]
fn registers_of_nothing_are_told_apart() {
    let machine = Machine::new(VirtioIommuConfig::default());
    machine.model.set_gone(true);
    assert_eq!(VirtioMmio::new(Bus(machine.model.clone())).err(), Some(MmioError::Magic(u32::MAX)));
    machine.model.set_gone(false);
    let transport = transport(&machine);
    machine.model.set_gone(true);
    let error = VirtioIommu::bring_up(UNIT, transport, machine.config(), &machine.platform).err();
    assert_eq!(error, Some(BringUpError::Absent));
    let legacy = Stuck(Bus(machine.model.clone()), 0);
    machine.model.set_gone(false);
    struct Version(Stuck, u32);
    impl Mmio for Version {
        fn read32(&self, at: usize) -> u32 {
            if at == 4 { self.1 } else { self.0.read32(at) }
        }
        fn write32(&self, _: usize, _: u32) {}
        fn read64(&self, at: usize) -> u64 {
            self.0.read64(at)
        }
        fn write64(&self, _: usize, _: u64) {}
    }
    assert_eq!(VirtioMmio::new(Version(legacy, 1)).err(), Some(MmioError::Version(1)));
}

/// 256 bytes of configuration space as QEMU gives a virtio-iommu-pci: four capabilities, BAR 4.
fn space() -> [u32; 64] {
    let mut space = [0; 64];
    space[0] = 0x1057_1af4;
    space[1] = 0x0010_0000;
    space[0x34 / 4] = 0x40;
    let mut put = |at: usize, next: u32, kind: u32, offset: u32, bytes: u32, length: u32| {
        space[at / 4..at / 4 + 4].copy_from_slice(&[
            9 | next << 8 | length << 16 | kind << 24,
            4,
            offset,
            bytes,
        ]);
    };
    put(0x40, 0x50, 1, 0, 0x1000, 16);
    put(0x50, 0x60, 3, 0x1000, 0x1000, 16);
    put(0x60, 0x70, 4, 0x2000, 0x1000, 16);
    put(0x70, 0x84, 2, 0x3000, 0x1000, 20);
    space[0x80 / 4] = 4;
    space[0x84 / 4] = 0x0000_0011;
    space
}

#[test]
fn structures_of_a_pci_function_are_found() {
    let read = |space: [u32; 64]| move |at: u16| space[usize::from(at) / 4];
    let places = Places::find(read(space())).unwrap();
    let place = |offset| Place { bar: 4, offset, bytes: 0x1000 };
    assert_eq!((places.device_id, places.notify_multiplier), (23, 4));
    assert_eq!(
        [places.common, places.isr, places.device, places.notify],
        [0, 0x1000, 0x2000, 0x3000].map(place)
    );
    let broken = |word: usize, value: u32| {
        let mut space = space();
        space[word] = value;
        Places::find(read(space)).unwrap_err()
    };
    assert!(matches!(broken(0, 0x1057_1af5), PlacesError::NotVirtio(_)));
    assert!(matches!(broken(0, 0x1014_1af4), PlacesError::NotVirtio(_)));
    assert_eq!(broken(1, 0), PlacesError::Missing("common configuration"));
    assert_eq!(broken(0x4c / 4, 4), PlacesError::Missing("common configuration"));
    assert_eq!(broken(0x64 / 4, 6), PlacesError::Missing("device configuration"));
    assert_eq!(broken(0x58 / 4, u32::MAX), PlacesError::Missing("ISR status"));
    // A list that goes round ends, and one of all ones too.
    assert_eq!(broken(0x60 / 4, 9 | 0x40 << 8 | 4 << 24), PlacesError::Missing("notification structure"));
    assert!(Places::find(|at| if at == 0 { 0x1057_1af4 } else { u32::MAX }).is_err());
    assert!(matches!(Places::find(|_| u32::MAX), Err(PlacesError::NotVirtio(u32::MAX))));
}
