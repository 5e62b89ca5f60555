//! Fetching and caching of Stream table entries and Context descriptors, and the rules for changing them (IHI 0070 G.b,
//! 3.21.3, 5.1 to 5.4).

use super::{
    cd::Cd,
    events::Fault,
    state::{Seen, State},
    ste::{CdTable, Ste},
    translate::Asker,
};
use ioward_spec::{
    Field,
    smmuv3::{
        cd::{self, l1cd},
        event::{class, id},
        registers::{cr1, strtab_base, strtab_base_cfg as cfg},
        shareability,
        ste::{self, l1std},
    },
};

/// How many CDs of a table are fetched without being asked for.
const PREFETCHED: u32 = 16;

impl State {
    /// Whether accesses that CR1 describes snoop; CR1 encodes cacheability in its own way (6.3.11).
    pub(super) fn cr1_snoops(&self, inner: Field, outer: Field, share: Field) -> bool {
        let value = |field: Field| field.of(self.regs.cr1.into());
        let cached = |value: u64| matches!(value, cr1::WRITE_BACK | cr1::WRITE_THROUGH);
        cached(value(inner))
            && cached(value(outer))
            && matches!(value(share), shareability::INNER | shareability::OUTER)
    }

    fn tables_snoop(&self) -> bool {
        self.cr1_snoops(cr1::TABLE_IC, cr1::TABLE_OC, cr1::TABLE_SH)
    }

    /// A stream's entry: from the cache, else from memory.
    pub(super) fn ste(&mut self, source: u32) -> Result<Ste, Fault> {
        if self.poison.config.as_ref().is_some_and(|clean| !clean.contains(&source)) {
            self.wrong(
                "IHI 0070 G.b 6.3.9.6",
                format!("stream {source:#x} hits configuration cached before reset: CMD_CFGI_ALL is missing"),
            );
            let mut words = [0; ste::WORDS];
            ste::V.set(&mut words, 1);
            ste::CONFIG.set(&mut words, ste::config::BYPASS);
            return Ok(Ste(words));
        }
        self.know(source, 0);
        let ste = match self.stes.get(&source) {
            Some(ste) => *ste,
            None => self.load_ste(source)?,
        };
        match ste.illegal(&self.features) {
            None => Ok(ste),
            Some(_) => Err(Fault::config(id::C_BAD_STE)),
        }
    }

    fn load_ste(&mut self, source: u32) -> Result<Ste, Fault> {
        let at = self.locate_ste(source)?;
        let snoops = self.tables_snoop();
        let mut words = [0; ste::WORDS];
        for (n, word) in words.iter_mut().enumerate() {
            *word = self.fetch(at + 8 * n as u64, snoops).map_err(|at| Fault::fetch(id::F_STE_FETCH, at))?;
        }
        let ste = Ste(words);
        self.judge_ste(source, at, &ste);
        self.stes.insert(source, ste);
        Ok(ste)
    }

    fn locate_ste(&mut self, source: u32) -> Result<u64, Fault> {
        let bad = Fault::config(id::C_BAD_STREAMID);
        let config = u64::from(self.regs.strtab_cfg);
        let log2size = cfg::LOG2SIZE.of(config) as u32;
        let usable = log2size.min(self.features.sid_bits.into());
        if usable < 32 && source >> usable != 0 {
            return Err(bad);
        }
        let base = strtab_base::ADDR.in_place(self.regs.strtab_base);
        let two_level = cfg::FMT.of(config) == cfg::fmt::TWO_LEVEL && self.features.two_level_streams;
        if !two_level {
            let align = (1u64 << (log2size + 6).min(63)) - 1;
            return Ok((base & !align) + u64::from(source) * ste::BYTES as u64);
        }
        let split = match cfg::SPLIT.of(config) as u32 {
            split @ (6 | 8 | 10) => split,
            _ => 6,
        };
        let index = source >> split;
        let align = (1u64 << (log2size.saturating_sub(split) + 3).max(6)) - 1;
        let descriptor = match self.l1stds.get(&index) {
            Some(descriptor) => *descriptor,
            None => {
                let at = (base & !align) + u64::from(index) * l1std::BYTES as u64;
                let descriptor =
                    self.fetch(at, self.tables_snoop()).map_err(|at| Fault::fetch(id::F_STE_FETCH, at))?;
                self.l1stds.insert(index, descriptor);
                descriptor
            }
        };
        let span = l1std::SPAN.of(descriptor) as u32;
        let low = source & ((1 << split) - 1);
        if span == 0 || span > 11 || span > split + 1 || low >> (span - 1) != 0 {
            return Err(bad);
        }
        let pointer = l1std::L2PTR.in_place(descriptor);
        let mask = (64u64 << (span - 1)) - 1;
        if pointer & mask != 0 {
            self.wrong(
                "IHI 0070 G.b 5.1",
                format!("L1STD {index:#x} points at {pointer:#x}, not aligned to its array"),
            );
        }
        Ok((pointer & !mask) + u64::from(low) * ste::BYTES as u64)
    }

    /// Compares an entry with what hardware read last.
    fn judge_ste(&mut self, source: u32, at: u64, ste: &Ste) {
        if let Some((word, bits)) = ste.reserved()
            && ste.get(ste::V) == 1
        {
            self.wrong(
                "IHI 0070 G.b 5.2",
                format!("STE {source:#x} has Reserved bits {bits:#x} of word {word} set"),
            );
        }
        if ste.get(ste::V) == 1 && ste.illegal(&self.features).is_none() && ste.stage1() {
            let pointer = ste.cd_pointer();
            if pointer & ((1 << ste.cd_table_align(&self.features)) - 1) != 0 {
                self.wrong(
                    "IHI 0070 G.b 5.2 S1Fmt",
                    format!("STE {source:#x}: S1ContextPtr {pointer:#x} is not aligned to its table"),
                );
            }
        }
        let before = self.seen_stes.insert(source, Seen { at, what: *ste });
        if let Some(before) = before.filter(|_| self.eager) {
            let (old, new) = (before.what.used(), ste.used());
            let changed: Vec<usize> =
                (0..ste::WORDS).filter(|&n| (before.what.0[n] ^ ste.0[n]) & (old[n] | new[n]) != 0).collect();
            if before.at == at && changed.len() > 1 {
                self.wrong(
                    "IHI 0070 G.b 3.21.3",
                    format!(
                        "STE {source:#x} changed in words {changed:?} between two states that hardware may read, \
                         while one 64-bit word at a time is atomic"
                    ),
                );
            }
            let same_cds = ste.illegal(&self.features).is_none()
                && ste.stage1()
                && ste.cd_pointer() == before.what.cd_pointer();
            if !same_cds {
                self.seen_cds.retain(|(stream, _), _| *stream != source);
            }
        }
        self.judge_vmid(source, ste);
    }

    /// Streams of one VMID share one stage 2 (5.2.1).
    fn judge_vmid(&self, source: u32, ste: &Ste) {
        if ste.illegal(&self.features).is_some() || !ste.stage2() {
            return;
        }
        let walk = ste.stage2_walk(&self.features);
        for (other, cached) in &self.stes {
            let same = *other != source
                && cached.illegal(&self.features).is_none()
                && cached.stage2()
                && cached.vmid(&self.features) == ste.vmid(&self.features);
            if same && cached.stage2_walk(&self.features) != walk {
                self.wrong(
                    "IHI 0070 G.b 5.2.1",
                    format!(
                        "streams {source:#x} and {other:#x} have VMID {:#x} with different stage 2 tables",
                        ste.vmid(&self.features)
                    ),
                );
            }
        }
    }

    /// A substream's descriptor: from the cache, else from memory, through stage 2 where there is one.
    pub(super) fn cd(&mut self, ste: &Ste, substream: u32, asker: &Asker) -> Result<Cd, Fault> {
        let source = asker.via.source;
        self.know(source, substream);
        let cd = match self.cds.get(&(source, substream)) {
            Some(cd) => *cd,
            None => self.load_cd(ste, substream, asker)?,
        };
        let world = ste.world(&self.features, self.e2h());
        match cd.illegal(&self.features, world) {
            None => Ok(cd),
            Some(_) => Err(Fault::config(id::C_BAD_CD)),
        }
    }

    fn load_cd(&mut self, ste: &Ste, substream: u32, asker: &Asker) -> Result<Cd, Fault> {
        let source = asker.via.source;
        let table = ste.cd_pointer() & !((1u64 << ste.cd_table_align(&self.features)) - 1);
        let at = match ste.cd_table(&self.features) {
            CdTable::Linear => table + u64::from(substream) * cd::BYTES as u64,
            CdTable::TwoLevel { split } => {
                let index = substream >> split;
                let descriptor = match self.l1cds.get(&(source, index)) {
                    Some(descriptor) => *descriptor,
                    None => {
                        let at = table + u64::from(index) * l1cd::BYTES as u64;
                        let descriptor = self.fetch_cd_word(ste, at, asker)?;
                        self.l1cds.insert((source, index), descriptor);
                        descriptor
                    }
                };
                if l1cd::V.of(descriptor) == 0 {
                    return Err(Fault::config(id::C_BAD_SUBSTREAMID));
                }
                let pointer = l1cd::L2PTR.in_place(descriptor);
                let leaf = (64u64 << split) - 1;
                if self.beyond(pointer) {
                    return Err(Fault::config(id::C_BAD_SUBSTREAMID));
                }
                if pointer & leaf != 0 {
                    self.wrong(
                        "IHI 0070 G.b 5.2 S1Fmt",
                        format!("L1CD {index:#x} of stream {source:#x} points at {pointer:#x}, which is not aligned"),
                    );
                }
                let low = substream & ((1 << split) - 1);
                (pointer & !leaf) + u64::from(low) * cd::BYTES as u64
            }
        };
        let mut words = [0; cd::WORDS];
        for (n, word) in words.iter_mut().enumerate() {
            *word = self.fetch_cd_word(ste, at + 8 * n as u64, asker)?;
        }
        let cd = Cd(words);
        self.judge_cd(source, substream, ste, at, &cd);
        self.cds.insert((source, substream), cd);
        Ok(cd)
    }

    fn fetch_cd_word(&mut self, ste: &Ste, at: u64, asker: &Asker) -> Result<u64, Fault> {
        let at = if ste.stage2() { self.through_second(ste, at, asker, class::CD)? } else { at };
        self.fetch(at, ste.cds_snoop()).map_err(|at| Fault::fetch(id::F_CD_FETCH, at))
    }

    fn judge_cd(&mut self, source: u32, substream: u32, ste: &Ste, at: u64, cd: &Cd) {
        if let Some((word, bits)) = cd.reserved()
            && cd.has(cd::V)
        {
            let what = format!(
                "CD {substream:#x} of stream {source:#x} has Reserved bits {bits:#x} of word {word} set"
            );
            self.wrong("IHI 0070 G.b 5.4", what);
        }
        let before = self.seen_cds.insert((source, substream), Seen { at, what: *cd });
        if let Some(before) = before.filter(|before| before.at == at && self.eager) {
            let (old, new) = (before.what.used(), cd.used());
            let changed: Vec<usize> =
                (0..cd::WORDS).filter(|&n| (before.what.0[n] ^ cd.0[n]) & (old[n] | new[n]) != 0).collect();
            if changed.len() > 1 {
                self.wrong(
                    "IHI 0070 G.b 3.21.3",
                    format!(
                        "CD {substream:#x} of stream {source:#x} changed in words {changed:?} between two states that \
                         hardware may read, while one 64-bit word at a time is atomic"
                    ),
                );
            }
        }
        let world = ste.world(&self.features, self.e2h());
        if cd.illegal(&self.features, world).is_some() {
            return;
        }
        // One ASID, one address space (5.4.1).
        for ((stream, other), cached) in &self.cds {
            let Some(theirs) = self.stes.get(stream) else { continue };
            let same = (*stream, *other) != (source, substream)
                && theirs.illegal(&self.features).is_none()
                && theirs.stage1()
                && theirs.world(&self.features, self.e2h()) == world
                && theirs.vmid(&self.features) == ste.vmid(&self.features)
                && cached.illegal(&self.features, world).is_none()
                && cached.asid(world) == cd.asid(world);
            if same && cached.space() != cd.space() {
                self.wrong(
                    "IHI 0070 G.b 5.4.1",
                    format!(
                        "CD {substream:#x} of stream {source:#x} and CD {other:#x} of stream {stream:#x} have ASID \
                         {:?} with different tables",
                        cd.asid(world)
                    ),
                );
            }
        }
    }

    /// Fetches what a stream's configuration reaches and is not cached: hardware may, at any time (3.21.3).
    pub(super) fn prefetch(&mut self, source: u32) {
        use ioward_spec::smmuv3::registers::cr0;
        if !self.eager || !self.is_enabled(cr0::SMMUEN) || self.gone {
            return;
        }
        let ste = match self.stes.get(&source) {
            Some(ste) => *ste,
            None => match self.load_ste(source) {
                Ok(ste) => ste,
                Err(_) => return,
            },
        };
        if ste.illegal(&self.features).is_some() || !ste.stage1() || ste.stage2() {
            return;
        }
        let limit = 1u32 << ste.cd_bits(&self.features).min(20);
        let known = self.known.get(&source).cloned().unwrap_or_default();
        let first = (0..limit.min(PREFETCHED)).filter(|substream| !known.contains(substream));
        let all: Vec<u32> = first.chain(known.iter().copied().filter(|&s| s < limit)).collect();
        for substream in all {
            if !self.cds.contains_key(&(source, substream)) {
                let _ = self.load_cd(&ste, substream, &Asker::speculative(source, substream));
            }
        }
    }

    /// Prefetches for every stream that is known to be there.
    pub(super) fn prefetch_all(&mut self) {
        for source in self.known.keys().copied().collect::<Vec<_>>() {
            self.prefetch(source);
        }
    }

    /// Looks for tables that hardware may still read but that have been freed.
    pub(super) fn audit(&self) {
        for (space, table) in self.tlb.tables() {
            let at = ioward_types::PhysAddr(table);
            if self.memory.span().contains(at) && !self.memory.is_allocated(at) {
                self.wrong(
                    "IHI 0070 G.b 3.21.1",
                    format!(
                        "the table at {table:#x} was freed while a walk may still go on from it ({space:?})"
                    ),
                );
            }
        }
        for (source, ste) in &self.stes {
            let at = ioward_types::PhysAddr(ste.cd_pointer());
            let reaches = ste.illegal(&self.features).is_none() && ste.stage1() && !ste.stage2();
            if reaches && self.memory.span().contains(at) && !self.memory.is_allocated(at) {
                self.wrong(
                    "IHI 0070 G.b 3.21.3",
                    format!("the CD table at {at} was freed while the cached STE {source:#x} points at it"),
                );
            }
        }
    }
}
