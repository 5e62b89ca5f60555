//! Stream table entries (IHI 0070, 5.2), encoded.

use super::{entry::Words, geometry::Walk};
use ioward_spec::smmuv3::{
    cacheability, shareability,
    ste::{self as spec, config, eats, s1dss, shcfg, strw},
};

/// Where a stream's Context descriptors are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CdPointer {
    pub at: u64,
    /// S1Fmt.
    pub format: u64,
    /// S1CDMax.
    pub bits: u8,
}

/// What becomes of requests without a PASID while stage 1 translates those with one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WithoutPasid {
    Blocked,
    Identity,
    /// Descriptor 0 translates them.
    Translated,
}

/// An entry that aborts every request. It reads nothing but word 0, so every other entry can become this one by a single
/// store. Unlike V = 0 it is not reported as broken (C_BAD_STE).
pub(super) fn blocked() -> Words {
    let mut ste = [0; 8];
    spec::V.set(&mut ste, 1);
    spec::CONFIG.set(&mut ste, config::ABORT);
    ste
}

/// Requests pass untranslated, with the attributes they come with.
pub(super) fn bypass() -> Words {
    let mut ste = entry(config::BYPASS);
    spec::EATS.set(&mut ste, eats::ABORT);
    ste
}

/// Stage 1 translates. `vmid` is that of all stage 1 entries.
pub(super) fn stage_1(cds: CdPointer, rest: WithoutPasid, vmid: u16, ats: bool, coherent: bool) -> Words {
    let (cache, share) = if coherent {
        (cacheability::WRITE_BACK, shareability::INNER)
    } else {
        (cacheability::NON, shareability::OUTER)
    };
    let rest = match rest {
        WithoutPasid::Blocked => s1dss::TERMINATE,
        WithoutPasid::Identity => s1dss::BYPASS,
        WithoutPasid::Translated => s1dss::SSID0,
    };
    let mut ste = entry(config::S1);
    for (field, value) in [
        (spec::S1FMT, cds.format),
        (spec::S1CDMAX, cds.bits.into()),
        (spec::S1DSS, if cds.bits == 0 { 0 } else { rest }),
        (spec::S1CIR, cache),
        (spec::S1COR, cache),
        (spec::S1CSH, share),
        (spec::STRW, strw::NS_EL1),
        (spec::EATS, if ats { eats::FULL } else { eats::ABORT }),
        (spec::S2VMID, vmid.into()),
    ] {
        field.set(&mut ste, value);
    }
    spec::S1CONTEXTPTR.set_in_place(&mut ste, cds.at);
    ste
}

/// Stage 2 translates.
pub(super) fn stage_2(walk: &Walk, vmid: u16, ats: bool, stall: bool) -> Words {
    let (cache, share) = if walk.coherent {
        (cacheability::WRITE_BACK, shareability::INNER)
    } else {
        (cacheability::NON, shareability::OUTER)
    };
    let mut ste = entry(config::S2);
    for (field, value) in [
        (spec::EATS, if ats { eats::FULL } else { eats::ABORT }),
        (spec::S2VMID, vmid.into()),
        (spec::S2T0SZ, walk.tsz),
        (spec::S2SL0, walk.sl0),
        (spec::S2IR0, cache),
        (spec::S2OR0, cache),
        (spec::S2SH0, share),
        (spec::S2TG, walk.tg),
        (spec::S2PS, walk.ps),
        (spec::S2AA64, 1),
        (spec::S2HA, walk.dirty.into()),
        (spec::S2HD, walk.dirty.into()),
        (spec::S2S, stall.into()),
        (spec::S2R, 1),
    ] {
        field.set(&mut ste, value);
    }
    spec::S2TTB.set_in_place(&mut ste, walk.root);
    ste
}

fn entry(config: u64) -> Words {
    let mut ste = [0; 8];
    spec::V.set(&mut ste, 1);
    spec::CONFIG.set(&mut ste, config);
    spec::SHCFG.set(&mut ste, shcfg::INCOMING);
    ste
}

/// Whether an entry lets any request through.
pub(super) fn is_open(ste: &Words) -> bool {
    spec::V.is_set(ste) && spec::CONFIG.get(ste) & config::BYPASS != 0
}

/// What an entry of [`stage_1`] makes of requests without a PASID; none where it is not one.
pub(super) fn without_pasid(ste: &Words) -> Option<WithoutPasid> {
    if !is_open(ste) || spec::CONFIG.get(ste) != config::S1 {
        return None;
    }
    Some(match spec::S1DSS.get(ste) {
        s1dss::BYPASS => WithoutPasid::Identity,
        s1dss::SSID0 => WithoutPasid::Translated,
        _ => WithoutPasid::Blocked,
    })
}

/// What the SMMU reads of an entry. Where that is not certain, it counts as read.
pub(super) fn used(ste: &Words) -> Words {
    let mut bits = [0; 8];
    spec::V.set(&mut bits, 1);
    if !spec::V.is_set(ste) {
        return bits;
    }
    spec::CONFIG.set(&mut bits, spec::CONFIG.max());
    if !is_open(ste) {
        return bits;
    }
    let (by_stage_1, by_stage_2) = match spec::CONFIG.get(ste) {
        config::BYPASS => (false, false),
        config::S1 => (true, false),
        config::S2 => (false, true),
        _ => (true, true),
    };
    bits = [u64::MAX; 8];
    if !by_stage_1 {
        bits[0] = spec::V.mask() | spec::CONFIG.mask();
        for field in [
            spec::S1DSS,
            spec::S1CIR,
            spec::S1COR,
            spec::S1CSH,
            spec::S1PIE,
            spec::S1MPAM,
            spec::S1STALLD,
            spec::STRW,
        ] {
            field.set(&mut bits, 0);
        }
    }
    if !by_stage_2 {
        for field in [spec::S2HWU59, spec::S2HWU60, spec::S2HWU61, spec::S2HWU62, spec::S2FWB] {
            field.set(&mut bits, 0);
        }
        // Stage 1 entries are tagged with the VMID too.
        bits[2] = if by_stage_1 { spec::S2VMID.mask() } else { 0 };
        bits[3] = 0;
    }
    if !by_stage_1 && !by_stage_2 {
        spec::EATS.set(&mut bits, 0);
    }
    bits
}
