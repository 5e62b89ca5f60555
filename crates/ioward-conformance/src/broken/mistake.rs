//! What can be wrong with a driver.

/// One mistake.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Mistake {
    /// No mistake: over this no check turns red.
    Sound,

    /// A source is on identity after the bring-up.
    StartsOpen,
    /// Abort is taken for Adopt.
    AbortAdopts,
    /// Adopt is taken for Abort.
    AdoptAborts,
    /// Adopt reads what it was not given.
    AdoptReadsAnyway,
    /// Cold is taken for Adopt.
    ColdAdopts,
    /// Every bring-up succeeds, whatever the hardware answers and whether or not there is memory.
    NeverFails,
    /// Every failure is said to be that of registers that make no sense.
    NamesNoCause,
    /// A source is on identity for an instant of a take-over.
    BypassesMeanwhile,

    /// Capabilities are more than there is.
    Boasts,
    /// It says that it can walk anything.
    WalksAnything,

    /// A claim leaves the source on identity.
    ClaimOpens,
    /// A source can be claimed by two.
    ClaimsTwice,
    /// Release does nothing, and confirms.
    ReleasesNothing,
    /// Release leaves the source on identity.
    ReleaseOpens,
    /// Slots are taken by their source, whoever's they are.
    TakesAnySlot,
    /// A device that is gone is told to forget.
    TellsWhoIsGone,

    /// Install does nothing, and succeeds.
    InstallsNothing,
    /// What is installed stays until it is blocked.
    InstallsOnce,
    /// A source goes through identity while its table is replaced.
    InstallsThroughIdentity,
    /// Identity is blocked.
    IdentityIsBlocked,
    /// There is no error for want of memory, but a panic.
    PanicsWithoutMemory,
    /// Block does nothing, and confirms.
    BlocksNothing,
    /// What is for a PASID goes to its source.
    IgnoresPasid,
    /// PASIDs stay as they were when their source is blocked.
    BlockKeepsPasids,
    /// A PASID goes through its source's table while it is replaced.
    PasidThroughAnother,
    /// PASIDs are blocked when something is installed for their source.
    InstallDropsPasids,

    /// Flush does nothing, and confirms.
    FlushesNothing,
    /// The last page of a span is not flushed.
    MissesLastPage,
    /// One page of a span is flushed.
    FlushesOnePage,
    /// Only the first of a batch is flushed.
    FlushesFirstOnly,
    /// A thousand of a batch are flushed.
    FlushesAThousand,
    /// One flush in fifty is lost.
    LosesSomeFlushes,
    /// Walk caches are not flushed.
    KeepsTables,
    /// It does not ask for a flush after a map.
    AsksForNoFlushAfterMap,
    /// Devices are not told to forget.
    ForgetsDevices,
    /// Devices are told before the IOMMU has forgotten.
    DevicesFirst,
    /// A flush that names a device whose source is blocked fails.
    FailsOverBlockedDevices,

    /// All carriers have one tag.
    OneTagForAll,
    /// A tag whose last flush failed is given out again.
    ReusesTagsUnconfirmed,

    /// Events are drained and not reported.
    ReportsNothing,
    /// Faults are another source's.
    ReportsAnotherSource,
    /// Losses are not reported.
    HidesLosses,
    /// A poll drains until nothing more comes.
    PollsWithoutEnd,

    /// What hardware did not confirm is confirmed.
    ConfirmsFalsely,

    /// Vectors are wrong by one.
    RaisesTheNext,
    /// Every source can raise what one has.
    ChecksNoSource,
    /// Entries do not lie where they say.
    MisplacesEntries,
    /// An interrupt goes to another vector while its entry is changed.
    RemapsThroughAnother,
    /// A release leaves entries as they are.
    ReleasesNoEntries,

    /// Maps what cannot be mapped, it says.
    MapsAnything,
    /// Unmaps nothing.
    UnmapsNothing,
}
