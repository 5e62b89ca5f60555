//! An IOMMU that takes map and unmap as requests, beside ones that walk tables: the same address space.

use ioward::core::{
    AddError, Device, DeviceDesc, Dma, FrameBuffer, MapError, Status, Subsystem, Unbound,
    driver::{
        Blocked, Capabilities, Claim, Driver, Event, Flush, Hung, MapRequests, Plan, Refused, Requirements,
        Slot, Translation,
    },
};
use ioward::types::{
    Attributes, Direction, IommuId, Iova, Nanos, Pasid, PhysAddr, Platform, SourceId, Span, TableConfig, Tag,
    control::Uncontrolled,
};
use ioward_machine::Rig;
use ioward_models::{SimPlatform, smmuv3::Features};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

type Mappings = BTreeMap<(Tag, u64), (Span<PhysAddr>, Attributes)>;

/// It keeps what it was asked to, refuses what is mapped already, and hangs when told to.
struct ByRequest {
    id: IommuId,
    mappings: Mutex<Mappings>,
    installed: Mutex<BTreeMap<SourceId, Tag>>,
    tags: AtomicU32,
    hung: AtomicBool,
}

impl ByRequest {
    fn new(id: u32) -> Arc<Self> {
        Arc::new(Self {
            id: IommuId(id),
            mappings: Mutex::default(),
            installed: Mutex::default(),
            tags: AtomicU32::new(1),
            hung: AtomicBool::new(false),
        })
    }

    /// Where a request of `source` goes.
    fn request(&self, source: SourceId, at: Iova) -> Option<PhysAddr> {
        let tag = *self.installed.lock().unwrap().get(&source)?;
        let mappings = self.mappings.lock().unwrap();
        let (&(_, start), (to, _)) = mappings.range((tag, 0)..=(tag, at.0)).next_back()?;
        (at.0 - start < to.bytes).then(|| PhysAddr(to.start.0 + at.0 - start))
    }
}

// SAFETY: there are no caches, and an entry is what it was told.
unsafe impl Driver for ByRequest {
    fn id(&self) -> IommuId {
        self.id
    }
    fn kind(&self) -> &'static str {
        "by request"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
    fn plan(&self, _: &Requirements) -> Result<Plan, Refused> {
        Ok(Plan::Requests { page_sizes: !0xfff, addr_bits: 40 })
    }
    fn can_walk(&self, config: &TableConfig) -> Result<(), Refused> {
        Err(Refused::Format { iommu: self.id, table: config.format })
    }
    fn claim(&self, what: &Claim) -> Result<Slot, Refused> {
        Ok(Slot { iommu: self.id, source: what.source, index: 0 })
    }
    fn release(&self, slot: Slot, _: bool) -> Blocked {
        self.block(&slot, None)
    }
    fn tag(&self, _: &Plan) -> Result<Tag, Refused> {
        Ok(Tag(self.tags.fetch_add(1, Ordering::Relaxed)))
    }
    unsafe fn untag(&self, tag: Tag) -> Result<(), Hung> {
        self.mappings.lock().unwrap().retain(|(of, _), _| *of != tag);
        Ok(())
    }
    unsafe fn install(&self, slot: &Slot, _: Option<Pasid>, what: &Translation<'_>) -> Result<(), Refused> {
        match what {
            Translation::Requests { tag } => drop(self.installed.lock().unwrap().insert(slot.source, *tag)),
            _ => return Err(Refused::Unsupported { iommu: self.id, what: "tables" }),
        }
        Ok(())
    }
    fn block(&self, slot: &Slot, _: Option<Pasid>) -> Blocked {
        self.installed.lock().unwrap().remove(&slot.source);
        Blocked::Confirmed
    }
    fn flush(&self, _: &[Flush<'_>]) -> Result<(), Hung> {
        Ok(())
    }
    fn poll(&self, _: &mut dyn FnMut(Event)) {}
    fn requests(&self) -> Option<&dyn MapRequests> {
        Some(self)
    }
}

impl MapRequests for ByRequest {
    fn map(&self, tag: Tag, at: Iova, to: Span<PhysAddr>, how: Attributes) -> Result<(), Refused> {
        let mut mappings = self.mappings.lock().unwrap();
        if mappings.insert((tag, at.0), (to, how)).is_some() {
            return Err(Refused::Unsupported { iommu: self.id, what: "mapping twice" });
        }
        Ok(())
    }
    fn unmap(&self, tag: Tag, at: Span<Iova>) -> Result<(), Hung> {
        if self.hung.load(Ordering::Relaxed) {
            return Err(Hung { iommu: self.id, what: "unmap", waited: Nanos(1) });
        }
        self.mappings.lock().unwrap().retain(|(of, start), _| *of != tag || !at.contains(Iova(*start)));
        Ok(())
    }
}

const SIBLINGS: [(IommuId, SourceId); 2] = [(IommuId(0), SourceId(8)), (IommuId(1), SourceId(8))];

fn by_request(subsystem: &Subsystem<SimPlatform>, iommu: usize) -> Device<SimPlatform> {
    let desc = DeviceDesc::new("by request", &SIBLINGS[iommu..=iommu], Arc::new(Uncontrolled));
    subsystem.add(&DeviceDesc { joins: &SIBLINGS, ..desc })
}

fn page(rig: &Rig) -> FrameBuffer<SimPlatform> {
    FrameBuffer::new(&rig.platform, 4096, 4096).unwrap()
}

#[test]
fn requests_and_tables_hold_the_same_mappings() {
    let mut rig = Rig::default();
    rig.smmu(0, Features::default());
    rig.start(0).unwrap();
    let virt = ByRequest::new(1);
    rig.subsystem.register(virt.clone()).unwrap();
    let nic = rig.device("nic", &[(0, 8)], false, |desc| desc.joins = &SIBLINGS);
    let bound = nic.device.bind().unwrap();
    let dma = bound.dma().clone();
    let map = || Dma::map(dma.clone(), page(&rig), Direction::Both).map_err(|(error, _)| error).unwrap();

    // A live address space is copied to a newcomer that takes requests ... but its IOVAs must fit 40 bits.
    let high = map();
    assert!(high.iova().0 >> 40 != 0);
    let late = by_request(&rig.subsystem, 1);
    assert!(matches!(late.status(), Status::Refused(AddError::LiveIova(_))), "{:?}", late.status());
    drop(high);
    assert_eq!(late.retry(), Status::Served);

    let both = map();
    let to = virt.request(SourceId(8), both.iova()).unwrap();
    nic.write(None, both.iova(), b"by table").unwrap();
    let mut seen = [0; 8];
    rig.memory.dma_read("test", to, &mut seen).unwrap();
    assert_eq!(&seen, b"by table");
    let at = both.iova();
    both.unmap().unwrap();
    assert_eq!(virt.request(SourceId(8), at), None);
    nic.write(None, at, b"gone").unwrap_err();
    drop((late, bound, nic, dma));
    assert!(virt.mappings.lock().unwrap().is_empty() && virt.installed.lock().unwrap().is_empty());
    rig.violations.assert_none();
}

#[test]
fn a_live_domain_of_requests_is_copied_to_another_iommu() {
    let rig = Rig::default();
    let units = [ByRequest::new(0), ByRequest::new(1)];
    units.iter().for_each(|unit| drop(rig.subsystem.register(unit.clone()).unwrap()));
    let first = by_request(&rig.subsystem, 0);
    let bound = first.bind().unwrap();
    let mapping = Dma::map(&**bound.dma(), page(&rig), Direction::Both).map_err(|(error, _)| error).unwrap();
    let second = by_request(&rig.subsystem, 1);
    assert_eq!(second.status(), Status::Served);
    let seen = units.each_ref().map(|unit| unit.request(SourceId(8), mapping.iova()));
    assert!(seen[0].is_some() && seen[0] == seen[1]);
    let at = mapping.iova();
    drop(mapping);
    assert_eq!(units.each_ref().map(|unit| unit.request(SourceId(8), at)), [None, None]);
}

#[test]
fn what_requests_cannot_do_is_refused_and_undone() {
    let rig = Rig::default();
    let unit = ByRequest::new(0);
    rig.subsystem.register(unit.clone()).unwrap();
    let device = by_request(&rig.subsystem, 0);
    let owned = rig.subsystem.take(device.info().group.unwrap(), "vmm").unwrap();
    let space = Unbound::default().bind(&owned).unwrap();
    owned.attach(&space).unwrap();
    let frames = rig.platform.frames(8192, 4096, PhysAddr(u64::MAX)).unwrap();
    let to = Span { start: frames, bytes: 8192 };
    // SAFETY: the frames are nobody else's and are never freed.
    let map = |at: u64| unsafe { space.map(Iova(at), to, Attributes::READ_WRITE) };
    assert_eq!(map(0x10_0000), Ok(()));
    assert_eq!(map(0x10_1000), Err(MapError::Exists(Iova(0x10_1000))));
    assert!(matches!(map(0x800), Err(MapError::Misaligned { .. })));
    assert!(matches!(map(1 << 40), Err(MapError::Aperture(_))));
    // SAFETY: mapped above by hand.
    let cut = unsafe { space.unmap(Span { start: Iova(0x10_0000), bytes: 4096 }, ()) };
    assert!(cut.is_err(), "half of a mapping");
    assert_eq!(space.lookup(Iova(0x10_1234)).map(|found| found.0), Some(PhysAddr(frames.0 + 0x1234)));
    assert_eq!(space.translate(Iova(0x10_1234)), Some(PhysAddr(frames.0 + 0x1234)));
    assert_eq!(space.translate(Iova(0x10_2000)), None);
    unit.hung.store(true, Ordering::Relaxed);
    // SAFETY: mapped above by hand.
    let gather = unsafe { space.unmap(Span { start: Iova(0x10_0000), bytes: 8192 }, ()) }.unwrap();
    assert!(gather.finish().is_err());
    assert_eq!(space.stats().quarantined, 8192);
}

#[test]
fn what_was_mapped_while_nobody_was_attached_is_there_for_who_comes() {
    let rig = Rig::default();
    let unit = ByRequest::new(0);
    rig.subsystem.register(unit.clone()).unwrap();
    let device = by_request(&rig.subsystem, 0);
    let owned = rig.subsystem.take(device.info().group.unwrap(), "vmm").unwrap();
    let [one, other] = [(); 2].map(|()| Unbound::default().bind(&owned).unwrap());
    let frames = rig.platform.frames(8192, 4096, PhysAddr(u64::MAX)).unwrap();
    let at = Iova(0x10_0000);
    for (n, space) in [&one, &other].into_iter().enumerate() {
        let to = Span { start: PhysAddr(frames.0 + 4096 * n as u64), bytes: 4096 };
        // SAFETY: the frames are nobody else's and are never freed.
        unsafe { space.map(at, to, Attributes::READ_WRITE) }.unwrap();
    }
    for _ in 0..2 {
        owned.attach(&one).unwrap();
        assert_eq!(unit.request(SourceId(8), at), Some(frames));
        owned.attach(&other).unwrap();
        assert_eq!(unit.request(SourceId(8), at), Some(PhysAddr(frames.0 + 4096)));
    }
}
