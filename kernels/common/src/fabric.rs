//! Devices behind ports, switches, bridges and other root buses: that they are grouped as the machine's builder says, that
//! each reaches its own group's memory, and that none reaches another's.
//!
//! The machine's description says which devices share a group: `together=1+2,5+6` by the place of a DMA engine in the order
//! of functions, from 0 on. All that are not named are alone.

use crate::{
    checks::Checks,
    edu::Edu,
    platform::Kernel,
    script::{PAGE, Page, Reports, Side as _, Why},
    stage::{Added, Stage},
    system::{Owned, faults, settle},
};
use alloc::{format, string::String, vec::Vec};
use ioward::{
    core::{DeviceId, GroupId},
    types::{Attributes, Iova},
};

/// The same in each group's address space, far from where the memory is.
const FROM: Iova = Iova(0x1_0000_0000);
const TO: Iova = Iova(0x1_0000_1000);

/// A DMA engine, its device, and that one's group.
struct Engine {
    edu: Edu,
    device: DeviceId,
    group: GroupId,
}

/// Runs all of it.
pub fn run(stage: &Stage, checks: &mut Checks) -> Result<(), String> {
    let added = stage.add_all()?;
    let mut engines = Vec::new();
    for edu in Edu::all(stage.pci) {
        let info = added.device(edu.function)?.info();
        let group = info.group.ok_or_else(|| format!("{} has no group", edu.function))?;
        crate::say!("engine {} {} {group:?}", engines.len(), edu.function);
        stage.pci.bus_master(edu.function, true);
        engines.push(Engine { edu, device: info.id, group });
    }
    let expected = Expected::read(stage.line, engines.len())?;
    let pairs = (0..engines.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
    for (a, b) in pairs {
        let (one, other) = (&engines[a], &engines[b]);
        let same = one.group == other.group;
        let result = match (same, expected.together(a, b)) {
            (true, false) => Err("they share a group, though IOMMUs can tell them apart"),
            (false, true) => Err("they have groups of their own, though nothing can tell them apart"),
            _ => Ok(()),
        };
        checks.check(format_args!("groups@{}/{}", one.edu.function, other.edu.function), result);
    }
    let mut groups = take(stage, &added, &engines)?;
    for engine in &engines {
        let group =
            groups.iter_mut().find(|group| group.id == engine.group).ok_or("a group was not taken")?;
        checks.check(format_args!("copy@{}", engine.edu.function), group.copy(&engine.edu));
    }
    for engine in &engines {
        for (number, victim) in groups.iter().enumerate().filter(|(_, group)| group.id != engine.group) {
            rogue(stage, checks, &added, engine, victim, number);
        }
    }
    Ok(())
}

/// What a machine's description says of its groups.
struct Expected(Vec<usize>);

impl Expected {
    /// A group number for each of so many engines.
    fn read(line: &str, engines: usize) -> Result<Self, String> {
        let mut groups: Vec<usize> = (0..engines).collect();
        let word = line.split(' ').find_map(|word| word.strip_prefix("together=")).unwrap_or_default();
        for group in word.split(',').filter(|group| !group.is_empty()) {
            let members = group.split('+').map(|member| member.parse().ok().filter(|n| *n < engines));
            let members: Vec<usize> =
                members.collect::<Option<_>>().ok_or_else(|| format!("`{group}` names no engines"))?;
            for &member in &members {
                groups[member] = members[0];
            }
        }
        Ok(Self(groups))
    }

    fn together(&self, a: usize, b: usize) -> bool {
        self.0[a] == self.0[b]
    }
}

/// A group that was taken, with a page of its own.
struct Group<'a> {
    id: GroupId,
    side: Owned<'a>,
    page: Page,
}

fn take<'a>(stage: &'a Stage, added: &'a Added, engines: &[Engine]) -> Result<Vec<Group<'a>>, String> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for engine in engines {
        if groups.iter().any(|group| group.id == engine.group) {
            continue;
        }
        let device = added.device(engine.edu.function)?;
        let mut side = Owned::take(&added.subsystem, &stage.drivers, device, stage.bypass)?;
        let page = Page::new(groups.len() as u8 + 1);
        side.map(page.iova(), page.phys(), Attributes::READ_WRITE)?;
        groups.push(Group { id: engine.group, side, page });
    }
    Ok(groups)
}

impl Group<'_> {
    /// Memory to device to memory, through mappings that another group has elsewhere.
    fn copy(&mut self, edu: &Edu) -> Result<(), Why> {
        let (from, to) = (Page::new(0x31), Page::new(0x32));
        self.side.map(FROM, from.phys(), Attributes::READ)?;
        self.side.map(TO, to.phys(), Attributes::READ_WRITE)?;
        edu.fetch(&Kernel, FROM, PAGE)?;
        edu.store(&Kernel, TO, PAGE)?;
        self.side.unmap(FROM)?;
        self.side.unmap(TO)?;
        if to.holds(0x31) { Ok(()) } else { Err(Why::NotArrived) }
    }
}

/// An engine writes to the page of another group, at the address where that group has it. The report names the engine's own
/// device, or all that speak in its name.
fn rogue(
    stage: &Stage,
    checks: &mut Checks,
    added: &Added,
    engine: &Engine,
    victim: &Group<'_>,
    number: usize,
) {
    settle();
    let reported = || faults(&added.subsystem, &stage.drivers, engine.device);
    let _ = reported();
    let (at, seed) = (victim.page.iova(), number as u8 + 1);
    let stored = engine.edu.store(&Kernel, at, 4).map_err(Why::Device);
    let kept = if victim.page.holds(seed) { Ok(()) } else { Err(Why::Reached) };
    victim.page.fill(seed);
    let name = format!("{}>group{number}", engine.edu.function);
    checks.check(format_args!("rogue-another-group@{name}"), stored.and(kept));
    if Reports::of(&stage.drivers).tables {
        let faults = reported();
        let right = faults.iter().any(|fault| fault.at.is_some_and(|found| found.0 & !(PAGE - 1) == at.0));
        let result = if right { Ok(()) } else { Err(Why::NotReported(faults)) };
        checks.check(format_args!("rogue-another-group-reported@{name}"), result);
    }
}
