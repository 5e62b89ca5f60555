//! Bringing up an IOMMU that firmware or a crashed kernel left translating, while devices do DMA.

use crate::{
    bench::{Bench, ColdOverRunning, TakeOver, Why},
    checks::AT,
    endpoint::{Endpoint, Reach},
    middleware::AllOnes,
    rig::{Rig, claim, put, release, stays_out},
    space::Space,
};

/// Where a device of the former kernel's can reach something only if it bypasses.
const ROGUE: u64 = AT + 0x2000_0000;

/// A machine whose kernel has crashed.
struct Crashed<B: Bench> {
    rig: Rig<B>,
    /// On a plain table.
    plain: Endpoint,
    /// On a table with a PASID beside it, where there are PASIDs.
    with_pasids: Option<Endpoint>,
    page: u64,
}

impl<B: Bench> Crashed<B> {
    /// The former kernel ran this very driver, and did not see its end come.
    fn new(make: &dyn Fn() -> B) -> Self {
        let rig = Rig::new(make);
        let driver = rig.cold();
        let page = rig.memory(0x1_0000);
        let [first, second, _] = rig.facts.sources;
        let space = Space::new(&rig, &driver, 0);
        space.map(AT, page, space.granule());
        put(&driver, &claim(&driver, first, 0, false), None, &space.translation());
        let plain = rig.device(first);
        let bits = rig.facts.pasid_bits.min(4);
        let with_pasids = (bits != 0).then(|| {
            let space = Space::new(&rig, &driver, bits);
            space.map(AT, page, space.granule());
            let slot = claim(&driver, second, bits, false);
            put(&driver, &slot, None, &space.translation());
            put(&driver, &slot, Some(3), &space.translation());
            std::mem::forget(space);
            rig.device(second)
        });
        assert_eq!(plain.write(None, AT), Reach::To(page), "before the crash");
        if let Some(device) = &with_pasids {
            assert_eq!(device.write(Some(3), AT), Reach::To(page), "before the crash, PASID 3");
        }
        // Nobody gives anything back, and nobody reads the faults: the queue is full of them.
        for n in 0..2000 {
            let _ = plain.write(None, ROGUE + n * 0x1_0000);
        }
        rig.lawful();
        std::mem::forget((space, driver));
        Self { rig, plain, with_pasids, page }
    }

    fn is_running(&self) -> bool {
        self.plain.write(None, AT) == Reach::To(self.page)
    }

    /// Nothing of what it had, or all of it and no more.
    fn look(&self) -> impl Fn() -> Option<String> + Send + Sync + use<B> {
        let (plain, with_pasids, page) = (self.plain.clone(), self.with_pasids.clone(), self.page);
        move || {
            let mut seen = vec![(plain.read(None, AT), plain.read(None, ROGUE), "plain")];
            if let Some(device) = &with_pasids {
                seen.push((device.read(None, AT), device.read(None, ROGUE), "beside PASIDs"));
                seen.push((device.read(Some(3), AT), device.read(Some(3), ROGUE), "with PASID"));
            }
            seen.iter().find_map(|(at, rogue, what)| {
                let sound = matches!(at, Reach::Blocked) || *at == Reach::To(page);
                (!sound || *rogue != Reach::Blocked).then(|| format!("{what}: {at:x?}, {rogue:x?}"))
            })
        }
    }
}

/// A cold bring-up of an IOMMU that translates does what the mode says: it is refused and nothing is touched, or whatever
/// runs is stopped.
pub fn cold_over_running_dma<B: Bench>(make: &dyn Fn() -> B) {
    let crashed = Crashed::new(make);
    let up = crashed.rig.bring_up(TakeOver::Cold);
    match crashed.rig.facts.cold_over_running {
        ColdOverRunning::Refused => {
            assert!(matches!(&up, Err(error) if error.why == Why::Translating), "{:?}", up.err());
            assert!(crashed.is_running(), "a refusal touched what runs");
        }
        ColdOverRunning::Aborts => {
            assert!(up.is_ok(), "{:?}", up.err());
            stays_out(crashed.plain.write(None, AT), "what ran is stopped");
        }
    }
    crashed.rig.lawful();
}

/// Abort stops all DMA that runs, and at no step of it does a request bypass.
pub fn abort_stops_running_dma<B: Bench>(make: &dyn Fn() -> B) {
    let crashed = Crashed::new(make);
    let (up, seen) = crashed.rig.between_steps(crashed.look(), || crashed.rig.bring_up(TakeOver::Abort));
    let driver = up.expect("an IOMMU that translates can be stopped");
    assert!(seen.is_empty(), "during the bring-up: {seen:?}");
    stays_out(crashed.plain.write(None, AT), "after Abort");
    stays_out(crashed.plain.write(None, ROGUE), "after Abort");
    if let Some(device) = &crashed.with_pasids {
        stays_out(device.write(None, AT), "after Abort, beside PASIDs");
        stays_out(device.write(Some(3), AT), "after Abort, PASID 3");
    }
    // It works as after any other bring-up.
    let space = Space::new(&crashed.rig, &driver, 0);
    let page = crashed.rig.memory(0x1_0000);
    space.map(AT, page, space.granule());
    let slot = claim(&driver, crashed.plain.source().0, 0, false);
    put(&driver, &slot, None, &space.translation());
    assert_eq!(crashed.plain.write(None, AT), Reach::To(page));
    crashed.rig.settled();
}

/// Adopt lets what runs go on until its source is claimed, and what is new is not mistaken for what is old. At no step does a
/// request reach anything else.
pub fn adopt_keeps_dma_until_its_source_is_claimed<B: Bench>(make: &dyn Fn() -> B) {
    let crashed = Crashed::new(make);
    let rig = &crashed.rig;
    let peek = |at| rig.bench.peek(at);
    let (up, seen) = rig.between_steps(crashed.look(), || rig.bring_up(TakeOver::Adopt(&peek)));
    let driver = up.expect("an IOMMU that translates can be adopted");
    assert!(seen.is_empty(), "during the bring-up: {seen:?}");
    assert_eq!(crashed.is_running(), rig.facts.adopts, "what ran goes on, if the mode says so");
    stays_out(crashed.plain.write(None, ROGUE), "nothing more than before");
    if let Some(objection) = crashed.look()() {
        panic!("after the bring-up: {objection}");
    }
    // Others come and go, under whatever tags there are, while it goes on.
    let other = rig.facts.sources[2];
    let page = rig.memory(0x1_0000);
    for _ in 0..4 {
        let space = Space::new(rig, &driver, 0);
        space.map(AT, page, space.granule());
        let slot = claim(&driver, other, 0, false);
        put(&driver, &slot, None, &space.translation());
        assert_eq!(rig.device(other).write(None, AT), Reach::To(page), "a new tag that is an old one");
        assert_eq!(crashed.is_running(), rig.facts.adopts, "a neighbour's change stops it");
        release(&driver, slot);
        space.end();
    }
    let slot = claim(&driver, crashed.plain.source().0, 0, false);
    stays_out(crashed.plain.write(None, AT), "its source is claimed");
    let space = Space::new(rig, &driver, 0);
    space.map(AT, page, space.granule());
    put(&driver, &slot, None, &space.translation());
    assert_eq!(crashed.plain.write(None, AT), Reach::To(page));
    if let Some(objection) = crashed.look()().filter(|text| !text.starts_with("plain")) {
        panic!("its neighbour: {objection}");
    }
    rig.lawful();
}

/// Where what an IOMMU uses cannot be read, nothing of it goes on unless nothing was touched.
pub fn adopt_of_what_cannot_be_read<B: Bench>(make: &dyn Fn() -> B) {
    let crashed = Crashed::new(make);
    let nothing = |_| None;
    match crashed.rig.bring_up(TakeOver::Adopt(&nothing)) {
        Ok(_) => {
            stays_out(crashed.plain.write(None, AT), "nothing was read, so nothing can have been adopted");
        }
        Err(_) => {
            let at = crashed.plain.write(None, AT);
            assert!(matches!(at, Reach::Blocked) || at == Reach::To(crashed.page), "{at:x?}");
        }
    }
    stays_out(crashed.plain.write(None, ROGUE), "and nothing bypasses");
    crashed.rig.lawful();
}

/// What the former kernel's tables say is not trusted: garbage in them reaches nothing, and ends no machine.
pub fn adopt_of_garbage<B: Bench>(make: &dyn Fn() -> B) {
    for garbage in [0, 1, 3, u64::MAX, 0x5555_5555_5555_5555, 0x0000_ffff_ffff_f003] {
        let crashed = Crashed::new(make);
        let memory = |_| Some(garbage);
        if let Ok(driver) = crashed.rig.bring_up(TakeOver::Adopt(&memory)) {
            let slot = claim(&driver, crashed.plain.source().0, 0, false);
            stays_out(crashed.plain.write(None, AT), "claimed");
            release(&driver, slot);
            stays_out(crashed.plain.write(None, AT), "released");
        }
    }
}

/// An IOMMU that goes away or stops in the middle of being taken over has let nothing bypass.
pub fn a_take_over_that_ends_early_never_bypasses<B: Bench>(make: &dyn Fn() -> B) {
    for adopt in [false, true] {
        for after in crate::checks::sampled(40) {
            let crashed = Crashed::new(make);
            let rig = &crashed.rig;
            let peek = |at| rig.bench.peek(at);
            let how = if adopt { TakeOver::Adopt(&peek) } else { TakeOver::Abort };
            rig.registers.interpose(|under| AllOnes::after(under, after));
            let (_, seen) = rig.between_steps(crashed.look(), || rig.bring_up(how).is_ok());
            assert!(seen.is_empty(), "{how:?}, registers gone after {after} accesses: {seen:?}");
        }
    }
}

/// Faults that an earlier owner left in the queue, and the overflow that they ended in, do not hide those that come.
pub fn faults_left_behind_do_not_hide_new_ones<B: Bench>(make: &dyn Fn() -> B) {
    let crashed = Crashed::new(make);
    let rig = &crashed.rig;
    let driver = rig.bring_up(TakeOver::Abort).expect("an IOMMU that translates can be stopped");
    let source = rig.facts.sources[2];
    let space = Space::new(rig, &driver, 0);
    put(&driver, &claim(&driver, source, 0, false), None, &space.translation());
    for _ in 0..4 {
        let _ = rig.events(&driver);
    }
    stays_out(rig.device(source).write(None, AT), "nothing is mapped");
    let seen = rig.faults(&driver);
    assert!(seen.iter().any(|fault| fault.source.0 == source), "{seen:?}");
    rig.lawful();
}
