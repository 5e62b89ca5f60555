//! One IOMMU though listed thrice: which block speaks for it, and where the others contradict.

use super::{
    block::{Body, Form, Hardware, Ivrs},
    entries::{Said, said},
};
use ioward_types::describe::{AmdBlocks, AmdVi, Cause, PciFunction};

/// What makes blocks speak of one IOMMU: its own place on the bus.
pub fn key(hardware: &Hardware<'_>) -> PciFunction {
    PciFunction { segment: hardware.segment(), requester: hardware.device_id() }
}

/// The usable hardware definitions of a table.
pub fn hardware<'a>(table: &Ivrs<'a>) -> impl Iterator<Item = Hardware<'a>> + use<'a> {
    table.blocks().filter_map(|block| match block.body() {
        Body::Hardware(hardware) if hardware.raw.len() >= hardware.fixed_bytes() => Some(hardware),
        _ => None,
    })
}

/// All blocks that speak of the same IOMMU as this one, this one among them.
fn same<'a>(table: &Ivrs<'a>, as_this: &Hardware<'a>) -> impl Iterator<Item = Hardware<'a>> + use<'a> {
    let wanted = key(as_this);
    hardware(table).filter(move |other| key(other) == wanted)
}

/// Whether no earlier block speaks of the same IOMMU.
pub fn is_first(table: &Ivrs<'_>, this: &Hardware<'_>) -> bool {
    same(table, this).all(|other| other.at() >= this.at())
}

/// The block that speaks for the IOMMU: the most capable, and of several of one type the first.
pub fn speaker<'a>(table: &Ivrs<'a>, this: &Hardware<'a>) -> Hardware<'a> {
    same(table, this).fold(*this, |best, other| {
        let better = other.form() > best.form() || (other.form() == best.form() && other.at() < best.at());
        if better { other } else { best }
    })
}

/// The IOMMU's own facts, gathered from all its blocks.
pub fn gather(table: &Ivrs<'_>, speaker: &Hardware<'_>) -> AmdVi {
    let mut facts = AmdVi {
        blocks: AmdBlocks::default(),
        capability: speaker.capability_offset(),
        flags: speaker.flags(),
        info: speaker.info(),
        ivinfo: table.iv_info(),
        ..AmdVi::default()
    };
    for block in same(table, speaker) {
        match block.form() {
            Form::Basic => {
                facts.blocks.basic = true;
                facts.features = facts.features.or(Some(block.features()));
                // PreFSup and PPRSup are flags of this type only.
                facts.flags |= block.flags() & 0xc0;
            }
            Form::Extended => facts.blocks.extended = true,
            Form::Mixed => facts.blocks.mixed = true,
        }
    }
    if speaker.form() != Form::Basic {
        facts.attributes = Some(speaker.features());
        facts.efr = speaker.efr();
        facts.efr2 = speaker.efr2();
    }
    facts
}

/// Tells where the other blocks contradict the one that speaks.
pub fn contradictions<'a>(table: &Ivrs<'a>, speaker: &Hardware<'a>, mut tell: impl FnMut(u32, Cause)) {
    for other in same(table, speaker).filter(|other| other.at() != speaker.at()) {
        if other.form() == speaker.form() {
            tell(other.at(), Cause::Duplicate { first: speaker.at() });
        }
        let feature_images =
            other.efr().is_none() || (other.efr(), other.efr2()) == (speaker.efr(), speaker.efr2());
        let checks = [
            (6, "capability offset", other.capability_offset() == speaker.capability_offset()),
            (8, "IOMMU base address", other.base() == speaker.base()),
            // Bits 6 and 7 are reserved but in type 10h.
            (1, "IVHD flags", (other.flags() ^ speaker.flags()) & 0x3f == 0),
            (24, "EFR image", feature_images),
        ];
        for (offset, what, agrees) in checks {
            if !agrees {
                tell(other.at() + offset, Cause::Contradiction { what, with: speaker.at() });
            }
        }
        // The first device that only the lesser block names, or names differently, stands for all.
        let mut first = None;
        said(&other, |lesser| {
            if first.is_none() && !covered(speaker, &lesser) {
                first = Some(at(&lesser));
            }
        });
        if let Some(at) = first {
            tell(at, Cause::Contradiction { what: "device entry", with: speaker.at() });
        }
    }
}

fn at(said: &Said<'_>) -> u32 {
    match *said {
        Said::All { at, .. } | Said::Range { at, .. } | Said::Named { at, .. } | Said::Wrong { at, .. } => at,
    }
}

/// Whether the block that speaks says at least as much as one entry of another.
fn covered<'a>(speaker: &Hardware<'a>, lesser: &Said<'a>) -> bool {
    let mut found = matches!(lesser, Said::Wrong { .. });
    said(speaker, |mine| {
        found |= match (&mine, lesser) {
            (Said::All { .. }, Said::All { .. } | Said::Range { alias: None, .. }) => true,
            (
                Said::Range { first, last, alias, .. },
                Said::Range { first: low, last: high, alias: other, .. },
            ) => first <= low && high <= last && alias == other,
            (Said::Named { devices, source, .. }, Said::Named { devices: other, source: theirs, .. }) => {
                devices == other && source == theirs
            }
            _ => false,
        }
    });
    found
}
