//! What a device table entry means (48882 §2.2.2.1, Tables 7 and 8).

use super::config::AmdViConfig;
use ioward_spec::{
    Field,
    amdvi::{
        dte::{self, *},
        features::efr,
    },
};
use std::fmt;

/// What the unit does with a device's requests on account of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DteMeaning {
    /// V clear: everything passes through.
    PassThrough,
    /// V set, TV clear: whatever needs a translation is terminated.
    Terminated,
    /// Translated, or passed on with Mode zero, as far as the rights go.
    Translated(Translated),
    /// ILLEGAL_DEV_TABLE_ENTRY.
    Illegal(IllegalDte),
}

impl DteMeaning {
    /// No request of the device, with or without PASID, reaches memory.
    pub fn is_blocked(&self) -> bool {
        match self {
            Self::PassThrough => false,
            Self::Terminated | Self::Illegal(_) => true,
            Self::Translated(t) => !t.read && !t.write,
        }
    }
}

/// A valid entry's translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translated {
    /// Levels of the host table; zero: guest physical is system physical.
    pub mode: u8,
    /// The host table's root, physical.
    pub root: u64,
    /// Names it to the caches.
    pub domain: u16,
    /// Reading is allowed at all.
    pub read: bool,
    /// Writing is allowed at all.
    pub write: bool,
    /// Guest translation, where GV is set.
    pub guest: Option<Guest>,
    /// Hardware updates accessed bits of host tables.
    pub accessed: bool,
    /// Hardware updates dirty bits of host tables.
    pub dirty: bool,
    /// The unit's walks snoop CPU caches.
    pub snoop: bool,
}

/// A valid entry's guest translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guest {
    /// The guest CR3 table's root, physical.
    pub root: u64,
    /// Its levels, 1 to 3.
    pub gcr3_levels: u8,
    /// Levels of the guest tables, 4 or 5.
    pub levels: u8,
    /// Requests without PASID are translated as with PASID zero.
    pub rid: bool,
}

/// Why an entry is illegal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IllegalDte {
    /// The cause.
    pub what: &'static str,
    /// Whether a reserved bit is it (the event's RZ), and not a level or type.
    pub reserved: bool,
}

impl fmt::Display for IllegalDte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

/// Reads an entry as a unit with these features does.
pub(super) fn decode(config: &AmdViConfig, guest_enabled: bool, words: &[u64; dte::WORDS]) -> DteMeaning {
    if !V.is_set(words) {
        return DteMeaning::PassThrough;
    }
    if let Some(illegal) = illegal(config, words) {
        return DteMeaning::Illegal(illegal);
    }
    if !TV.is_set(words) {
        return DteMeaning::Terminated;
    }
    let guest = (guest_enabled && GV.is_set(words)).then(|| Guest {
        root: GCR3_TRP_14_12.get(words) << 12
            | GCR3_TRP_30_15.get(words) << 15
            | GCR3_TRP_51_31.get(words) << 31,
        gcr3_levels: GLX.get(words) as u8 + 1,
        levels: GUEST_PAGING_MODE.get(words) as u8 + 4,
        rid: GIOV.is_set(words),
    });
    DteMeaning::Translated(Translated {
        mode: MODE.get(words) as u8,
        root: HOST_PAGE_TABLE_ROOT.get_in_place(words),
        domain: DOMAIN_ID.get(words) as u16,
        read: IR.is_set(words),
        write: IW.is_set(words),
        guest,
        accessed: HAD.get(words) & had::ACCESSED != 0,
        dirty: HAD.get(words) == had::ACCESSED_AND_DIRTY,
        snoop: !SD.is_set(words),
    })
}

fn illegal(config: &AmdViConfig, words: &[u64; dte::WORDS]) -> Option<IllegalDte> {
    let set = |field: Field| field.is_set(words);
    let features = config.efr();
    let has = |field: Field| field.in_place(features) != 0;
    let reserved = |what| Some(IllegalDte { what, reserved: true });
    let encoding = |what| Some(IllegalDte { what, reserved: false });

    for (word, mask) in RESERVED.iter().enumerate() {
        // Bits above 127 mean nothing unless IV is set; those of the last word are checked with V.
        if words[word] & mask != 0 && (word != 2 || set(IV)) {
            return reserved("a reserved bit is set");
        }
    }
    let needs = [
        (SATS, efr::SATS_SUP, "SATS without EFR.SATSup"),
        (PPR, efr::EPH_SUP, "PPR without EFR.EPHSup"),
        (GV, efr::GT_SUP, "GV without EFR.GTSup"),
        (GIOV, efr::GIO_SUP, "GIoV without EFR.GIoSup"),
        (HAD, efr::HA_SUP, "HAD without EFR.HASup"),
        (ATTR_V, efr::ATTR_FW_SUP, "AttrV without EFR.AttrFWSup"),
        (VIMU_EN, efr::VIOMMU_SUP, "vImuEn without EFR.vIOMMUSup"),
        (GUEST_PAGING_MODE, efr::GATS, "a guest paging mode beyond EFR.GATS"),
    ];
    for (field, feature, what) in needs {
        if set(field) && !has(feature) {
            return reserved(what);
        }
    }
    if HAD.get(words) == had::RESERVED {
        return encoding("HAD is the reserved value 2");
    }
    if HAD.get(words) == had::ACCESSED_AND_DIRTY && !has(efr::HD_SUP) {
        return encoding("HAD asks for dirty bits without EFR.HDSup");
    }
    if IOCTL.get(words) == 3 {
        return encoding("IoCtl is the reserved value 3");
    }
    if set(IV) {
        if INT_TAB_LEN.get(words) > 11 {
            return encoding("IntTabLen is beyond 11");
        }
        if INT_CTL.get(words) == 3 {
            return encoding("IntCtl is the reserved value 3");
        }
    }
    if !set(TV) {
        return None;
    }
    let mode = MODE.get(words);
    if mode == 7 {
        return encoding("Mode is the reserved value 7");
    }
    if mode != 0 && config.host_levels.is_none_or(|levels| mode > levels.into()) {
        return encoding("Mode is beyond EFR.HATS");
    }
    if set(GV) {
        if GLX.get(words) > efr::GLX_SUP.of(features) {
            return encoding("GLX is beyond EFR.GLXSup");
        }
        if GUEST_PAGING_MODE.get(words) > efr::GATS.of(features) {
            return encoding("a guest paging mode beyond EFR.GATS");
        }
    } else if set(GIOV) {
        return encoding("GIoV without GV");
    }
    None
}
