//! In which state an IOMMU is found.

use core::fmt;
use ioward_types::PhysAddr;

/// In which state firmware or an earlier kernel left an IOMMU, and what becomes of the DMA that it lets through. From the
/// first register write on, nothing passes that did not pass before. What a driver does beyond this stands at its
/// `bring_up`.
#[derive(Clone, Copy)]
pub enum BringUp<'m> {
    /// The IOMMU is off, and no device does DMA. Every source starts blocked. An IOMMU that is found translating is refused,
    /// with the register that says so, and nothing is changed: whoever expected it off does not know what runs there, and
    /// says by one of the others what becomes of it.
    Cold,
    /// The IOMMU translates for devices that do DMA, and they go on until each of their sources is claimed. What it
    /// translates with stays where it is: the caller keeps that memory until every source that matters has been claimed.
    /// The names that caches know it by (domain IDs, VMIDs, ASIDs, GSCIDs, PSCIDs) are never given out. Where it turns out
    /// not to translate there is nothing to adopt, and this is one of the others.
    Adopt(
        /// Reads 64 bits of physical memory at a multiple of 8; `None` where there is no memory. Addresses come from
        /// hardware and from what it was told, and are not to be trusted.
        &'m dyn Fn(PhysAddr) -> Option<u64>,
    ),
    /// Whatever devices do is stopped: every source is blocked at once.
    Abort,
}

impl fmt::Debug for BringUp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cold => "Cold",
            Self::Adopt(_) => "Adopt",
            Self::Abort => "Abort",
        })
    }
}
