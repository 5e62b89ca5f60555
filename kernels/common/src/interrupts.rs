//! The checks of remapped interrupts: a device raises its own, wherever they are aimed, and nobody else's.
//!
//! No CPU takes an interrupt here: what has arrived is pending in the local APIC for good, so that each attempt has a vector
//! of its own. With translation bypassed interrupts pass unremapped, and every attempt arrives.

use crate::{
    board::{Apic, board},
    checks::Checks,
    edu::Edu,
    msi::{Interrupt, Msi},
    say,
    script::Why,
    stage::{Added, Stage},
    system::{faults, settle},
    time,
};
use alloc::{format, string::String};
use ioward::{
    core::{
        InterruptIsolation,
        driver::{Driver, InterruptMessage, RemapInterrupts},
    },
    types::{Nanos, SourceId},
};

/// The first vector that is not an exception's or a legacy interrupt's.
const FIRST: u8 = 0x40;
/// How long a message may take from the device to the local APIC.
const MOMENT: Nanos = Nanos(1_000_000);

/// Runs all of it on the first two DMA engines.
pub fn run(stage: &Stage, checks: &mut Checks) -> Result<(), String> {
    let apic = board().and_then(|board| board.apic.as_ref()).ok_or("this kernel knows no local APIC")?;
    let mut engines = Edu::all(stage.pci);
    let (Some(edu), Some(other)) = (engines.next(), engines.next()) else {
        return Err("there are no two DMA engines".into());
    };
    let added = stage.add_all()?;
    for edu in [&edu, &other] {
        // A message is a write of the device's.
        stage.pci.bus_master(edu.function, true);
    }
    let cpu = (apic.on)();
    let mut room = Room { stage, checks, added: &added, apic, cpu, next: FIRST };
    if !stage.bypass {
        let (driver, source) = room.served(&edu)?;
        let remap = driver.interrupts().ok_or("the IOMMU remaps no interrupts")?;
        room.isolated(&edu)?;
        room.own(&edu, remap, source)?;
    }
    room.rogue(&edu, &other)
}

/// What an attempt needs.
struct Room<'a> {
    stage: &'a Stage,
    checks: &'a mut Checks,
    added: &'a Added,
    apic: &'a Apic,
    cpu: u32,
    next: u8,
}

/// What a device must not do, by name: the same with and without remapping.
const ROGUE: [&str; 4] = ["entry-of-another", "entry-of-nobody", "masked", NO_ENTRY];
/// A message that is none of the IOMMU's.
const NO_ENTRY: &str = "no-entry";

impl<'a> Room<'a> {
    fn served(&self, edu: &Edu) -> Result<(&'a dyn Driver, SourceId), String> {
        let (iommu, source) = self.stage.served(edu.function)?;
        let driver = self.stage.drivers.iter().find(|driver| driver.id() == iommu);
        Ok((&**driver.ok_or("its IOMMU has no driver")?, source))
    }

    /// A vector that nobody has raised yet.
    fn vector(&mut self) -> Result<u8, String> {
        let vector = self.next;
        self.next = vector.checked_add(1).ok_or("all vectors have been used")?;
        if (self.apic.pending)(vector) { Err(format!("vector {vector:#x} is pending")) } else { Ok(vector) }
    }

    /// Whether the device raises `vector` by sending `message`.
    fn raises(&self, edu: &Edu, message: &InterruptMessage, vector: u8) -> Result<bool, String> {
        Msi::of(self.stage.pci, edu.function)?.send(message);
        edu.raise();
        let arrived = time::within(MOMENT, "an interrupt", || (self.apic.pending)(vector)).is_ok();
        edu.acknowledge();
        Ok(arrived)
    }

    /// What a device sends that is told which vector and CPU by nobody: in the format without remapping (Intel SDM volume 3,
    /// 11.11).
    fn plain(&self, vector: u8) -> InterruptMessage {
        let address = 0xfee0_0000 | u64::from(self.cpu) << 12;
        InterruptMessage { address, data: vector.into(), redirection: 0 }
    }

    fn isolated(&mut self, edu: &Edu) -> Result<(), String> {
        let group = self.added.device(edu.function)?.info().group.ok_or("a device has no group")?;
        let isolation = self.added.subsystem.interrupts(group);
        let result = if isolation == Some(InterruptIsolation::Isolated) { Ok(()) } else { Err(isolation) };
        self.checks.check(format_args!("isolated@{}", edu.function), result);
        Ok(())
    }

    /// Its own entry, aimed at one vector and then at another, which the device need not know.
    fn own(&mut self, edu: &Edu, remap: &dyn RemapInterrupts, source: SourceId) -> Result<(), String> {
        let interrupt = Interrupt::reserve(remap, source)?;
        let (one, two) = (self.vector()?, self.vector()?);
        let message = interrupt.aim(one, self.cpu)?;
        let arrived = self.raises(edu, &message, one)?;
        self.checks.check(format_args!("raised@{}", edu.function), arrives(arrived));
        let again = interrupt.aim(two, self.cpu)?;
        let same = (message.address, message.data) == (again.address, again.data);
        let arrived = same && self.raises(edu, &message, two)?;
        self.checks.check(format_args!("raised-elsewhere@{}", edu.function), arrives(arrived));
        interrupt.release()
    }

    /// The message of an entry that has been given back.
    fn given_back(
        &self,
        driver: &dyn Driver,
        source: SourceId,
        vector: u8,
    ) -> Result<InterruptMessage, String> {
        let remap = driver.interrupts().ok_or("the IOMMU remaps no interrupts")?;
        let interrupt = Interrupt::reserve(remap, source)?;
        let message = interrupt.aim(vector, self.cpu)?;
        interrupt.release()?;
        Ok(message)
    }

    /// What must not arrive. Bypassed, the device sends the same vectors where nobody looks messages up.
    fn rogue(&mut self, edu: &Edu, other: &Edu) -> Result<(), String> {
        let (driver, source) = self.served(edu)?;
        let interrupt = match driver.interrupts() {
            Some(remap) => Some(Interrupt::reserve(remap, source)?),
            None => None,
        };
        for name in ROGUE {
            if name == NO_ENTRY && driver.kind() == "VT-d" {
                // Blocked where GSTS.CFIS is clear, as it is (VT-d 4.1, 5.1.4). QEMU's intel-iommu lets it pass all the same.
                say!("not tried on {}: {name}, which QEMU does not block", driver.kind());
                continue;
            }
            let vector = self.vector()?;
            let who = if name == "entry-of-another" { other } else { edu };
            let message = match &interrupt {
                None => self.plain(vector),
                Some(interrupt) => {
                    let aimed = interrupt.aim(vector, self.cpu)?;
                    match name {
                        NO_ENTRY => self.plain(vector),
                        "masked" => interrupt.mask().map(|()| aimed)?,
                        "entry-of-nobody" => self.given_back(driver, source, vector)?,
                        _ => aimed,
                    }
                }
            };
            settle();
            let device = self.added.device(who.function)?.info().id;
            let poll = || faults(&self.added.subsystem, &self.stage.drivers, device);
            let _ = poll();
            let arrived = self.raises(who, &message, vector)?;
            let faults = poll();
            let kept = if arrived { Err(Why::Reached) } else { Ok(()) };
            self.checks.check(format_args!("rogue-{name}@{}", who.function), kept);
            // QEMU's amd-iommu never writes its event log.
            if driver.kind() != "AMD-Vi" {
                let reported = if faults.is_empty() { Err(Why::NotReported(faults)) } else { Ok(()) };
                self.checks.check(format_args!("rogue-{name}-reported@{}", who.function), reported);
            }
        }
        interrupt.map_or(Ok(()), Interrupt::release)
    }
}

fn arrives(arrived: bool) -> Result<(), Why> {
    if arrived { Ok(()) } else { Err(Why::NotArrived) }
}
