//! The checks of virtual functions: they appear, are added and grouped, are given to owners of their own and send each other
//! frames, each through its own mappings; they try what they may not; they go again.
//!
//! A frame passes two of them: the sender's ring, the sender's buffer, the card's switch, the receiver's ring, the
//! receiver's buffer. So each rogue attempt shows in what arrives or in what changes.

use crate::{
    checks::Checks,
    igb::{self, Card, Rings},
    script::{PAGE, Page, Reports, Side, Why},
    sriov::VirtualFunctions,
    stage::{Added, Stage},
    system::Owned,
    time,
};
use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use ioward::{
    core::{
        Status,
        driver::{Access, Blocked, Fault},
        fault,
    },
    pci::Bdf,
    types::{Attributes, Iova, SourceId},
};

/// Where each virtual function's owner maps things: the same IOVAs for all of them.
const RINGS: Iova = Iova(0x1_0000_0000);
const OUT: Iova = Iova(0x1_0001_0000);
const IN: Iova = Iova(0x1_0002_0000);
/// Bytes of a frame: few, since QEMU reports every few bytes of what it cannot read as a fault of their own, and the
/// subsystem delivers only some of them.
const FRAME: u16 = 128;

/// A virtual function in its owner's hands.
struct Station<'a> {
    function: Bdf,
    nth: usize,
    source: SourceId,
    side: Owned<'a>,
    rings: Rings,
    out: Page,
    within: Page,
    bypass: bool,
}

/// Runs all of it on the first card.
pub fn run(stage: &Stage, checks: &mut Checks) -> Result<(), String> {
    let physical = stage.pci.with_id(igb::ID).next().ok_or("there is no card with virtual functions")?;
    stage.served(physical)?;
    let mut added = stage.add_all()?;
    let card = Card::new(stage.pci, physical)?;
    let before = (added.subsystem.devices().len(), stage.pci.scan().functions().len());

    let all = VirtualFunctions::on(stage.pci, physical, 2)?;
    let late = stage.again();
    checks.check(format_args!("virtual-functions-appear@{physical}"), appear(&late, &all.functions));
    for function in &all.functions {
        late.add_late(&mut added, *function)?;
    }
    checks.check(format_args!("virtual-functions-are-grouped@{physical}"), grouped(&added, physical, &all));
    card.switch(all.functions.len());
    stations(&late, checks, &added, &all)?;

    for function in &all.functions {
        let confirmed = match added.take(*function)?.remove(false) {
            Blocked::Confirmed => Ok(()),
            Blocked::Unconfirmed(hung) => Err(hung.to_string()),
        };
        checks.check(format_args!("removed@{function}"), confirmed);
    }
    let off = all.off();
    let after = (added.subsystem.devices().len(), stage.pci.scan().functions().len());
    let same = if after == before { Ok(()) } else { Err(format!("{before:?} before, {after:?} after")) };
    checks.check(format_args!("virtual-functions-go@{physical}"), off.and(same));
    let served = added.device(physical)?.status();
    let served = if served == Status::Served { Ok(()) } else { Err(served) };
    checks.check(format_args!("physical-function-stays@{physical}"), served);
    Ok(())
}

/// Each is on the bus, and its IOMMU sees it as itself and as nothing else.
fn appear(stage: &Stage, functions: &[Bdf]) -> Result<(), String> {
    functions.iter().try_for_each(|function| {
        let (_, source) = stage.served(*function)?;
        // Every IOMMU here numbers sources as PCI does.
        let own = source == SourceId(function.requester().into());
        if own { Ok(()) } else { Err(format!("{function} is seen as {source}")) }
    })
}

/// Nobody shares a group with anybody: not with the physical function, not with each other.
fn grouped(added: &Added, physical: Bdf, all: &VirtualFunctions<'_>) -> Result<(), String> {
    let mut groups = Vec::new();
    for function in all.functions.iter().chain([&physical]) {
        let device = added.device(*function)?;
        let group = device.info().group.ok_or_else(|| format!("{function} has no group"))?;
        let members = added.subsystem.group(group).map(|group| group.members.len());
        if members != Some(1) || groups.contains(&group) {
            return Err(format!("{function} is in group {group} of {members:?} devices"));
        }
        groups.push(group);
    }
    Ok(())
}

/// Gives each to an owner, lets them play, and takes them back.
fn stations(
    stage: &Stage,
    checks: &mut Checks,
    added: &Added,
    all: &VirtualFunctions<'_>,
) -> Result<(), String> {
    let mut stations = Vec::new();
    for (nth, function) in all.functions.iter().enumerate() {
        let (_, source) = stage.served(*function)?;
        let side = Owned::take(&added.subsystem, &stage.drivers, added.device(*function)?, stage.bypass)?;
        let registers = stage.pci.virtual_registers(all.physical(), 0, nth);
        let rings = Rings::new(registers.ok_or_else(|| format!("{function} has no registers"))?);
        stage.pci.bus_master(*function, true);
        let (out, within, function, bypass) = (Page::new(0), Page::new(0), *function, stage.bypass);
        stations.push(Station { function, nth, source, side, rings, out, within, bypass });
    }
    let [first, second] = &mut stations[..] else { return Err("two virtual functions play".into()) };
    first.open()?;
    second.open()?;
    let reports = Reports::of(&stage.drivers);
    Pair { checks, reports, from: first, to: second }.run();
    checks.check(format_args!("frame-back@{}", second.function), second.sends(first));
    for mut station in stations {
        stage.pci.bus_master(station.function, false);
        station.close()?;
    }
    Ok(())
}

impl Station<'_> {
    /// As what the device sees a page that its owner has mapped at `at`.
    fn seen(&self, page: &Page, at: Iova) -> Iova {
        if self.bypass { page.iova() } else { at }
    }

    fn open(&mut self) -> Result<(), String> {
        self.side.map(RINGS, self.rings.page().phys(), Attributes::READ_WRITE)?;
        self.side.map(OUT, self.out.phys(), Attributes::READ)?;
        self.side.map(IN, self.within.phys(), Attributes::READ_WRITE)?;
        self.rings.aim(self.seen(self.rings.page(), RINGS));
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        [RINGS, OUT, IN].into_iter().try_for_each(|at| self.side.unmap(at))
    }

    /// Sends a frame that must arrive.
    fn sends(&self, to: &Station<'_>) -> Result<(), Why> {
        frame(&self.out, self.nth, to.nth, 1);
        to.within.fill(0);
        let buffer = to.rings.offer(to.seen(&to.within, IN));
        self.rings.send(self.seen(&self.out, OUT), FRAME)?;
        buffer.arrives()?;
        if same(&self.out, &to.within) { Ok(()) } else { Err(Why::NotArrived) }
    }
}

/// Makes the beginning of a page a frame from one virtual function to another.
fn frame(page: &Page, from: usize, to: usize, seed: u8) {
    page.fill(seed);
    let (from, to) = (igb::address(from), igb::address(to));
    // The type is one of those for experiments (IEEE 802, 9.2.4).
    let [a, b, c, d, e, f] = to;
    page.write64(0, u64::from_le_bytes([a, b, c, d, e, f, from[0], from[1]]));
    page.write64(8, u64::from_le_bytes([from[2], from[3], from[4], from[5], 0x88, 0xb5, seed, seed]));
}

/// Whether a frame is in both pages.
fn same(sent: &Page, arrived: &Page) -> bool {
    (0..usize::from(FRAME)).step_by(8).all(|at| sent.read64(at) == arrived.read64(at))
}

/// A sender and a receiver.
struct Pair<'a, 'b> {
    checks: &'a mut Checks,
    reports: Reports,
    from: &'a mut Station<'b>,
    to: &'a mut Station<'b>,
}

impl Pair<'_, '_> {
    fn run(&mut self) {
        let sent = self.from.sends(self.to);
        self.check("frame", sent);
        self.victim();
        self.secret();
        // What the subsystem delivers of one source's faults is full with those of the secret.
        time::pause(fault::WINDOW);
        self.rings();
        let again = self.from.sends(self.to);
        self.check("frame-again", again);
    }

    fn check(&mut self, name: &str, result: Result<(), Why>) {
        self.checks.check(format_args!("{name}@{}", self.from.function), result);
    }

    /// Looks for the report of an attempt: by this source, at this address, of this kind.
    fn reported(&mut self, name: &str, source: SourceId, found: &[Fault], at: Iova, how: Access) {
        if !self.reports.tables {
            return;
        }
        let right = |fault: &Fault| {
            fault.source == source
                && fault.at.is_some_and(|found| (at.0..at.0 + PAGE).contains(&found.0))
                && fault.access.is_none_or(|access| access == how)
        };
        let result = if found.iter().any(right) { Ok(()) } else { Err(Why::NotReported(found.to_vec())) };
        self.check(&format!("rogue-{name}-reported"), result);
    }

    /// The sender's rings are where nothing is mapped for it: the card must find nothing to send, and go on.
    fn rings(&mut self) {
        let _ = self.from.side.faults();
        frame(&self.from.out, self.from.nth, self.to.nth, 2);
        self.to.within.fill(0);
        let buffer = self.to.rings.offer(self.to.seen(&self.to.within, IN));
        let at = self.from.rings.page().iova();
        self.from.rings.aim(at);
        self.from.rings.start(self.from.seen(&self.from.out, OUT), FRAME);
        let taken = igb::wait("a descriptor", || self.from.rings.idle());
        let reached = buffer.arrives().is_ok();
        self.check("rogue-rings", taken.map_err(Why::from).and(kept(!reached)));
        let found = self.from.side.faults();
        self.reported("rings", self.from.source, &found, at, Access::Read);
        // The card goes on, and drops the next frame: it takes what it could not read for the beginning of one.
        self.from.rings.aim(self.from.seen(self.from.rings.page(), RINGS));
        let dropped = self.from.rings.send(self.from.seen(&self.from.out, OUT), FRAME);
        self.check("goes-on-after-rings", dropped.map_err(Why::from));
        self.to.rings.aim(self.to.seen(self.to.rings.page(), RINGS));
    }

    /// The sender sends what is mapped for the receiver only.
    fn secret(&mut self) {
        let _ = self.from.side.faults();
        let secret = Page::new(0);
        frame(&secret, self.from.nth, self.to.nth, 3);
        self.to.within.fill(0);
        let mut steps = || {
            self.to.side.map(secret.iova(), secret.phys(), Attributes::READ_WRITE)?;
            let buffer = self.to.rings.offer(self.to.seen(&self.to.within, IN));
            self.from.rings.send(secret.iova(), FRAME)?;
            let _ = buffer.arrives();
            self.to.side.unmap(secret.iova())?;
            kept(!same(&secret, &self.to.within))
        };
        let result = steps();
        self.check("rogue-secret", result);
        let found = self.from.side.faults();
        self.reported("secret", self.from.source, &found, secret.iova(), Access::Read);
        self.to.rings.aim(self.to.seen(self.to.rings.page(), RINGS));
    }

    /// The receiver has a frame put where only the sender may write.
    fn victim(&mut self) {
        let _ = self.to.side.faults();
        let victim = Page::new(4);
        frame(&self.from.out, self.from.nth, self.to.nth, 5);
        let mut steps = || {
            self.from.side.map(victim.iova(), victim.phys(), Attributes::READ_WRITE)?;
            let buffer = self.to.rings.offer(victim.iova());
            self.from.rings.send(self.from.seen(&self.from.out, OUT), FRAME)?;
            // The receiver's own ring is in order, so that it is told of a frame.
            buffer.arrives()?;
            self.from.side.unmap(victim.iova())?;
            kept(victim.holds(4))
        };
        let result = steps();
        self.check("rogue-victim", result);
        let found = self.to.side.faults();
        self.reported("victim", self.to.source, &found, victim.iova(), Access::Write);
    }
}

fn kept(kept: bool) -> Result<(), Why> {
    if kept { Ok(()) } else { Err(Why::Reached) }
}
