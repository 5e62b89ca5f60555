//! What a second, adversarial reading of the subsystem found, each as the scenario that showed it.
#[path = "rules/help.rs"]
#[allow(dead_code)]
mod help;

use help::{KINDS, formats, group_of, map, reads, rig, source};
use ioward::core::{Dma, FrameBuffer, PasidOffer, Region, RegionKind, Status, Unbound, driver::Requirements};
use ioward::types::{Attributes, Direction, Iova, Pasid, PhysAddr, Platform, Span};
use std::sync::Arc;

fn frame(rig: &ioward_machine::Rig) -> Span<PhysAddr> {
    Span { start: rig.platform.frames(4096, 4096, PhysAddr(u64::MAX)).unwrap(), bytes: 4096 }
}

fn required(span: Span<PhysAddr>) -> Region {
    Region { span, kind: RegionKind::Required { how: Attributes::READ_WRITE, relaxable: true } }
}

#[test]
fn a_driver_that_unbinds_leaves_no_pasid_to_the_next() {
    for kind in KINDS {
        let rig = rig(kind);
        let nic = rig.device("nic", &[(0, 8)], false, |desc| desc.pasid = PasidOffer::bits(8));
        let bound = nic.device.bind().unwrap();
        let space = bound.make_space(&Requirements::default()).unwrap();
        // SAFETY: the frames are nobody else's and are never freed.
        unsafe { space.map(Iova(0x7000), frame(&rig), Attributes::READ_WRITE) }.unwrap();
        bound.attach_pasid(Pasid(5), &space).unwrap();
        nic.write(Some(Pasid(5)), Iova(0x7000), b"mine").unwrap();
        drop(bound);
        let _next = nic.device.bind().unwrap();
        assert!(nic.write(Some(Pasid(5)), Iova(0x7000), b"stale").is_err(), "{kind:?}");
    }
}

#[test]
fn taking_a_group_leaves_no_pasid_of_the_kernels_to_the_owner() {
    for kind in KINDS {
        let rig = rig(kind);
        let firm = frame(&rig);
        let regions = [required(firm)];
        let nic = rig.device("nic", &[(0, 8)], false, |desc| {
            desc.pasid = PasidOffer::bits(8);
            desc.regions = &regions;
        });
        let bound = nic.device.bind().unwrap();
        let space = bound.make_space(&Requirements::default()).unwrap();
        // SAFETY: the frames are nobody else's and are never freed.
        unsafe { space.map(Iova(0x7000), frame(&rig), Attributes::READ_WRITE) }.unwrap();
        bound.attach_pasid(Pasid(5), &space).unwrap();
        drop(bound);
        let owned = rig.subsystem.take(group_of(&nic), "vmm").unwrap();
        assert!(nic.write(Some(Pasid(5)), Iova(0x7000), b"kernel").is_err(), "{kind:?} parked");
        let own = Unbound::default().bind(&owned).unwrap();
        owned.attach(&own).unwrap();
        assert!(nic.write(Some(Pasid(5)), Iova(0x7000), b"kernel").is_err(), "{kind:?} attached");
    }
}

#[test]
fn block_and_pasids_agree_between_core_and_driver() {
    for kind in KINDS {
        let rig = rig(kind);
        let nic = rig.device("nic", &[(0, 8)], false, |desc| desc.pasid = PasidOffer::bits(8));
        let owned = rig.subsystem.take(group_of(&nic), "vmm").unwrap();
        let own = Unbound::default().bind(&owned).unwrap();
        // SAFETY: the frames are nobody else's and are never freed.
        unsafe { own.map(Iova(0x7000), frame(&rig), Attributes::READ_WRITE) }.unwrap();
        owned.attach(&own).unwrap();
        owned.attach_pasid(nic.device.id(), Pasid(5), &own).unwrap();
        owned.block().unwrap();
        owned.attach(&own).unwrap();
        let works = nic.write(Some(Pasid(5)), Iova(0x7000), b"x").is_ok();
        let again = owned.attach_pasid(nic.device.id(), Pasid(5), &own);
        assert!(works || again.is_ok(), "{kind:?}: blocked in hardware, yet {again:?}");
    }
}

#[test]
fn a_waiting_device_that_merges_two_groups_leaves_both_members_their_dma() {
    for kind in KINDS {
        let rig = rig(kind);
        let a = rig.device("a", &[(0, 8)], false, |_| {});
        let b = rig.device("b", &[(0, 9)], false, |_| {});
        let joins = [source(0, 8), source(0, 9)];
        let c = rig.device("c", &[], false, |desc| desc.joins = &joins);
        eprintln!("{:?}", c.device.status());
        assert_eq!(group_of(&a), group_of(&b));
        let (bound_a, bound_b) = (a.device.bind().unwrap(), b.device.bind().unwrap());
        let (map_a, map_b) = (map(&rig, &bound_a, b"a"), map(&rig, &bound_b, b"b"));
        assert!(reads(&a, None, &map_a, b"a"), "{kind:?} a");
        assert!(reads(&b, None, &map_b, b"b"), "{kind:?} b");
    }
}

#[test]
fn a_refused_newcomers_regions_do_not_cost_the_group_its_domain() {
    for kind in KINDS {
        let rig = rig(kind);
        let span = frame(&rig);
        let siblings = [source(0, 8)];
        let nic = rig.device("nic", &[(0, 8)], false, |_| {});
        let owned = rig.subsystem.take(group_of(&nic), "vmm").unwrap();
        let regions = [required(span), Region { span, kind: RegionKind::Forbidden }];
        let bad = rig.device("bad", &[(0, 9)], false, |desc| {
            desc.joins = &siblings;
            desc.regions = &regions;
        });
        assert!(matches!(bad.device.status(), Status::Refused(_)));
        drop(owned);
        assert_eq!(nic.device.status(), Status::Served);
        let bound = nic.device.bind().unwrap();
        let mapping = map(&rig, &bound, b"back");
        assert!(
            reads(&nic, None, &mapping, b"back"),
            "{kind:?}: bound, served, and blocked: {:?}",
            bad.device.status()
        );
        let _ = formats(&rig, &nic);
    }
}

#[test]
fn an_untrusted_device_that_shares_a_source_gets_no_ats() {
    for kind in KINDS {
        let rig = rig(kind);
        let nic = rig.device("nic", &[(0, 8)], true, |_| {});
        assert!(nic.engines[0].is_ats_on());
        let rogue = rig.device("rogue", &[(0, 8)], true, |desc| desc.trusted = false);
        assert!(
            !rogue.engines[0].is_ats_on() || matches!(rogue.device.status(), Status::Refused(_)),
            "{kind:?}: {:?}",
            rogue.device.status()
        );
    }
}

/// An invalidation by requester ID reaches one device's cache.
#[test]
fn two_devices_of_one_source_never_both_cache_translations() {
    for kind in KINDS {
        let rig = rig(kind);
        let first = rig.device("first", &[(0, 8)], true, |_| {});
        let second = rig.device("second", &[(0, 8)], true, |_| {});
        assert_eq!(second.device.status(), Status::Refused(ioward::core::AddError::SharesAts(source(0, 8))));
        assert!(
            first.engines[0].is_ats_on()
                && !second.engines[0].is_ats_on()
                && !second.engines[0].is_bus_master()
        );
    }
}

#[test]
fn a_space_that_maps_what_the_groups_fabric_decodes_is_not_attached() {
    for kind in KINDS {
        let rig = rig(kind);
        let window = Span { start: PhysAddr(0x4000_0000), bytes: 0x10000 };
        let regions = [Region { span: window, kind: RegionKind::Forbidden }];
        let a = rig.device("a", &[(0, 8)], false, |_| {});
        let b = rig.device("b", &[(0, 9)], false, |desc| desc.regions = &regions);
        let owned_a = rig.subsystem.take(group_of(&a), "vmm").unwrap();
        let owned_b = rig.subsystem.take(group_of(&b), "vmm").unwrap();
        let space = Unbound::default().bind(&owned_a).unwrap();
        // SAFETY: the frames are nobody else's and are never freed.
        unsafe { space.map(Iova(0x4000_0000), frame(&rig), Attributes::READ_WRITE) }.unwrap();
        assert!(owned_b.attach(&space).is_err(), "{kind:?}");
    }
}

#[test]
fn a_tag_is_not_reused_while_an_entry_holds_it() {
    let rig = rig(help::Kind::Smmu);
    let firm = frame(&rig);
    let firm2 = frame(&rig);
    let _zero = rig.device("zero", &[(0, 1)], false, |_| {});
    let regions = [required(firm)];
    let nic = rig.device("nic", &[(0, 8)], false, |desc| desc.regions = &regions);
    let owned = rig.subsystem.take(group_of(&nic), "vmm").unwrap();
    let siblings = [source(0, 8)];
    let clash = [required(firm2), Region { span: firm2, kind: RegionKind::Forbidden }];
    let _bad = rig.device("bad", &[(0, 9)], false, |desc| {
        desc.joins = &siblings;
        desc.regions = &clash;
    });
    drop(owned); // the default domain cannot be restored: parked
    let both = [source(0, 1), source(0, 8)];
    let third = rig.device("third", &[(0, 20)], false, |desc| desc.joins = &both);
    eprintln!("{:?}", third.device.status());
    // Every other tag is handed out and given back.
    {
        let spare = rig.device("spare", &[(0, 31)], false, |_| {});
        let owned = rig.subsystem.take(group_of(&spare), "x").unwrap();
        let n: usize = 65_525 /* VMIDs go round; 8-bit ones in 250 */;
        for _ in 0..n {
            let _ = Unbound::default().bind(&owned).unwrap();
        }
    }
    let mut hit = false;
    for n in 0..12u32 {
        let victim = rig.device("victim", &[(0, 40 + n)], false, |_| {});
        let bound = victim.device.bind().unwrap();
        let mapping = map(&rig, &bound, b"secret");
        assert!(reads(&victim, None, &mapping, b"secret"));
        hit |= reads(&nic, None, &mapping, b"secret");
        core::mem::forget((mapping, bound, victim));
    }
    assert!(!hit, "another group's memory through a tag used twice");
}

#[test]
fn a_refused_newcomer_costs_a_sibling_no_pasids() {
    for kind in KINDS {
        let rig = rig(kind);
        let span = frame(&rig);
        let nic = rig.device("nic", &[(0, 8)], false, |desc| desc.pasid = PasidOffer::bits(8));
        let before = nic.device.info().pasid;
        let clash = [required(span), Region { span, kind: RegionKind::Forbidden }];
        let bad = rig.device("bad", &[(0, 8)], false, |desc| desc.regions = &clash);
        assert!(matches!(bad.device.status(), Status::Refused(_)));
        drop(bad);
        assert_eq!(nic.device.info().pasid, before, "{kind:?}");
    }
}

#[test]
fn a_refused_newcomer_narrows_no_live_aperture() {
    for kind in KINDS {
        let rig = rig(kind);
        let two = Span { start: rig.platform.frames(8192, 8192, PhysAddr(u64::MAX)).unwrap(), bytes: 8192 };
        let one = [required(Span { start: two.start, bytes: 4096 })];
        let nic = rig.device("nic", &[(0, 8)], false, |desc| desc.regions = &one);
        let bound = nic.device.bind().unwrap();
        let before = rig.subsystem.group(group_of(&nic)).unwrap().aperture;
        let regions = [required(two)];
        let siblings = [source(0, 8)];
        let bad = rig.device("bad", &[(0, 9)], false, |desc| {
            desc.joins = &siblings;
            desc.regions = &regions;
            desc.addr_bits = 32;
        });
        eprintln!("{:?}", bad.device.status());
        if matches!(bad.device.status(), Status::Refused(_)) {
            assert_eq!(rig.subsystem.group(group_of(&nic)).unwrap().aperture, before, "{kind:?}");
        }
        drop(bound);
    }
}

#[test]
fn two_subsystems_and_one_space() {
    // The same IOMMU number in both: flushes go to the wrong one. Nothing refuses the other's address space.
    let mut rig = ioward_machine::Rig::default();
    help::add(&mut rig, 0, help::Kind::Smmu);
    help::add(&mut rig, 1, help::Kind::Smmu);
    rig.start(0).unwrap();
    let other = ioward::core::Subsystem::new(rig.platform.clone());
    other.register(rig.driver(1).unwrap()).unwrap();
    let a = rig.device("a", &[(0, 8)], false, |_| {});
    let owned = rig.subsystem.take(group_of(&a), "vmm").unwrap();
    let space = Unbound::default().bind(&owned).unwrap();
    let control = Arc::new(ioward::types::control::Uncontrolled);
    let sources = [source(1, 8)];
    let b = other.add(&ioward::core::DeviceDesc::new("b", &sources, control));
    let owned_b = other.take(b.info().group.unwrap(), "vmm").unwrap();
    assert!(owned_b.attach(&space).is_err(), "its layout is edited under two locks");
}

#[test]
fn removed_while_hung_added_again_after() {
    for kind in KINDS {
        let rig = rig(kind);
        let nic = rig.device("nic", &[(0, 8)], true, |_| {});
        let bound = nic.device.bind().unwrap();
        let mapping = map(&rig, &bound, b"held");
        assert!(reads(&nic, None, &mapping, b"held"));
        let model = rig.model(ioward::types::IommuId(0)).unwrap().clone();
        model.set_hung(true);
        let engine = nic.engines[0].clone();
        let blocked = nic.device.remove(false);
        eprintln!("{kind:?} {blocked:?} {}", engine.is_bus_master());
        model.set_hung(false);
        let again = rig.device("nic2", &[(0, 8)], true, |_| {});
        eprintln!("{:?}", again.device.status());
        let at = mapping.iova();
        let unmapped = mapping.unmap();
        eprintln!("{:?}", unmapped.as_ref().map(drop));
        assert!(again.write(None, at, b"stale").is_err() || unmapped.is_err(), "{kind:?}");
        ioward::types::DeviceControl::bus_master(&engine, true);
        assert!(engine.write(None, at, b"stale").is_err() || unmapped.is_err(), "{kind:?}");
    }
}

#[test]
fn a_killed_device_is_not_called_served() {
    for kind in KINDS {
        let rig = rig(kind);
        let nic = rig.device("nic", &[(0, 8)], false, |_| {});
        let model = rig.model(ioward::types::IommuId(0)).unwrap().clone();
        model.set_hung(true);
        assert!(rig.subsystem.take(group_of(&nic), "vmm").is_err());
        model.set_hung(false);
        eprintln!("{kind:?} {:?} {:?}", nic.device.status(), nic.device.reset());
        let bound = nic.device.bind();
        eprintln!("{:?}", bound.as_ref().map(drop));
        if let Ok(bound) = bound {
            let mapping = map(&rig, &bound, b"works");
            assert!(
                reads(&nic, None, &mapping, b"works"),
                "{kind:?}: bound to a device that can never do DMA"
            );
        }
    }
}

struct Wrapped {
    inner: Arc<dyn ioward::core::driver::Driver>,
    hang: std::sync::atomic::AtomicBool,
}
// SAFETY: the driver inside answers, but for the flush that is made to fail.
unsafe impl ioward::core::driver::Driver for Wrapped {
    fn id(&self) -> ioward::types::IommuId {
        self.inner.id()
    }
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
    fn capabilities(&self) -> ioward::core::driver::Capabilities {
        self.inner.capabilities()
    }
    fn plan(&self, r: &Requirements) -> Result<ioward::core::driver::Plan, ioward::core::driver::Refused> {
        self.inner.plan(r)
    }
    fn can_walk(&self, c: &ioward::types::TableConfig) -> Result<(), ioward::core::driver::Refused> {
        self.inner.can_walk(c)
    }
    fn claim(
        &self,
        w: &ioward::core::driver::Claim,
    ) -> Result<ioward::core::driver::Slot, ioward::core::driver::Refused> {
        self.inner.claim(w)
    }
    fn release(&self, s: ioward::core::driver::Slot, g: bool) -> ioward::core::driver::Blocked {
        self.inner.release(s, g)
    }
    fn tag(
        &self,
        p: &ioward::core::driver::Plan,
    ) -> Result<ioward::types::Tag, ioward::core::driver::Refused> {
        self.inner.tag(p)
    }
    unsafe fn untag(&self, t: ioward::types::Tag) -> Result<(), ioward::core::driver::Hung> {
        // SAFETY: as promised by the caller.
        unsafe { self.inner.untag(t) }
    }
    unsafe fn install(
        &self,
        s: &ioward::core::driver::Slot,
        p: Option<Pasid>,
        w: &ioward::core::driver::Translation<'_>,
    ) -> Result<(), ioward::core::driver::Refused> {
        // SAFETY: as promised by the caller.
        unsafe { self.inner.install(s, p, w) }
    }
    fn block(&self, s: &ioward::core::driver::Slot, p: Option<Pasid>) -> ioward::core::driver::Blocked {
        self.inner.block(s, p)
    }
    fn flush(&self, w: &[ioward::core::driver::Flush<'_>]) -> Result<(), ioward::core::driver::Hung> {
        use std::sync::atomic::Ordering::SeqCst;
        if self.hang.load(SeqCst) {
            return Err(ioward::core::driver::Hung {
                iommu: self.id(),
                what: "x",
                waited: ioward::types::Nanos(1),
            });
        }
        self.inner.flush(w)
    }
    fn poll(&self, s: &mut dyn FnMut(ioward::core::driver::Event)) {
        self.inner.poll(s)
    }
}
fn wrapped() -> (ioward_machine::Rig, Arc<Wrapped>) {
    let mut rig = ioward_machine::Rig::default();
    help::add(&mut rig, 0, help::Kind::Smmu);
    let w = Arc::new(Wrapped { inner: rig.driver(0).unwrap(), hang: false.into() });
    rig.subsystem.register(w.clone()).unwrap();
    (rig, w)
}

#[test]
fn a_block_whose_flush_hung_is_not_called_confirmed() {
    let (rig, driver) = wrapped();
    let nic = rig.device("nic", &[(0, 8)], false, |_| {});
    let owned = rig.subsystem.take(group_of(&nic), "vmm").unwrap();
    let space = Unbound::default().bind(&owned).unwrap();
    owned.attach(&space).unwrap();
    driver.hang.store(true, std::sync::atomic::Ordering::SeqCst);
    let blocked = owned.block();
    assert!(!nic.engines[0].is_bus_master());
    assert!(blocked.is_err(), "the device was silenced and its entry is dead, and the owner is told Ok");
}

#[test]
fn a_raw_mapping_in_the_way_does_not_stop_dma_for_ever() {
    let rig = rig(help::Kind::Smmu);
    let nic = rig.device("nic", &[(0, 8)], false, |_| {});
    let owned = rig.subsystem.take(group_of(&nic), "vmm").unwrap();
    let space = Unbound::default().bind(&owned).unwrap();
    owned.attach(&space).unwrap();
    let top = Iova(space.aperture().last().0 & !0xfff);
    // SAFETY: the frames are nobody else's and are never freed.
    unsafe { space.map(top, frame(&rig), Attributes::READ_WRITE) }.unwrap();
    let dma = Arc::new(Dma::new(space, Iova(u64::MAX)));
    let buffer = || FrameBuffer::new(&rig.platform, 4096, 4096).unwrap();
    let tries =
        (0..3).map(|_| Dma::map(dma.clone(), buffer(), Direction::Both).map(drop).map_err(|(e, _)| e));
    let tries: Vec<_> = tries.collect();
    assert!(tries.iter().any(Result::is_ok), "{tries:?}");
}

#[test]
fn a_denied_device_has_pasids_and_ats_off() {
    // Firmware or an earlier kernel left both on.
    let rig = rig(help::Kind::Smmu);
    let nic = rig.device("nic", &[(0, 8)], true, |desc| {
        desc.trusted = false;
        desc.control.ats(Some(12));
        desc.control.bus_master(true);
    });
    assert!(!nic.engines[0].is_ats_on(), "an untrusted device keeps ATS on");
}

/// What a device cached for an earlier owner counts as soon as its entry lets translated requests in.
#[test]
fn ats_that_was_left_on_is_off_before_the_entry_opens() {
    use ioward::types::{DeviceControl, Nanos, SourceId};
    use ioward_models::vtd::{SourceMeaning, VtdConfig, VtdModel};
    use std::sync::Mutex;
    struct Watched {
        engine: ioward_models::DmaEngine,
        model: Arc<VtdModel>,
        first: Mutex<Option<bool>>,
    }
    impl DeviceControl for Watched {
        fn bus_master(&self, on: bool) {
            self.engine.bus_master(on);
        }
        fn pasid(&self, bits: Option<u8>) {
            self.engine.pasid(bits);
        }
        fn ats(&self, page_shift: Option<u8>) {
            let blocked = matches!(self.model.meaning(SourceId(8)), SourceMeaning::NotPresent(_));
            self.first.lock().unwrap().get_or_insert(page_shift.is_none() && blocked);
            self.engine.ats(page_shift);
        }
        fn page_requests(&self, outstanding: Option<u32>) {
            self.engine.page_requests(outstanding);
        }
        fn reset(&self) -> Result<(), Nanos> {
            self.engine.reset()
        }
    }
    let mut rig = ioward_machine::Rig::default();
    let ioward_machine::Model::Vtd(model) = rig.vtd(0, VtdConfig::default()) else { panic!("it is VT-d") };
    rig.start(0).unwrap();
    let sources = [source(0, 8)];
    let engine = rig.engines("nic", &sources, true).remove(0);
    let control = Arc::new(Watched { engine: engine.clone(), model, first: Mutex::new(None) });
    let desc = ioward::core::DeviceDesc {
        ats: Some(12),
        ..ioward::core::DeviceDesc::new("nic", &sources, control.clone())
    };
    let nic = rig.subsystem.add(&desc);
    assert_eq!(nic.status(), Status::Served);
    assert!(engine.is_ats_on());
    let first = *control.first.lock().unwrap();
    assert_eq!(first, Some(true));
}
