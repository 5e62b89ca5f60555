//! The checks of what a group can be on, and of changing it while a device is at work.

use crate::{
    checks::Checks,
    edu::Edu,
    platform::Kernel,
    script::{PAGE, Page, Reports, Side, Why},
    stage::{Added, Stage},
    system::{Owned, copy},
};
use alloc::{
    boxed::Box,
    format,
    string::{String, ToString as _},
    sync::Arc,
};
use ioward::{
    core::{AddressSpace, BindError, DefaultKind, Policy, Unbound},
    types::{Attributes, Iova, Span},
};

/// Where everything is mapped here that is not to be found at its physical address.
const AT: Iova = Iova(0x1_0000_0000);

/// Runs all of it on the first two DMA engines.
pub fn run(stage: &Stage, checks: &mut Checks) -> Result<(), String> {
    let mut engines = Edu::all(stage.pci);
    let (Some(edu), Some(other)) = (engines.next(), engines.next()) else {
        return Err("there are no two DMA engines".into());
    };
    for edu in [&edu, &other] {
        stage.served(edu.function)?;
    }
    for kind in [DefaultKind::Identity, DefaultKind::Blocked, DefaultKind::Paging] {
        let result = policy(stage, &edu, &other, kind);
        checks.check(format_args!("by-policy-{kind:?}@{}", edu.function), result);
    }
    let added = stage.add_all()?;
    stage.pci.bus_master(edu.function, true);
    let mut side = Owned::take(&added.subsystem, &stage.drivers, added.device(edu.function)?, stage.bypass)?;
    let name = |what: &str| format!("{what}@{}", edu.function);
    checks.check(name("rogue-unmapped-while-it-runs"), unmapped(&edu, &mut side));
    let faults = side.faults();
    if Reports::of(&stage.drivers).tables {
        let reported = if faults.is_empty() { Err(Why::NotReported(faults)) } else { Ok(()) };
        checks.check(name("rogue-unmapped-while-it-runs-reported"), reported);
    }
    checks.check(name("rogue-blocked-while-it-runs"), blocked(&edu, &mut side));
    drop(side);
    if !stage.bypass {
        let owned = Replaced::new(&added, &edu)?;
        // A domain of a virtio-iommu that nobody is on is gone (virtio 1.3, 5.13.6.4), so what belongs there is mapped once
        // the endpoint is on it: a transfer in between fails.
        let gap = stage.drivers.iter().any(|driver| driver.kind() == "virtio-iommu");
        checks.check(name("written-while-replaced"), owned.written(&edu, gap));
        if !gap {
            checks.check(name("read-while-replaced"), owned.read(&edu));
        }
        owned.close()?;
    }
    Ok(())
}

/// What one group gets by policy, and what its device then reaches; a device of another group is translated all the same.
fn policy(stage: &Stage, edu: &Edu, other: &Edu, kind: DefaultKind) -> Result<(), Why> {
    let name = edu.function.to_string();
    let by_group = move |group: &ioward::core::GroupView| group.names.contains(&name).then_some(kind);
    let added = stage.add_all_under(Policy { by_group: Some(Box::new(by_group)), ..Policy::default() })?;
    let (device, others) = (added.device(edu.function)?, added.device(other.function)?);
    // A domain that lets nothing through is more than a device that is turned off.
    stage.pci.bus_master(edu.function, true);
    stage.pci.bus_master(other.function, true);
    let secret = Page::new(1);
    let reached = |edu: &Edu| {
        secret.fill(1);
        edu.store(&Kernel, secret.iova(), PAGE)?;
        Ok::<bool, Why>(!secret.holds(1))
    };
    let bound = others.bind().map_err(|why| why.to_string())?;
    if !bound.dma().is_translated() || reached(other)? {
        return Err(Why::Reached);
    }
    copy(&bound, other)?;
    let bound = device.bind();
    match (kind, bound) {
        (DefaultKind::Blocked, Err(BindError::Blocked)) => {}
        (DefaultKind::Identity | DefaultKind::Paging, Ok(bound)) => {
            if bound.dma().is_translated() != (kind == DefaultKind::Paging) {
                return Err(Why::Mapping("it is on another domain".into()));
            }
            copy(&bound, edu)?;
        }
        (_, bound) => return Err(Why::Mapping(format!("{bound:?}"))),
    }
    match (kind, reached(edu)?) {
        (DefaultKind::Identity, true) | (DefaultKind::Blocked | DefaultKind::Paging, false) => Ok(()),
        (DefaultKind::Identity, false) => Err(Why::NotArrived),
        _ => Err(Why::Reached),
    }
}

/// A transfer is on its way when its page is unmapped.
fn unmapped(edu: &Edu, side: &mut Owned<'_>) -> Result<(), Why> {
    let _ = side.faults();
    let victim = Page::new(2);
    side.map(victim.iova(), victim.phys(), Attributes::READ_WRITE)?;
    edu.begin_store(victim.iova(), PAGE);
    side.unmap(victim.iova())?;
    late(edu, &victim, 2)
}

/// A transfer is on its way when its device is blocked.
fn blocked(edu: &Edu, side: &mut Owned<'_>) -> Result<(), Why> {
    let victim = Page::new(3);
    side.map(victim.iova(), victim.phys(), Attributes::READ_WRITE)?;
    edu.begin_store(victim.iova(), PAGE);
    side.block(true)?;
    let result = late(edu, &victim, 3);
    side.block(false)?;
    side.unmap(victim.iova())?;
    result
}

/// The transfer was on its way indeed, and its end changed nothing.
fn late(edu: &Edu, victim: &Page, seed: u8) -> Result<(), Why> {
    if !edu.runs() {
        return Err(Why::Mapping("the transfer was over too early to show anything".into()));
    }
    edu.finish(&Kernel)?;
    if victim.holds(seed) { Ok(()) } else { Err(Why::Reached) }
}

/// A group with two address spaces that have different pages at the same IOVA.
struct Replaced {
    group: ioward::core::OwnedGroup<Kernel>,
    spaces: [Arc<AddressSpace<Kernel>>; 2],
    pages: [Page; 2],
}

impl Replaced {
    fn new(added: &Added, edu: &Edu) -> Result<Self, String> {
        let group = added.device(edu.function)?.info().group.ok_or("a device has no group")?;
        let group = added.subsystem.take(group, "the checks").map_err(|why| why.to_string())?;
        let space = || Unbound::default().bind(&group).map_err(|(why, _)| why.to_string());
        let (spaces, pages) = ([space()?, space()?], [Page::new(4), Page::new(5)]);
        for (space, page) in spaces.iter().zip(&pages) {
            let to = Span { start: page.phys(), bytes: PAGE };
            // SAFETY: nothing refers to the page, and it is unmapped before it is dropped.
            unsafe { space.map(AT, to, Attributes::READ_WRITE) }.map_err(|why| why.to_string())?;
        }
        let replaced = Self { group, spaces, pages };
        replaced.put(0)?;
        Ok(replaced)
    }

    /// One of the spaces in place of the other.
    fn put(&self, which: usize) -> Result<(), String> {
        self.group.attach(&self.spaces[which]).map_err(|why| why.to_string())
    }

    /// Puts each in place of the other for as long as the transfer runs, and at least once.
    fn again_and_again(&self, edu: &Edu) -> Result<(), Why> {
        let mut times = 0;
        while edu.runs() {
            times += 1;
            self.put(times % 2)?;
        }
        if times < 2 { Err(Why::Mapping(format!("replaced {times} times only"))) } else { Ok(()) }
    }

    /// What is written arrives whole, in one of the two pages and not in the other; with a `gap`, perhaps in none.
    fn written(&self, edu: &Edu, gap: bool) -> Result<(), Why> {
        // The engine's own buffer is filled through the first.
        self.pages[0].fill(6);
        self.put(0)?;
        edu.fetch(&Kernel, AT, PAGE)?;
        self.pages[0].fill(4);
        edu.begin_store(AT, PAGE);
        self.again_and_again(edu)?;
        let [one, two] = &self.pages;
        match (one.holds(6) && two.holds(5)) || (one.holds(4) && two.holds(6)) {
            true => Ok(()),
            false if gap && one.holds(4) && two.holds(5) => Ok(()),
            false => Err(Why::NotArrived),
        }
    }

    /// What is read is whole one of the two pages.
    fn read(&self, edu: &Edu) -> Result<(), Why> {
        let [one, two] = &self.pages;
        one.fill(4);
        two.fill(5);
        edu.begin_fetch(AT, PAGE);
        self.again_and_again(edu)?;
        self.put(0)?;
        one.fill(7);
        edu.store(&Kernel, AT, PAGE)?;
        if one.holds(4) || one.holds(5) { Ok(()) } else { Err(Why::NotArrived) }
    }

    fn close(self) -> Result<(), String> {
        for space in &self.spaces {
            // SAFETY: mapped by hand in `new`, by nobody else.
            let gather = unsafe { space.unmap(Span { start: AT, bytes: PAGE }, ()) };
            gather.map_err(|(why, ())| why.to_string())?.finish().map_err(|hung| hung.to_string())?;
        }
        Ok(())
    }
}
