//! An IOMMU that does not confirm an install: hardware may hold what was asked for, so nothing of it is given back.
#[path = "rules/help.rs"]
#[allow(dead_code)]
mod help;

use help::{Kind, group_of};
use ioward::core::{
    AddError, Status, Unbound,
    driver::{
        Blocked, Capabilities, Claim, Driver, Event, Flush, Hung, Plan, Refused, Requirements, Slot,
        Translation,
    },
};
use ioward::types::{
    Attributes, IommuId, Iova, Nanos, Pasid, PhysAddr, Platform, Root, Span, TableConfig, Tag,
};
use ioward_machine::Rig;
use ioward_models::{SimPlatform, smmuv3::Features};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

/// A driver whose installs are done and, while it doubts, not confirmed; nor is it confirmed then that anything is blocked.
/// One that is blind confirms installs and no block.
struct Doubting {
    inner: Arc<dyn Driver>,
    platform: SimPlatform,
    doubts: AtomicBool,
    blind: AtomicBool,
    /// What entries may hold: while it is there no table is freed and no tag is given back.
    held: Mutex<Option<(Root, Tag)>>,
}

const HUNG: Hung = Hung { iommu: IommuId(0), what: "doubt", waited: Nanos(1) };

impl Doubting {
    fn new(rig: &Rig, id: u32) -> Arc<Self> {
        let (inner, platform) = (rig.driver(id).unwrap(), rig.platform.clone());
        let (doubts, blind) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { inner, platform, doubts, blind, held: Mutex::default() })
    }

    fn doubt(&self, on: bool) {
        self.doubts.store(on, Ordering::Relaxed);
    }

    #[track_caller]
    fn check(&self) {
        let held = *self.held.lock().unwrap();
        let (root, _) = held.expect("something was installed");
        assert!(self.platform.memory().is_allocated(root.at), "its table was freed");
    }

    fn unless_doubting(&self, blocked: Blocked) -> Blocked {
        if self.doubts.load(Ordering::Relaxed) || self.blind.load(Ordering::Relaxed) {
            return Blocked::Unconfirmed(HUNG);
        }
        *self.held.lock().unwrap() = None;
        blocked
    }
}

// SAFETY: what it does not confirm it has done.
unsafe impl Driver for Doubting {
    fn id(&self) -> IommuId {
        self.inner.id()
    }
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn plan(&self, whole_group: &Requirements) -> Result<Plan, Refused> {
        self.inner.plan(whole_group)
    }
    fn can_walk(&self, config: &TableConfig) -> Result<(), Refused> {
        self.inner.can_walk(config)
    }
    fn claim(&self, what: &Claim) -> Result<Slot, Refused> {
        self.inner.claim(what)
    }
    fn release(&self, slot: Slot, gone: bool) -> Blocked {
        self.unless_doubting(self.inner.release(slot, gone))
    }
    fn tag(&self, plan: &Plan) -> Result<Tag, Refused> {
        self.inner.tag(plan)
    }
    unsafe fn untag(&self, tag: Tag) -> Result<(), Hung> {
        if let Some((_, held)) = *self.held.lock().unwrap() {
            assert_ne!(tag, held, "a tag is given back that an entry may hold");
        }
        // SAFETY: as promised by the caller.
        unsafe { self.inner.untag(tag) }
    }
    unsafe fn install(
        &self,
        slot: &Slot,
        pasid: Option<Pasid>,
        what: &Translation<'_>,
    ) -> Result<(), Refused> {
        // SAFETY: as promised by the caller.
        unsafe { self.inner.install(slot, pasid, what) }?;
        if let Translation::Table { root, tag, .. } | Translation::Foreign { root, tag, .. } = what {
            *self.held.lock().unwrap() = Some((*root, *tag));
        }
        if self.doubts.load(Ordering::Relaxed) { Err(HUNG.into()) } else { Ok(()) }
    }
    fn block(&self, slot: &Slot, pasid: Option<Pasid>) -> Blocked {
        self.unless_doubting(self.inner.block(slot, pasid))
    }
    fn flush(&self, what: &[Flush<'_>]) -> Result<(), Hung> {
        self.inner.flush(what)
    }
    fn poll(&self, sink: &mut dyn FnMut(Event)) {
        self.inner.poll(sink);
    }
}

fn doubting() -> (Rig, Arc<Doubting>) {
    let mut rig = Rig::default();
    rig.smmu(0, Features::default());
    let driver = Doubting::new(&rig, 0);
    rig.subsystem.register(driver.clone()).unwrap();
    (rig, driver)
}

fn is_hung(result: Result<(), AddError>) -> bool {
    matches!(result, Err(AddError::Driver(Refused::Hung(_))))
}

#[test]
fn a_default_domain_that_may_be_installed_keeps_its_table() {
    let (rig, driver) = doubting();
    driver.doubt(true);
    let nic = rig.device("nic", &[(0, 8)], false, |_| {});
    assert!(matches!(nic.device.status(), Status::Refused(AddError::Driver(Refused::Hung(_)))));
    driver.check();
    // Where the IOMMU confirms later, the device is served after all.
    driver.doubt(false);
    assert_eq!(nic.device.retry(), Status::Served);
}

#[test]
fn an_owners_address_space_that_may_be_installed_keeps_its_table_and_tag() {
    let (rig, driver) = doubting();
    let nic = rig.device("nic", &[(0, 8)], false, |_| {});
    let owned = rig.subsystem.take(group_of(&nic), "vmm").unwrap();
    let space = Unbound::default().bind(&owned).unwrap();
    driver.doubt(true);
    assert!(is_hung(owned.attach(&space)));
    drop(space);
    driver.check();
    drop(owned);
    driver.check();
    // The tables come back when the IOMMU has confirmed that the entry is blocked.
    let (root, _) = driver.held.lock().unwrap().unwrap();
    driver.doubt(false);
    assert_eq!(nic.device.remove(false), Blocked::Confirmed);
    assert!(!rig.memory.is_allocated(root.at), "nobody holds it any more");
}

#[test]
fn a_foreign_table_that_may_be_installed_keeps_its_tag() {
    let (rig, driver) = doubting();
    let nic = rig.device("nic", &[(0, 8)], false, |_| {});
    let owned = rig.subsystem.take(group_of(&nic), "vmm").unwrap();
    let Plan::Tables(config) = driver.plan(&Requirements::default()).unwrap() else { panic!("tables") };
    // A root of zeros: nothing is mapped.
    let at = rig.platform.frames(0x1_0000, 0x1_0000, PhysAddr(u64::MAX)).unwrap();
    let root = Root { at, levels: if config.in_bits > 43 { 4 } else { 3 } };
    driver.doubt(true);
    // SAFETY: the table is empty, and stays.
    assert!(is_hung(unsafe { owned.attach_foreign(root, config) }));
    driver.doubt(false);
    assert_eq!(owned.block(), Ok(()));
}

#[test]
fn what_is_not_confirmed_to_be_taken_back_keeps_its_table_too() {
    let mut rig = Rig::default();
    let drivers = [0, 1].map(|id| {
        rig.smmu(id, Features::default());
        let driver = Doubting::new(&rig, id);
        rig.subsystem.register(driver.clone()).unwrap();
        driver
    });
    let nic = rig.device("nic", &[(0, 8), (1, 8)], false, |_| {});
    let owned = rig.subsystem.take(group_of(&nic), "vmm").unwrap();
    let space = Unbound::default().bind(&owned).unwrap();
    drivers[0].blind.store(true, Ordering::Relaxed);
    drivers[1].doubt(true);
    assert!(is_hung(owned.attach(&space)));
    drop(space);
    drivers.iter().for_each(|driver| driver.check());
}

/// Another subsystem's turn guards its layouts: a safe call must not get around it.
#[test]
fn an_address_space_of_another_subsystem_is_refused_before_anything_is_mapped_in_it() {
    use ioward::core::{Region, RegionKind};
    let (rig, other) = (help::rig(Kind::Smmu), help::rig(Kind::Smmu));
    let doorbell = Span { start: PhysAddr(0x0802_0000), bytes: 0x1000 };
    let regions = [Region { span: doorbell, kind: RegionKind::Doorbell }];
    let nic = rig.device("nic", &[(0, 8)], false, |desc| desc.regions = &regions);
    let theirs = other.device("theirs", &[(0, 8)], false, |_| {});
    let owned = rig.subsystem.take(group_of(&nic), "vmm").unwrap();
    let their_group = other.subsystem.take(group_of(&theirs), "vmm").unwrap();
    let space = Unbound::default().bind(&their_group).unwrap();
    assert_eq!(owned.attach(&space), Err(AddError::OtherSubsystem));
    assert_eq!(space.lookup(Iova(doorbell.start.0)), None, "it is as it was");
    let to = Span { start: rig.platform.frames(4096, 4096, PhysAddr(u64::MAX)).unwrap(), bytes: 4096 };
    // SAFETY: the frames are nobody else's and are never freed.
    unsafe { space.map(Iova(doorbell.start.0), to, Attributes::READ_WRITE) }.unwrap();
}
