//! A Stream table entry as this model reads it, and whether it is ILLEGAL (IHI 0070 G.b, 5.2 and 5.2.2).

use super::{features::Features, walk::Stage};
use crate::smmuv3::walk::is_cacheable;
use ioward_spec::{
    Field,
    smmuv3::{
        registers::idr5::oas,
        ste::{self, config, eats, s1dss, s1fmt, strw},
    },
};

/// The words of an entry, read but not judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ste(pub(super) [u64; ste::WORDS]);

/// What a translation is for: the Exception level that owns stage 1 (STE.STRW, CR2.E2H).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum World {
    /// NS-EL1: ASIDs and VMIDs.
    El1,
    /// NS-EL2: neither.
    El2,
    /// NS-EL2-E2H: ASIDs.
    El2E2h,
}

/// How the CD table is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CdTable {
    /// One array.
    Linear,
    /// Two levels, the second of `1 << split` CDs.
    TwoLevel { split: u32 },
}

impl Ste {
    pub(super) fn get(&self, field: Field) -> u64 {
        field.get(&self.0)
    }

    fn has(&self, field: Field) -> bool {
        field.is_set(&self.0)
    }

    pub(super) fn config(&self) -> u64 {
        self.get(ste::CONFIG)
    }

    /// Requests end here, silently.
    pub(super) fn aborts(&self) -> bool {
        self.config() & 0b100 == 0
    }

    pub(super) fn stage1(&self) -> bool {
        self.config() & 0b101 == 0b101
    }

    pub(super) fn stage2(&self) -> bool {
        self.config() & 0b110 == 0b110
    }

    pub(super) fn vmid(&self, features: &Features) -> u16 {
        if features.stage2 { self.get(ste::S2VMID) as u16 } else { 0 }
    }

    fn strw_unused(&self, features: &Features) -> bool {
        !features.stage1 || !features.hyp || self.stage2() || self.config() == config::BYPASS
    }

    pub(super) fn world(&self, features: &Features, e2h: bool) -> World {
        match (self.strw_unused(features), self.get(ste::STRW)) {
            (false, strw::NS_EL2) if e2h => World::El2E2h,
            (false, strw::NS_EL2) => World::El2,
            _ => World::El1,
        }
    }

    /// log2 of the CDs; zero where substreams are disabled or unsupported.
    pub(super) fn cd_bits(&self, features: &Features) -> u32 {
        if features.ssid_bits == 0 { 0 } else { self.get(ste::S1CDMAX) as u32 }
    }

    pub(super) fn cd_table(&self, features: &Features) -> CdTable {
        match (self.cd_bits(features), self.get(ste::S1FMT)) {
            (0, _) => CdTable::Linear,
            (_, s1fmt::L2_4K) => CdTable::TwoLevel { split: 6 },
            (_, s1fmt::L2_64K) => CdTable::TwoLevel { split: 10 },
            _ => CdTable::Linear,
        }
    }

    /// log2 of the alignment that S1ContextPtr must have (5.2, S1Fmt).
    pub(super) fn cd_table_align(&self, features: &Features) -> u32 {
        let bits = self.cd_bits(features);
        match self.cd_table(features) {
            CdTable::Linear => bits + 6,
            CdTable::TwoLevel { split } => (bits.saturating_sub(split) + 3).max(6),
        }
    }

    pub(super) fn cd_pointer(&self) -> u64 {
        ste::S1CONTEXTPTR.get_in_place(&self.0)
    }

    pub(super) fn cds_snoop(&self) -> bool {
        is_cacheable(self.get(ste::S1CIR), self.get(ste::S1COR), self.get(ste::S1CSH))
    }

    /// What a request without a substream does, where there are substreams.
    pub(super) fn default_substream(&self) -> u64 {
        match self.get(ste::S1DSS) {
            0b11 => s1dss::TERMINATE,
            other => other,
        }
    }

    /// EATS as it counts: zero where it is IGNORED and the stream bypasses (5.2, EATS).
    pub(super) fn eats(&self, features: &Features, ats_checked: bool) -> u64 {
        if !features.ats || self.config() & 0b011 == 0 {
            return eats::ABORT;
        }
        match self.get(ste::EATS) {
            eats::SPLIT if !ats_checked => eats::ABORT,
            eats::DPT => eats::ABORT,
            other => other,
        }
    }

    /// How stage 2 is walked.
    pub(super) fn stage2_walk(&self, features: &Features) -> Stage {
        let granule = granule(self.get(ste::S2TG));
        let in_bits = 64 - self.get(ste::S2T0SZ) as u8;
        let out_bits = oas::BITS[self.get(ste::S2PS) as usize].min(features.out_bits);
        Stage {
            second: true,
            granule,
            in_bits,
            start: start_level(granule, self.get(ste::S2SL0)),
            root: ste::S2TTB.get_in_place(&self.0) & ((1 << 52) - 1),
            out_bits: Stage::reach(granule, out_bits),
            wide: out_bits > 48,
            snoops: is_cacheable(self.get(ste::S2IR0), self.get(ste::S2OR0), self.get(ste::S2SH0)),
            access_flag_faults: !self.has(ste::S2AFFD),
            updates_access: self.has(ste::S2HA),
            updates_dirty: self.has(ste::S2HA) && self.has(ste::S2HD),
            ignores_hierarchy: true,
            high: false,
        }
    }

    /// Why the entry is ILLEGAL, with V = 0 as a reason (5.2.2). `None`: it is valid.
    pub(super) fn illegal(&self, features: &Features) -> Option<&'static str> {
        if !self.has(ste::V) {
            return Some("V is 0");
        }
        if self.aborts() {
            return None;
        }
        if self.stage1() && !features.stage1 {
            return Some("stage 1 is enabled but not implemented");
        }
        if self.stage2() && !features.stage2 {
            return Some("stage 2 is enabled but not implemented");
        }
        if features.ats && self.config() & 0b011 != 0 {
            let stalls = self.has(ste::S2S);
            match self.get(ste::EATS) {
                eats::SPLIT if self.config() != config::S1_S2 || stalls || !features.split_ats => {
                    return Some("EATS is split-stage where that cannot be");
                }
                eats::FULL if stalls && self.stage2() => return Some("EATS is full while stage 2 stalls"),
                _ => {}
            }
        }
        if !self.strw_unused(features) && self.get(ste::STRW) & 1 == 1 {
            return Some("STRW is Reserved");
        }
        let vmid_counts = features.stage2
            && self.config() & 0b011 != 0
            && (self.strw_unused(features) || self.get(ste::STRW) == strw::NS_EL1);
        if vmid_counts && !features.vmid16 && self.get(ste::S2VMID) > 0xff {
            return Some("S2VMID has more than 8 bits");
        }
        self.stage1_illegal(features).or_else(|| self.stage2_illegal(features))
    }

    fn stage1_illegal(&self, features: &Features) -> Option<&'static str> {
        if !self.stage1() {
            return None;
        }
        if self.has(ste::S1STALLD) {
            return Some("S1STALLD is 1 where stalls are not both possible and optional");
        }
        if features.ssid_bits != 0 && self.get(ste::S1CDMAX) > features.ssid_bits.into() {
            return Some("S1CDMax exceeds IDR1.SSIDSIZE");
        }
        let two_level = matches!(self.cd_table(features), CdTable::TwoLevel { .. });
        if two_level && !features.two_level_cds {
            return Some("S1Fmt is two-level where IDR0.CD2L is 0");
        }
        (self.cd_pointer() >> features.out_bits != 0).then_some("S1ContextPtr is out of range")
    }

    fn stage2_illegal(&self, features: &Features) -> Option<&'static str> {
        if !self.stage2() {
            return None;
        }
        if self.has(ste::S2S) {
            return Some("S2S is 1 where stalls are not supported");
        }
        if !self.has(ste::S2AA64) {
            return Some("S2AA64 is 0 where VMSAv8-32 is not supported");
        }
        if (self.has(ste::S2HA) || self.has(ste::S2HD)) && features.httu == 0
            || self.has(ste::S2HD) && features.httu == 1
        {
            return Some("S2HA or S2HD is 1 where IDR0.HTTU does not support it");
        }
        let tg = self.get(ste::S2TG);
        let granule = granule(tg);
        if tg == 0b11 || !features.has_granule(granule) {
            return Some("S2TG is not supported");
        }
        if self.has(ste::S2ENDI) {
            return Some("S2ENDI is 1 where tables are little-endian");
        }
        let out_bits = oas::BITS[self.get(ste::S2PS) as usize].min(features.out_bits);
        let reach = Stage::reach(granule, out_bits);
        if ste::S2TTB.get_in_place(&self.0) >> reach != 0 {
            return Some("S2TTB is outside S2PS");
        }
        let t0sz = self.get(ste::S2T0SZ);
        let widest = if granule == 16 { 12 } else { 16 };
        let least = widest.max(64 - u64::from(features.out_bits));
        if t0sz < least || t0sz > features.max_txsz(granule) {
            return Some("S2T0SZ is out of range");
        }
        let (start, in_bits) = (start_level(granule, self.get(ste::S2SL0)), 64 - t0sz as u8);
        if !(0..=3).contains(&start) || granule == 16 && start == 0 || granule == 14 && start == 0 {
            return Some("S2SL0 is Reserved for S2TG");
        }
        // Up to 16 tables are concatenated; a start level that resolves nothing is inconsistent.
        let below = Stage::shift(granule, start);
        let resolved = i16::from(in_bits) - i16::from(below);
        if resolved < 1 || resolved > i16::from(granule) - 3 + 4 {
            return Some("S2SL0 and S2T0SZ are inconsistent");
        }
        None
    }

    /// The bits of each word that hardware uses with this configuration: what may not change by more than one 64-bit
    /// store between two states that hardware may see (3.21.3).
    pub(super) fn used(&self) -> [u64; ste::WORDS] {
        let mut used = [0; ste::WORDS];
        let mut add = |fields: &[Field]| fields.iter().for_each(|field| used[field.word] |= field.mask());
        add(&[ste::V]);
        if !self.has(ste::V) {
            return used;
        }
        add(&[ste::CONFIG]);
        if self.aborts() {
            return used;
        }
        add(&[ste::MEMATTR, ste::MTCFG, ste::ALLOCCFG, ste::SHCFG, ste::PRIVCFG, ste::INSTCFG]);
        if self.config() == config::BYPASS {
            return used;
        }
        add(&[ste::EATS, ste::S2VMID]);
        if self.stage1() {
            add(&[
                ste::S1FMT,
                ste::S1CONTEXTPTR,
                ste::S1CDMAX,
                ste::S1DSS,
                ste::S1CIR,
                ste::S1COR,
                ste::S1CSH,
            ]);
            add(&[ste::S1STALLD, ste::STRW]);
        }
        if self.stage2() {
            add(&[ste::S2T0SZ, ste::S2SL0, ste::S2IR0, ste::S2OR0, ste::S2SH0, ste::S2TG, ste::S2PS]);
            add(&[
                ste::S2AA64,
                ste::S2ENDI,
                ste::S2AFFD,
                ste::S2PTW,
                ste::S2HD,
                ste::S2HA,
                ste::S2S,
                ste::S2R,
            ]);
            add(&[ste::S2TTB]);
        }
        used
    }

    /// Reserved bits that are set, as (word, bits).
    pub(super) fn reserved(&self) -> Option<(usize, u64)> {
        let fields: [Field; ste::ALL.len()] = std::array::from_fn(|n| ste::ALL[n].1);
        // Words 4 to 7 belong to MPAM, Secure and permission-indirection features that this model has not.
        let known = |word| if word < 4 { ioward_spec::field::cover(&fields, word) } else { 0 };
        (0..ste::WORDS).map(|word| (word, self.0[word] & !known(word))).find(|(_, bits)| *bits != 0)
    }
}

/// log2 of the granule that TG0 and S2TG name; the Reserved value reads as 4KB and is ILLEGAL elsewhere.
pub(super) fn granule(tg: u64) -> u8 {
    match tg {
        0b01 => 16,
        0b10 => 14,
        _ => 12,
    }
}

/// The level that S2SL0 starts at, for a granule as log2 of its bytes (VTCR_EL2.SL0, DDI 0487 D8.2.8).
fn start_level(granule: u8, sl0: u64) -> i8 {
    match (granule, sl0) {
        (12, 0b11) => 3,
        (12, sl0) => 2 - sl0 as i8,
        (_, sl0) => 3 - sl0 as i8,
    }
}
