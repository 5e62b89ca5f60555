//! virtio-iommu under the whole subsystem: mappings are requests, and nobody above notices.

use ioward::{
    core::{
        AddError, Bound, Device, DeviceDesc, Dma, FrameBuffer, MapError, Region, RegionKind, Report, Status,
        Unbound, driver::FaultCause,
    },
    drivers::virtio::{Config, VirtioIommu, VirtioMmio},
    types::{Attributes, Direction, IommuId, Iova, Mmio, Nanos, PhysAddr, Platform, SourceId, Span},
};
use ioward_machine::Rig;
use ioward_models::{
    DmaEngine, DmaError, IommuModel, SimPlatform,
    smmuv3::Features,
    virtio::{Order, Reserved, VirtioIommuConfig, VirtioIommuModel},
};
use std::sync::Arc;

const PAGE: u64 = 4096;

struct Bus(Arc<VirtioIommuModel>, SimPlatform);

impl Mmio for Bus {
    fn read32(&self, at: usize) -> u32 {
        self.0.read32(at)
    }
    fn write32(&self, at: usize, value: u32) {
        self.1.publish();
        self.0.write32(at, value)
    }
    fn read64(&self, at: usize) -> u64 {
        self.0.read64(at)
    }
    fn write64(&self, at: usize, value: u64) {
        self.1.publish();
        self.0.write64(at, value)
    }
    fn read8(&self, at: usize) -> u8 {
        self.0.read8(at)
    }
    fn write8(&self, at: usize, value: u8) {
        self.1.publish();
        self.0.write8(at, value)
    }
}

/// A virtio-iommu of the rig's, registered.
fn virtio(rig: &Rig, id: u32, config: VirtioIommuConfig) -> Arc<VirtioIommuModel> {
    let config = VirtioIommuConfig { name: format!("virtio-iommu{id}"), ..config };
    let model = Arc::new(VirtioIommuModel::new(config, rig.memory.clone()));
    let transport = VirtioMmio::new(Bus(model.clone(), rig.platform.clone())).unwrap();
    let config = Config { patience: Nanos(10_000_000), ..Config::default() };
    let driver = VirtioIommu::bring_up(IommuId(id), transport, config, &rig.platform).unwrap();
    rig.subsystem.register(Arc::new(driver)).unwrap();
    model
}

struct Nic {
    engine: DmaEngine,
    device: Device<SimPlatform>,
}

fn nic(
    rig: &Rig,
    model: &Arc<VirtioIommuModel>,
    iommu: u32,
    source: u32,
    adjust: impl for<'a> FnOnce(&mut DeviceDesc<'a>),
) -> Nic {
    let iommu_model: Arc<dyn IommuModel> = model.clone();
    let engine = DmaEngine::new("nic", SourceId(source), Some(iommu_model), rig.memory.clone(), false);
    let sources = [(IommuId(iommu), SourceId(source))];
    let mut desc = DeviceDesc::new("nic", &sources, Arc::new(engine.clone()));
    adjust(&mut desc);
    let device = rig.subsystem.add(&desc);
    Nic { engine, device }
}

fn page(rig: &Rig) -> FrameBuffer<SimPlatform> {
    FrameBuffer::new(&rig.platform, PAGE as usize, PAGE as usize).unwrap()
}

fn dma(bound: &Bound<SimPlatform>) -> Arc<Dma<SimPlatform>> {
    bound.dma().clone()
}

#[test]
fn a_buffer_is_reached_while_it_is_mapped() {
    for order in [Order::First, Order::Last] {
        let rig = Rig::default();
        let model = virtio(&rig, 0, VirtioIommuConfig::default());
        model.set_order(order);
        let nic = nic(&rig, &model, 0, 8, |_| {});
        assert_eq!(nic.device.status(), Status::Served);
        let bound = nic.device.bind().unwrap();
        let mut mappings = Vec::new();
        for _ in 0..200 {
            let mapping = Dma::map(dma(&bound), page(&rig), Direction::Both).map_err(|e| e.0).unwrap();
            assert!(!(0xfee0_0000..=0xfeef_ffff).contains(&mapping.iova().0));
            nic.engine.write(None, mapping.iova(), b"mapped").unwrap();
            mappings.push(mapping);
        }
        for mapping in mappings {
            let at = mapping.iova();
            mapping.unmap().unwrap();
            assert_eq!(nic.engine.write(None, at, b"gone"), Err(DmaError::Aborted(at)));
        }
        let reports = rig.reports();
        assert!(!reports.is_empty());
        model.audit();
        drop(bound);
        drop(nic);
        assert_eq!(model.counts(), (0, 0));
        rig.violations.assert_none();
    }
}

#[test]
fn what_the_device_reserves_is_never_mapped() {
    let rig = Rig::default();
    let reserved = vec![
        Reserved { span: Span { start: Iova(0xfee0_0000), bytes: 0x10_0000 }, msi: true },
        // All but 16 pages below 4 GiB.
        Reserved { span: Span::inclusive(Iova(0x1_0000), Iova(0xfedf_ffff)).unwrap(), msi: false },
        Reserved { span: Span::inclusive(Iova(0xfef0_0000), Iova(0xffff_ffff)).unwrap(), msi: false },
    ];
    let model = virtio(&rig, 0, VirtioIommuConfig { reserved, ..VirtioIommuConfig::default() });
    let nic = nic(&rig, &model, 0, 8, |desc| desc.addr_bits = 32);
    let bound = nic.device.bind().unwrap();
    let mut mappings = Vec::new();
    while let Ok(mapping) = Dma::map(dma(&bound), page(&rig), Direction::Both) {
        assert!(mapping.iova().0 < 0x1_0000);
        nic.engine.write(None, mapping.iova(), b"mapped").unwrap();
        mappings.push(mapping);
    }
    // IOVA zero is nobody's.
    assert!((15..=16).contains(&mappings.len()), "{}", mappings.len());
    drop(mappings);
    drop(bound);
    let group = nic.device.info().group.unwrap();
    let owned = rig.subsystem.take(group, "vmm").unwrap();
    let space = Unbound::default().bind(&owned).unwrap();
    owned.attach(&space).unwrap();
    let frames = rig.platform.frames(PAGE as usize, PAGE as usize, PhysAddr(u64::MAX)).unwrap();
    let to = Span { start: frames, bytes: PAGE };
    for at in [0x1_0000, 0xfee0_0000, 0xfee0_1000, 0xffff_f000] {
        // SAFETY: the page is nobody else's and is never freed.
        let mapped = unsafe { space.map(Iova(at), to, Attributes::READ_WRITE) };
        assert!(matches!(mapped, Err(MapError::Forbidden(_))), "{at:#x}: {mapped:?}");
    }
    // SAFETY: as above.
    unsafe { space.map(Iova(0x2000), to, Attributes::READ_WRITE) }.unwrap();
    nic.engine.write(None, Iova(0x2000), b"mapped").unwrap();
    let bell = nic.engine.write(None, Iova(0xfee0_1000), &[0; 4]);
    assert_eq!(bell, Err(DmaError::Interrupt(Iova(0xfee0_1000))));
    rig.violations.assert_none();
}

#[test]
fn domains_are_replaced_left_and_taken_again() {
    let rig = Rig::default();
    let model = virtio(&rig, 0, VirtioIommuConfig::default());
    let nic = nic(&rig, &model, 0, 8, |_| {});
    let owned = rig.subsystem.take(nic.device.info().group.unwrap(), "vmm").unwrap();
    let spaces = [(); 3].map(|()| Unbound::default().bind(&owned).unwrap());
    let frames = rig.platform.frames(3 * PAGE as usize, PAGE as usize, PhysAddr(u64::MAX)).unwrap();
    let at = Iova(0x10_0000);
    for (n, space) in spaces.iter().enumerate() {
        let to = Span { start: PhysAddr(frames.0 + PAGE * n as u64), bytes: PAGE };
        // SAFETY: the pages are nobody else's and are never freed.
        unsafe { space.map(at, to, Attributes::READ_WRITE) }.unwrap();
    }
    for round in 0..2 {
        for (n, space) in spaces.iter().enumerate() {
            owned.attach(space).unwrap();
            nic.engine.write(None, at, &[round, n as u8]).unwrap();
            let mut seen = [0; 2];
            rig.memory.dma_read("test", PhysAddr(frames.0 + PAGE * n as u64), &mut seen).unwrap();
            assert_eq!(seen, [round, n as u8]);
        }
        // SAFETY: the device is a model, and nothing that Rust refers to is in its memory.
        unsafe { owned.attach_identity() }.unwrap();
        nic.engine.write(None, Iova(frames.0), b"through").unwrap();
        owned.block().unwrap();
        assert!(nic.engine.write(None, at, b"x").is_err());
        assert!(nic.engine.write(None, Iova(frames.0), b"x").is_err());
    }
    let seen = rig.reports();
    let blocked = |report: &&Report| {
        matches!(report, Report::Fault { fault, devices, .. }
            if fault.cause == FaultCause::Blocked && devices.iter().any(|(_, name)| &**name == "nic"))
    };
    let faults = seen.iter().filter(blocked);
    assert_eq!(faults.count(), 4);
    drop(owned);
    rig.violations.assert_none();
}

#[test]
fn tables_and_requests_hold_the_same_mappings() {
    let mut rig = Rig::default();
    rig.smmu(0, Features::default());
    rig.start(0).unwrap();
    let narrow = VirtioIommuConfig { input: (0, (1 << 39) - 1), ..VirtioIommuConfig::default() };
    let model = virtio(&rig, 1, narrow);
    let joins = [(IommuId(0), SourceId(8)), (IommuId(1), SourceId(8))];
    let disk = rig.device("disk", &[(0, 8)], false, |desc| desc.addr_bits = 39);
    let bound = disk.device.bind().unwrap();
    let live = Dma::map(dma(&bound), page(&rig), Direction::Both).map_err(|e| e.0).unwrap();
    // The newcomer's IOMMU takes requests, and what is live is asked for.
    let late = nic(&rig, &model, 1, 8, |desc| desc.joins = Box::leak(Box::new(joins)));
    assert_eq!(late.device.status(), Status::Served);
    let more = Dma::map(dma(&bound), page(&rig), Direction::Both).map_err(|e| e.0).unwrap();
    for mapping in [&live, &more] {
        late.engine.write(None, mapping.iova(), b"by request").unwrap();
        let mut seen = [0; 10];
        disk.read(None, mapping.iova(), &mut seen).unwrap();
        assert_eq!(&seen, b"by request");
    }
    let at = more.iova();
    more.unmap().unwrap();
    assert!(late.engine.write(None, at, b"x").is_err() && disk.write(None, at, b"x").is_err());
    drop(late);
    assert_eq!(model.counts(), (0, 0));
    disk.write(None, live.iova(), b"still").unwrap();
    live.unmap().unwrap();
    model.audit();
    rig.violations.assert_none();
}

#[test]
fn required_regions_stay_mapped_while_a_device_is_parked() {
    let rig = Rig::default();
    let model = virtio(&rig, 0, VirtioIommuConfig::default());
    let frames = rig.platform.frames(PAGE as usize, PAGE as usize, PhysAddr(u64::MAX)).unwrap();
    let kind = RegionKind::Required { how: Attributes::READ_WRITE, relaxable: false };
    let region = Region { span: Span { start: frames, bytes: PAGE }, kind };
    let nic = nic(&rig, &model, 0, 8, |desc| desc.regions = Box::leak(Box::new([region])));
    assert_eq!(nic.device.status(), Status::Served);
    let at = Iova(frames.0);
    nic.engine.write(None, at, b"firmware's").unwrap();
    assert!(nic.engine.write(None, Iova(at.0 + PAGE), b"no").is_err());
    rig.violations.assert_none();
    // In what the device reserves it cannot be had.
    let bell = Region { span: Span { start: PhysAddr(0xfee0_0000), bytes: PAGE }, kind };
    let odd = self::nic(&rig, &model, 0, 9, |desc| desc.regions = Box::leak(Box::new([bell])));
    assert!(
        matches!(odd.device.status(), Status::Refused(AddError::RegionsOverlap(_))),
        "{:?}",
        odd.device.status()
    );
    assert!(odd.engine.write(None, Iova(0), b"no").is_err());
}

#[test]
fn a_doorbell_that_the_device_reserves_is_not_mapped() {
    let rig = Rig::default();
    let region =
        |start| Region { span: Span { start: PhysAddr(start), bytes: PAGE }, kind: RegionKind::Doorbell };
    let bell = Iova(0x800_0000);
    for msi in [false, true] {
        let reserved = Reserved { span: Span { start: bell, bytes: PAGE }, msi: true };
        let reserved = if msi { vec![reserved] } else { Vec::new() };
        let config = VirtioIommuConfig { reserved, ..VirtioIommuConfig::default() };
        let model = virtio(&rig, msi.into(), config);
        let regions = Box::leak(Box::new([region(bell.0)]));
        let nic = nic(&rig, &model, msi.into(), 8, |desc| desc.regions = regions);
        assert_eq!(nic.device.status(), Status::Served);
        let _bound = nic.device.bind().unwrap();
        // Mapped, it goes to where the model has no memory; reserved, it is an interrupt.
        let rung = nic.engine.write(None, bell, &[0; 4]);
        let mapped = Err(DmaError::Bus(PhysAddr(bell.0)));
        assert_eq!(rung, if msi { Err(DmaError::Interrupt(bell)) } else { mapped });
    }
    rig.violations.assert_none();
}

#[test]
fn hung_hardware_silences_its_devices_and_quarantines_memory() {
    let rig = Rig::default();
    let model = virtio(&rig, 0, VirtioIommuConfig::default());
    let nic = nic(&rig, &model, 0, 8, |_| {});
    let bound = nic.device.bind().unwrap();
    let mapping = Dma::map(dma(&bound), page(&rig), Direction::Both).map_err(|e| e.0).unwrap();
    let other = Dma::map(dma(&bound), page(&rig), Direction::Both).map_err(|e| e.0).unwrap();
    let at = mapping.iova();
    nic.engine.write(None, at, b"mapped").unwrap();
    model.set_hung(true);
    assert!(mapping.unmap().is_err());
    assert!(!nic.engine.is_bus_master());
    nic.engine.write(None, at, b"x").unwrap_err();
    drop(other);
    // Nothing was freed: the mapping that the model still has leads to memory that is nobody else's.
    model.audit();
    rig.violations.assert_none();
}

#[test]
fn a_map_that_hangs_silences_its_devices_and_the_buffer_is_never_reused() {
    let rig = Rig::default();
    let model = virtio(&rig, 0, VirtioIommuConfig::default());
    let nic = nic(&rig, &model, 0, 8, |_| {});
    let bound = nic.device.bind().unwrap();
    model.set_hung(true);
    let failed = Dma::map(dma(&bound), page(&rig), Direction::Both);
    let Err((error, buffer)) = failed else { panic!("mapped") };
    assert!(matches!(error, MapError::Hung(_)), "{error}");
    assert!(!nic.engine.is_bus_master());
    drop(buffer);
    // The map happens after all.
    model.set_hung(false);
    assert_eq!(model.counts().1, 1);
    model.audit();
    rig.violations.assert_none();
}
