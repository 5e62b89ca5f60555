//! What context and PASID entries mean (9.3, 9.4, 9.6).

use super::config::VtdConfig;
use ioward_spec::{
    Field,
    vtd::{
        context,
        fault::reason,
        pasid::{TABLE_BITS, entry},
    },
};
use std::fmt;

/// Why an entry is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Invalid {
    /// The fault reason.
    pub reason: u64,
    /// The cause.
    pub what: &'static str,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (reason {:#04x})", self.what, self.reason)
    }
}

/// What the unit does with a source's requests on account of its root and context entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceMeaning {
    /// Everything is refused: something on the way is not present, with this fault reason.
    NotPresent(u64),
    /// Everything is refused.
    Invalid(Invalid),
    /// Legacy mode: requests without PASID go this way.
    Translation(Translation),
    /// Scalable mode: PASID entries say.
    Pasids(PasidTables),
}

impl SourceMeaning {
    /// No request of the source, with or without PASID, reaches memory, whatever PASID entries say.
    pub fn is_blocked(&self) -> bool {
        matches!(self, Self::NotPresent(_) | Self::Invalid(_))
    }
}

/// What the unit does with requests on account of a PASID entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PasidMeaning {
    /// Refused: something on the way is not present, with this fault reason.
    NotPresent(u64),
    /// Refused.
    Invalid(Invalid),
    /// They go this way.
    Translation(Translation),
}

impl PasidMeaning {
    /// No request reaches memory.
    pub fn is_blocked(&self) -> bool {
        !matches!(self, Self::Translation(_))
    }
}

/// How addresses are translated. With neither stage they pass through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// Names the translations to the caches.
    pub domain: u16,
    /// From a PASID entry, and not from a legacy context entry.
    pub scalable: bool,
    /// The first stage, of scalable mode alone.
    pub first: Option<First>,
    /// The second stage; with a first one: nested.
    pub second: Option<Second>,
    /// Legacy mode: translation requests and translated requests are served.
    pub device_tlb: bool,
    /// Supervisor requests with PASID are served.
    pub supervisor: bool,
    /// Execute requests with PASID are served.
    pub execute: bool,
    /// Every access snoops.
    pub snoop: bool,
    /// Qualified faults are not recorded.
    pub silent: bool,
}

/// A first-stage table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct First {
    /// Its address, physical, or intermediate where nested.
    pub root: u64,
    /// 4 or 5.
    pub levels: u8,
    /// Supervisor writes obey R/W.
    pub write_protect: bool,
    /// XD means something.
    pub no_execute: bool,
    /// Walks snoop.
    pub coherent: bool,
}

/// A second-stage table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Second {
    /// Its address, physical.
    pub root: u64,
    /// 3 to 5.
    pub levels: u8,
    /// Accessed and dirty bits are kept.
    pub accessed_dirty: bool,
    /// X of its entries means something.
    pub execute: bool,
    /// Walks snoop.
    pub coherent: bool,
}

/// A scalable-mode context entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PasidTables {
    /// The PASID directory, physical.
    pub directory: u64,
    /// PASIDs below this have a directory entry.
    pub limit: u32,
    /// Translation requests and translated requests are served.
    pub device_tlb: bool,
    /// Requests with PASID are served.
    pub pasids: bool,
    /// Page requests are served.
    pub page_requests: bool,
    /// The PASID of requests without one.
    pub rid_pasid: u32,
    /// Qualified faults are not recorded.
    pub silent: bool,
}

fn any_reserved(words: &[u64], reserved: &[u64]) -> bool {
    words.iter().zip(reserved).any(|(word, reserved)| word & reserved != 0)
}

/// Whether a domain ID fits CAP.ND.
fn domain_fits(config: &VtdConfig, domain: u64) -> bool {
    domain.checked_shr(config.domain_bits.into()).unwrap_or(0) == 0
}

/// Reads a context entry of legacy mode as a unit with these features does.
pub(super) fn legacy(config: &VtdConfig, words: &[u64; context::legacy::WORDS]) -> SourceMeaning {
    use context::legacy::*;
    let invalid = |reason, what| SourceMeaning::Invalid(Invalid { reason, what });
    if !P.is_set(words) {
        return SourceMeaning::NotPresent(reason::CONTEXT_NOT_PRESENT);
    }
    let kind = TT.get(words);
    let (domain, aw) = (DID.get(words), AW.get(words));
    let root = SSPTPTR.get_in_place(words);
    if any_reserved(words, &RESERVED) {
        return invalid(reason::CONTEXT_RESERVED, "a reserved bit is set");
    }
    if !domain_fits(config, domain) {
        return invalid(reason::CONTEXT_RESERVED, "a domain ID beyond CAP.ND");
    }
    let passes = kind == tt::PASS_THROUGH;
    if !passes && root & config.beyond_host() != 0 {
        return invalid(reason::CONTEXT_RESERVED, "a table beyond the host address width");
    }
    match kind {
        tt::UNTRANSLATED => {}
        tt::DEVICE_TLB if config.device_tlb => {}
        tt::PASS_THROUGH if config.pass_through => {}
        _ => return invalid(reason::CONTEXT_INVALID, "a translation type that the unit lacks"),
    }
    let levels = aw as u8 + 2;
    if !config.has_levels(levels) {
        return invalid(reason::CONTEXT_INVALID, "an address width that CAP.SAGAW lacks");
    }
    if passes && (levels + 1..=5).any(|more| config.has_levels(more)) {
        return invalid(reason::CONTEXT_INVALID, "pass-through with less than the widest address width");
    }
    SourceMeaning::Translation(Translation {
        domain: domain as u16,
        scalable: false,
        first: None,
        second: (!passes).then_some(Second {
            root,
            levels,
            accessed_dirty: false,
            execute: false,
            coherent: config.coherent,
        }),
        device_tlb: kind == tt::DEVICE_TLB,
        supervisor: false,
        execute: false,
        snoop: false,
        silent: FPD.is_set(words),
    })
}

/// Reads a context entry of scalable mode as a unit with these features does.
pub(super) fn scalable(config: &VtdConfig, words: &[u64; context::scalable::WORDS]) -> SourceMeaning {
    use context::scalable::*;
    if !P.is_set(words) {
        return SourceMeaning::NotPresent(reason::SM_CONTEXT_NOT_PRESENT);
    }
    let what = if any_reserved(words, &RESERVED) {
        Some("a reserved bit is set")
    } else if DTE.is_set(words) && !config.device_tlb {
        Some("DTE without ECAP.DT")
    } else if PASIDE.is_set(words) && !config.pasid {
        Some("PASIDE without ECAP.PASID")
    } else if PRE.is_set(words) && !config.page_requests {
        Some("PRE without ECAP.PRS")
    } else if RID_PASID.is_set(words) && !config.rid_pasid {
        Some("RID_PASID without ECAP.RPS")
    } else if RID_PRIV.is_set(words) {
        Some("RID_PRIV without ECAP.RPRIVS")
    } else if PASIDDIRPTR.get_in_place(words) & config.beyond_host() != 0 {
        Some("a directory beyond the host address width")
    } else {
        None
    };
    if let Some(what) = what {
        return SourceMeaning::Invalid(Invalid { reason: reason::SM_CONTEXT_RESERVED, what });
    }
    SourceMeaning::Pasids(PasidTables {
        directory: PASIDDIRPTR.get_in_place(words),
        limit: 1 << (PDTS.get(words) as u32 + 7 + TABLE_BITS),
        device_tlb: DTE.is_set(words),
        pasids: PASIDE.is_set(words),
        page_requests: PRE.is_set(words),
        rid_pasid: RID_PASID.get(words) as u32,
        silent: FPD.is_set(words),
    })
}

/// Reads a PASID table entry as a unit with these features does.
pub(super) fn pasid(config: &VtdConfig, words: &[u64; entry::WORDS]) -> PasidMeaning {
    use entry::*;
    let invalid = |reason, what| PasidMeaning::Invalid(Invalid { reason, what });
    if !P.is_set(words) {
        return PasidMeaning::NotPresent(reason::SM_PASID_NOT_PRESENT);
    }
    if any_reserved(words, &RESERVED) {
        return invalid(reason::SM_PASID_RESERVED, "a reserved bit is set");
    }
    if !domain_fits(config, DID.get(words)) {
        return invalid(reason::SM_PASID_RESERVED, "a domain ID beyond CAP.ND");
    }
    let needs: [(Field, bool, &str); 12] = [
        (SSEE, config.execute, "SSEE without ECAP.ERS"),
        (SSADE, config.accessed_dirty, "SSADE without ECAP.SSADS"),
        (PWSNP, config.scalable_coherent, "PWSNP without ECAP.SMPWCS"),
        (PGSNP, config.snoop_control, "PGSNP without ECAP.SC"),
        (CD, false, "CD without ECAP.MTS"),
        (EMTE, false, "EMTE without ECAP.MTS"),
        (EMT, false, "EMT without ECAP.MTS"),
        (PAT, false, "PAT without ECAP.MTS"),
        (PWT, false, "PWT without ECAP.MTS"),
        (SRE, config.supervisor, "SRE without ECAP.SRS"),
        (ERE, config.execute, "ERE without ECAP.ERS"),
        (EAFE, false, "EAFE without ECAP.EAFS"),
    ];
    for (field, has, what) in needs {
        if field.is_set(words) && !has {
            return invalid(reason::SM_PASID_RESERVED, what);
        }
    }
    let kind = PGTT.get(words);
    let known = match kind {
        pgtt::FIRST => config.first_stage,
        pgtt::SECOND => config.second_stage,
        pgtt::NESTED => config.nested && config.first_stage && config.second_stage,
        pgtt::PASS_THROUGH => config.pass_through,
        _ => false,
    };
    if !known {
        return invalid(reason::SM_PASID_INVALID, "a translation type that the unit lacks");
    }
    let coherent = PWSNP.is_set(words);
    let first = matches!(kind, pgtt::FIRST | pgtt::NESTED).then(|| First {
        root: FSPTPTR.get_in_place(words),
        levels: FSPM.get(words) as u8 + 4,
        write_protect: WPE.is_set(words),
        no_execute: NXE.is_set(words),
        coherent,
    });
    let second = matches!(kind, pgtt::SECOND | pgtt::NESTED).then(|| Second {
        root: SSPTPTR.get_in_place(words),
        levels: AW.get(words) as u8 + 2,
        accessed_dirty: SSADE.is_set(words),
        execute: SSEE.is_set(words),
        coherent,
    });
    if first.is_some() && !matches!(FSPM.get(words), fspm::LEVELS_4 | fspm::LEVELS_5)
        || FSPM.get(words) == fspm::LEVELS_5 && first.is_some() && !config.first_5_levels
    {
        return invalid(reason::SM_PASID_INVALID, "a first-stage paging mode that the unit lacks");
    }
    if second.is_some_and(|second| !config.has_levels(second.levels)) {
        return invalid(reason::SM_PASID_INVALID, "an address width that CAP.SAGAW lacks");
    }
    let host = config.beyond_host();
    let first_beyond = kind == pgtt::FIRST && first.is_some_and(|first| first.root & host != 0);
    if first_beyond || second.is_some_and(|second| second.root & host != 0) {
        return invalid(reason::SM_PASID_RESERVED, "a table beyond the host address width");
    }
    PasidMeaning::Translation(Translation {
        domain: DID.get(words) as u16,
        scalable: true,
        first,
        second,
        device_tlb: false,
        supervisor: SRE.is_set(words),
        execute: ERE.is_set(words),
        snoop: PGSNP.is_set(words),
        silent: FPD.is_set(words),
    })
}
