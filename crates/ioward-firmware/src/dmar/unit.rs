//! Which DRHD structures are one unit, and which cannot be one.

use super::structure::{Body, Dmar, Drhd, Rhsa};
use ioward_types::{PhysAddr, Span, describe::Cause};

/// A register block is made of pages of this size (VT-d rev 4.1, section 8.3).
const PAGE: u64 = 0x1000;

/// Nothing on x86 lies above (Intel SDM volume 3, section 5.1.4).
const PHYSICAL_BITS: u32 = 52;

/// Bit 0 of the flags.
const INCLUDE_PCI_ALL: u8 = 1;

/// A DRHD structure with the place where it starts.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    pub at: u32,
    pub drhd: Drhd<'a>,
}

/// Every DRHD structure of a table that is not too short for what it must hold.
pub fn units<'a>(table: &Dmar<'a>) -> impl Iterator<Item = Unit<'a>> + use<'a> {
    table.structures().filter_map(|structure| match structure.body() {
        Body::Drhd(drhd) if structure.raw.len() >= Drhd::LEAST => Some(Unit { at: structure.at(), drhd }),
        _ => None,
    })
}

impl<'a> Unit<'a> {
    /// It serves whatever no other unit of its segment names.
    pub fn includes_all(&self) -> bool {
        self.drhd.flags() & INCLUDE_PCI_ALL != 0
    }

    /// Its registers; none where they cannot be at the address that it says.
    pub fn registers(&self) -> Option<Span<PhysAddr>> {
        let base = self.drhd.base();
        let bytes = PAGE << (self.drhd.size() & 0xf);
        let is_plausible = base != 0 && base.is_multiple_of(PAGE) && base >> PHYSICAL_BITS == 0;
        Span::new(PhysAddr(base), bytes).filter(|_| is_plausible)
    }

    /// The first structure for the same unit, this one if there is none before it: the same registers and segment.
    pub fn first(&self, table: &Dmar<'a>) -> Self {
        let same = |other: &Self| {
            let (own, theirs) = (&self.drhd, &other.drhd);
            self.registers().is_some() && (own.base(), own.segment()) == (theirs.base(), theirs.segment())
        };
        self.before(table).find(same).unwrap_or(*self)
    }

    /// A structure before it whose registers overlap without being the same unit, and what the two disagree about.
    pub fn rival(&self, table: &Dmar<'a>) -> Option<Cause> {
        let registers = self.registers()?;
        let overlaps = |other: &Self| other.registers().is_some_and(|span| span.overlaps(&registers));
        let rival = self.before(table).find(overlaps)?;
        let same_place = rival.drhd.base() == self.drhd.base();
        let what = if same_place { "the segment" } else { "the register block" };
        Some(Cause::Contradiction { what, with: rival.at })
    }

    /// The unit that includes all of the segment, if it is another one that comes first.
    pub fn includer_before(&self, table: &Dmar<'a>) -> Option<Self> {
        let includes = |other: &Self| {
            other.includes_all()
                && other.drhd.segment() == self.drhd.segment()
                && other.drhd.base() != self.drhd.base()
        };
        self.before(table).find(includes)
    }

    /// Its proximity domain, if an RHSA structure tells.
    pub fn proximity(&self, table: &Dmar<'a>) -> Option<u32> {
        table.structures().find_map(|structure| match structure.body() {
            Body::Rhsa(rhsa) if structure.raw.len() >= Rhsa::LEAST && rhsa.base() == self.drhd.base() => {
                Some(rhsa.proximity_domain())
            }
            _ => None,
        })
    }

    fn before(&self, table: &Dmar<'a>) -> impl Iterator<Item = Self> + use<'a> {
        let end = self.at;
        units(table).take_while(move |other| other.at < end)
    }
}
