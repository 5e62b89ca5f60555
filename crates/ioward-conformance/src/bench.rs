//! What a driver's author implements: one machine with one IOMMU, and how the driver is brought up on it.

use crate::middleware::{Registers, Watched};
use ioward_core::driver::{Driver, FaultCause};
use ioward_models::IommuModel;
use ioward_types::{Format, IommuId, Mmio, PhysAddr, Platform};
use std::{fmt, sync::Arc};

/// A machine with one IOMMU in one mode, as hardware comes out of reset: with garbage in every cache and register that reset
/// leaves unknown. Each check makes a fresh one.
///
/// The judge is any hardware that implements [`IommuModel`], the neutral half of `ioward-models`: requests of devices go in,
/// outcomes come out. It should cache as much as its specification lets it, and report as a violation what that leaves
/// undefined; a judge that caches nothing finds no invalidation that is missing.
pub trait Bench: Send + Sync + Sized + 'static {
    /// Any platform. The driver is given [`Watched`] over it.
    type Platform: Platform;

    /// The platform that the machine's memory belongs to.
    fn platform(&self) -> &Self::Platform;
    /// The hardware, as devices see it.
    fn model(&self) -> Arc<dyn IommuModel>;
    /// The hardware, as the driver sees it.
    fn registers(&self) -> Arc<dyn Mmio> {
        self.model()
    }
    /// What the mode has, told by the author: what a driver says of itself is held against it.
    fn facts(&self) -> Facts;
    /// Brings the driver up. Waits are bounded by some thousands of [`Platform::relax`], not millions.
    fn bring_up(
        &self,
        registers: Registers,
        platform: &Watched<Self::Platform>,
        how: TakeOver<'_>,
    ) -> Result<Arc<dyn Driver>, NotUp>;

    /// The hardware consumes no commands and acknowledges nothing from now on, or does so again, where it stopped.
    fn hang(&self, on: bool);
    /// The hardware's caches forget everything, as they may at any time.
    fn evict(&self);
    /// The driver owes no invalidation: the judge looks for what its caches hold and memory contradicts.
    fn audit(&self) {}
    /// What the judge has seen that the specification forbids, and its memory: each with the text that forbids it. Emptied.
    fn violations(&self) -> Vec<String>;
    /// Reads 8 bytes of physical memory at a multiple of 8; `None` where there is no memory.
    fn peek(&self, at: PhysAddr) -> Option<u64>;
}

/// In which state the IOMMU is found, and what becomes of the DMA that it lets through.
#[derive(Clone, Copy)]
pub enum TakeOver<'a> {
    /// It does not translate.
    Cold,
    /// Firmware or a crashed kernel left it translating: what it lets through is stopped.
    Abort,
    /// Firmware or a crashed kernel left it translating: what it lets through goes on until its source is claimed. Memory is
    /// read by this, as [`Bench::peek`].
    Adopt(&'a dyn Fn(PhysAddr) -> Option<u64>),
}

impl fmt::Debug for TakeOver<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cold => "Cold",
            Self::Abort => "Abort",
            Self::Adopt(_) => "Adopt",
        })
    }
}

/// Why a driver did not come up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotUp {
    /// In a word that every driver shares.
    pub why: Why,
    /// In the driver's own words.
    pub text: String,
}

impl NotUp {
    /// Because of this; `error` is the driver's own.
    pub fn new(why: Why, error: &impl fmt::Display) -> Self {
        Self { why, text: error.to_string() }
    }
}

impl fmt::Display for NotUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.why, self.text)
    }
}
impl std::error::Error for NotUp {}

/// Why a driver did not come up, in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Nothing answers: every register reads as ones.
    Absent,
    /// Registers contradict each other or lack what the driver needs.
    Unfit,
    /// It translates already, and [`TakeOver::Cold`] was asked for.
    Translating,
    /// There was no memory.
    NoMemory,
    /// It did not answer in time.
    Hung,
}

/// What [`TakeOver::Cold`] makes of an IOMMU that translates after all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ColdOverRunning {
    /// [`Why::Translating`], and nothing is touched.
    Refused,
    /// The same as [`TakeOver::Abort`].
    Aborts,
}

/// What a mode has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The number that the driver is brought up with.
    pub iommu: IommuId,
    /// Three sources that the IOMMU serves, all different: two whose entries are neighbours, and one far from them.
    pub sources: [u32; 3],
    /// A source that it has no entry for, if there can be one.
    pub outside: Option<u32>,
    /// The widest PASID, in bits; zero for none.
    pub pasid_bits: u8,
    /// Devices may cache translations.
    pub ats: bool,
    /// Walkers snoop CPU caches.
    pub coherent: bool,
    /// What checks that are not about PASIDs ask a plan for: for a group with PASIDs of so many bits. Zero but for modes that
    /// are to try, on requests without a PASID, the tables that serve groups with PASIDs.
    pub plan_for_pasids: u8,
    /// What serves such a group: tables of this format, or none where mappings are requests.
    pub plain: Option<Format>,
    /// What serves a group with PASIDs; none where there are no PASIDs.
    pub with_pasids: Option<Format>,
    /// Hardware sees a store once a barrier orders it. False where that takes a command (write buffers), and where there is
    /// nothing in memory that blocks a source: hardware that hangs then goes on with what it has.
    pub stores_are_seen: bool,
    /// A newly made mapping needs a flush.
    pub flush_after_map: bool,
    /// A source can be put on physical addresses as they are.
    pub identity: bool,
    /// Tables that somebody else owns can be installed.
    pub foreign: bool,
    /// Interrupts are remapped.
    pub interrupts: bool,
    /// What a cold bring-up makes of an IOMMU that translates.
    pub cold_over_running: ColdOverRunning,
    /// [`TakeOver::Adopt`] lets tables without PASIDs go on. Where false, it is as [`TakeOver::Abort`].
    pub adopts: bool,
    /// What fault records tell.
    pub faults: FaultFacts,
}

/// What the fault records of an IOMMU tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultFacts {
    /// A claimed source that is blocked leaves a record.
    pub blocked: bool,
    /// A source that nobody has claimed leaves a record.
    pub unclaimed: bool,
    /// What is told of a PASID that nothing was installed for, where another PASID of the source has something; none where
    /// there is no record.
    pub pasid: Option<FaultCause>,
    /// Records tell whether an access was a read or a write.
    pub access: bool,
    /// Records tell a missing mapping from a missing right.
    pub permission: bool,
    /// Records tell the PASID.
    pub tells_pasid: bool,
    /// Records that did not fit are told to be lost.
    pub lost: bool,
    /// Records of translations tell the address.
    pub address: bool,
}

impl Default for FaultFacts {
    /// Records tell everything, and there is one of every fault.
    fn default() -> Self {
        Self {
            blocked: true,
            unclaimed: true,
            pasid: Some(FaultCause::Blocked),
            access: true,
            permission: true,
            tells_pasid: true,
            lost: true,
            address: true,
        }
    }
}
