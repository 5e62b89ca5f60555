//! A Context descriptor as this model reads it, and whether it is ILLEGAL (IHI 0070 G.b, 5.4 and 5.4.2).

use super::{
    features::Features,
    ste::{World, granule},
    walk::{Stage, is_cacheable},
};
use ioward_spec::{
    Field,
    smmuv3::{cd, registers::idr5::oas},
};

/// The words of a descriptor, read but not judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cd(pub(super) [u64; cd::WORDS]);

impl Cd {
    pub(super) fn get(&self, field: Field) -> u64 {
        field.get(&self.0)
    }

    pub(super) fn has(&self, field: Field) -> bool {
        field.is_set(&self.0)
    }

    /// The ASID that tags its translations; none where the world has none.
    pub(super) fn asid(&self, world: World) -> Option<u16> {
        (world != World::El2).then(|| self.get(cd::ASID) as u16)
    }

    /// The memory attribute that a leaf's index selects.
    pub(super) fn mair(&self, index: u64) -> u8 {
        let words = self.get(cd::MAIR1) << 32 | self.get(cd::MAIR0);
        (words >> (8 * (index & 7))) as u8
    }

    fn disabled(&self, high: bool, world: World) -> bool {
        match (high, world) {
            (false, _) => self.has(cd::EPD0),
            (true, World::El2) => true,
            (true, _) => self.has(cd::EPD1),
        }
    }

    /// How stage 1 walks for `at`: through TTB0 or TTB1, chosen by bit 55 (3.4.1). `None`: the address is out of range
    /// or the walk is disabled, a Translation fault.
    pub(super) fn stage1_walk(&self, features: &Features, world: World, at: u64) -> Option<Stage> {
        let high = at >> 55 & 1 == 1 && world != World::El2;
        if self.disabled(high, world) {
            return None;
        }
        let stage = self.half(features, high);
        let ignores_top = self.has(if high { cd::TBI1 } else { cd::TBI0 });
        let top = if ignores_top { 55 } else { 63 };
        let significant = at & (u64::MAX >> (63 - top)) & (u64::MAX << stage.in_bits);
        let expected = if high { (u64::MAX >> (63 - top)) & (u64::MAX << stage.in_bits) } else { 0 };
        (significant == expected).then_some(stage)
    }

    fn half(&self, features: &Features, high: bool) -> Stage {
        let granule = self.granule(high);
        let in_bits = 64 - self.get(if high { cd::T1SZ } else { cd::T0SZ }) as u8;
        let out_bits = oas::BITS[self.get(cd::IPS) as usize].min(features.out_bits);
        let (inner, outer, share) =
            if high { (cd::IR1, cd::OR1, cd::SH1) } else { (cd::IR0, cd::OR0, cd::SH0) };
        let ttb = if high { cd::TTB1 } else { cd::TTB0 };
        Stage {
            second: false,
            granule,
            in_bits,
            start: Stage::first_level(granule, in_bits),
            root: ttb.get_in_place(&self.0) & ((1 << 52) - 1),
            out_bits: Stage::reach(granule, out_bits),
            wide: out_bits > 48,
            snoops: is_cacheable(self.get(inner), self.get(outer), self.get(share)),
            access_flag_faults: !self.has(cd::AFFD),
            updates_access: self.has(cd::HA),
            updates_dirty: self.has(cd::HA) && self.has(cd::HD),
            ignores_hierarchy: self.has(if high { cd::HAD1 } else { cd::HAD0 }),
            high,
        }
    }

    fn granule(&self, high: bool) -> u8 {
        if !high {
            return granule(self.get(cd::TG0));
        }
        match self.get(cd::TG1) {
            0b01 => 14,
            0b11 => 16,
            _ => 12,
        }
    }

    /// Why the descriptor is ILLEGAL, with V = 0 as a reason (5.4.2). `None`: it is valid.
    pub(super) fn illegal(&self, features: &Features, world: World) -> Option<&'static str> {
        if !self.has(cd::V) {
            return Some("V is 0");
        }
        if self.has(cd::S) {
            return Some("S is 1 where stalls are not supported");
        }
        if !self.has(cd::A) {
            return Some("A is 0 where IDR0.TERM_MODEL is 1");
        }
        let disabled = [self.disabled(false, world), self.disabled(true, world)];
        if disabled != [true, true] && self.has(cd::ENDI) {
            return Some("ENDI is 1 where tables are little-endian");
        }
        if !self.has(cd::AA64) {
            return Some("AA64 is 0 where VMSAv8-32 is not supported");
        }
        if (self.has(cd::HA) || self.has(cd::HD)) && features.httu == 0
            || self.has(cd::HD) && features.httu == 1
        {
            return Some("HA or HD is 1 where IDR0.HTTU does not support it");
        }
        if world != World::El2 && !features.asid16 && self.get(cd::ASID) > 0xff {
            return Some("ASID has more than 8 bits");
        }
        for high in [false, true] {
            if disabled[usize::from(high)] {
                continue;
            }
            let reserved = if high { 0b00 } else { 0b11 };
            let granule = self.granule(high);
            if self.get(if high { cd::TG1 } else { cd::TG0 }) == reserved || !features.has_granule(granule) {
                return Some("TGx is not supported");
            }
            let txsz = self.get(if high { cd::T1SZ } else { cd::T0SZ });
            let least = if features.wide_virtual && granule == 16 { 12 } else { 16 };
            if txsz < least || txsz > features.max_txsz(granule) {
                return Some("TxSZ is out of range");
            }
            let stage = self.half(features, high);
            let ttb = if high { cd::TTB1 } else { cd::TTB0 };
            if ttb.get_in_place(&self.0) >> stage.out_bits != 0 {
                return Some("TTBx is outside IPS");
            }
        }
        None
    }

    /// The bits of each word that hardware uses (see [`Ste::used`](super::ste::Ste::used)).
    pub(super) fn used(&self) -> [u64; cd::WORDS] {
        if !self.has(cd::V) {
            let mut used = [0; cd::WORDS];
            used[cd::V.word] = cd::V.mask();
            return used;
        }
        let mut used = [u64::MAX; cd::WORDS];
        let ignore = |used: &mut [u64; cd::WORDS], fields: &[Field]| {
            fields.iter().for_each(|field| used[field.word] &= !field.mask());
        };
        if self.has(cd::EPD0) {
            ignore(&mut used, &[cd::T0SZ, cd::TG0, cd::IR0, cd::OR0, cd::SH0, cd::TTB0, cd::HAD0, cd::TBI0]);
        }
        if self.has(cd::EPD1) {
            ignore(&mut used, &[cd::T1SZ, cd::TG1, cd::IR1, cd::OR1, cd::SH1, cd::TTB1, cd::HAD1, cd::TBI1]);
        }
        used
    }

    /// What every descriptor of one address space must share (5.4.1): all that a TLB entry may have cached.
    pub(super) fn space(&self) -> [u64; cd::WORDS] {
        let mut words = self.0;
        let used = self.used();
        words.iter_mut().zip(used).for_each(|(word, used)| *word &= used);
        for field in [cd::A, cd::R, cd::S, cd::ASET, cd::PARTID, cd::PMG] {
            words[field.word] &= !field.mask();
        }
        words
    }

    /// Reserved bits that are set, as (word, bits).
    pub(super) fn reserved(&self) -> Option<(usize, u64)> {
        let fields: [Field; cd::ALL.len()] = std::array::from_fn(|n| cd::ALL[n].1);
        // Words 5 to 7 belong to MPAM and permission indirection, which this model has not.
        let known = |word| if word < 5 { ioward_spec::field::cover(&fields, word) } else { 0 };
        (0..cd::WORDS).map(|word| (word, self.0[word] & !known(word))).find(|(_, bits)| *bits != 0)
    }
}
