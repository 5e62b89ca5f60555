//! Fetching root, context, PASID directory and PASID entries (3.4, 6.2.2, 6.2.3).

use super::{
    cache::{Context, ContextWords, Origin, PasidEntry},
    fault::{Fault, Stop},
    meaning::{self, PasidMeaning, PasidTables, SourceMeaning},
    unit::Unit,
};
use ioward_spec::vtd::{context, fault::reason, pasid, registers::rtaddr, root};
use ioward_types::PhysAddr;

impl Unit {
    fn scalable_mode(&self) -> bool {
        self.registers.mode() == rtaddr::ttm::SCALABLE
    }

    fn origins(&self, at: u64, words: &[u64], from: &mut Vec<Origin>) {
        from.extend(words.iter().enumerate().map(|(n, &value)| Origin {
            at: PhysAddr(at + 8 * n as u64),
            value,
            mask: u64::MAX,
            coherent: self.config.coherent,
        }));
    }

    /// Where a source's context entry lies. `Err`: the fault reason.
    fn find_root(&self, source: u16, from: &mut Vec<Origin>) -> Result<u64, u64> {
        let (bus, function) = (u64::from(source >> 8), u64::from(source & 0xff));
        let at = rtaddr::RTA.in_place(self.registers.root) + bus * root::BYTES as u64;
        let scalable = self.scalable_mode();
        let pick = |legacy, sm| if scalable { sm } else { legacy };
        let words: [u64; root::WORDS] = self.read_words(at).map_err(|error| {
            self.violation("VT-d 9.1", format!("the root table: {error}"));
            pick(reason::ROOT_ACCESS, reason::SM_ROOT_ACCESS)
        })?;
        self.origins(at, &words, from);
        let reserved = if scalable { root::scalable::RESERVED } else { root::legacy::RESERVED };
        let upper = scalable && function >= context::scalable::ENTRIES as u64;
        let (present, table) = match (scalable, upper) {
            (false, _) => (root::legacy::P, root::legacy::CTP),
            (true, false) => (root::scalable::LP, root::scalable::LCTP),
            (true, true) => (root::scalable::UP, root::scalable::UCTP),
        };
        if !present.is_set(&words) {
            return Err(pick(reason::ROOT_NOT_PRESENT, reason::SM_ROOT_NOT_PRESENT));
        }
        let wrong = words.iter().zip(reserved).any(|(word, reserved)| word & reserved != 0);
        if wrong || table.get_in_place(&words) & self.config.beyond_host() != 0 {
            self.violation(
                if scalable { "VT-d 9.2" } else { "VT-d 9.1" },
                format!("root entry of bus {bus:#x}, {words:#x?}: reserved bits"),
            );
            return Err(pick(reason::ROOT_RESERVED, reason::SM_ROOT_RESERVED));
        }
        let table = table.get_in_place(&words);
        Ok(if scalable {
            table + function % context::scalable::ENTRIES as u64 * context::scalable::BYTES as u64
        } else {
            table + function * context::legacy::BYTES as u64
        })
    }

    /// A source's context entry as memory holds it for hardware to see, its meaning, and what it was read from.
    pub fn fetch_context(&self, source: u16) -> (Option<ContextWords>, SourceMeaning, Vec<Origin>) {
        let mut from = Vec::new();
        let at = match self.find_root(source, &mut from) {
            Ok(at) => at,
            Err(reason) => return (None, SourceMeaning::NotPresent(reason), from),
        };
        if self.scalable_mode() {
            match self.read_words(at) {
                Ok(words) => {
                    self.origins(at, &words, &mut from);
                    (Some(ContextWords::Scalable(words)), meaning::scalable(&self.config, &words), from)
                }
                Err(_) => (None, SourceMeaning::NotPresent(reason::SM_CONTEXT_ACCESS), from),
            }
        } else {
            match self.read_words(at) {
                Ok(words) => {
                    self.origins(at, &words, &mut from);
                    // Software's own bits may change as it likes.
                    if let Some(last) = from.last_mut() {
                        last.mask = !context::legacy::IGN.mask();
                    }
                    (Some(ContextWords::Legacy(words)), meaning::legacy(&self.config, &words), from)
                }
                Err(_) => (None, SourceMeaning::NotPresent(reason::CONTEXT_ACCESS), from),
            }
        }
    }

    /// What a source's context entry means to the unit: cached, or read and cached.
    pub fn find_context(&mut self, source: u16) -> Result<SourceMeaning, Stop> {
        if let Some(cached) = self.caches.contexts.get(&source) {
            return match &cached.words {
                Ok(ContextWords::Legacy(words)) => Ok(meaning::legacy(&self.config, words)),
                Ok(ContextWords::Scalable(words)) => Ok(meaning::scalable(&self.config, words)),
                Err(reason) => Err(Stop::Fault(Fault::new(*reason))),
            };
        }
        if self.caches.poisoned_context() {
            return Err(Stop::Poisoned("context entry"));
        }
        let scalable = self.scalable_mode();
        let (words, meaning, from) = self.fetch_context(source);
        // FPD counts in an entry that is not present too.
        let silent = match words {
            Some(ContextWords::Legacy(words)) => context::legacy::FPD.is_set(&words),
            Some(ContextWords::Scalable(words)) => context::scalable::FPD.is_set(&words),
            None => false,
        };
        let reason = match meaning {
            SourceMeaning::Translation(_) | SourceMeaning::Pasids(_) => None,
            SourceMeaning::NotPresent(reason) => {
                if matches!(reason, reason::CONTEXT_ACCESS | reason::SM_CONTEXT_ACCESS) {
                    self.violation("VT-d 9.1", format!("the context table of {source:#x} is not in memory"));
                }
                Some(reason)
            }
            SourceMeaning::Invalid(why) => {
                let section = if scalable { "VT-d 9.4" } else { "VT-d 9.3" };
                self.violation(section, format!("context entry of {source:#x}: {why}"));
                Some(why.reason)
            }
        };
        let domain = match meaning {
            SourceMeaning::Translation(translation) => translation.domain,
            _ => 0,
        };
        self.check_domain(domain, matches!(meaning, SourceMeaning::Translation(_)));
        match (words, reason) {
            (Some(words), None) => {
                self.caches.contexts.insert(source, Context { words: Ok(words), domain, scalable, from });
            }
            (_, Some(reason)) if self.config.caching_mode => {
                self.caches
                    .contexts
                    .insert(source, Context { words: Err(reason), domain: 0, scalable, from });
            }
            _ => {}
        }
        match reason {
            None => Ok(meaning),
            Some(reason) => Err(Stop::Fault(Fault { reason, silent })),
        }
    }

    /// With caching mode domain ID zero is the unit's own (6.1).
    fn check_domain(&self, domain: u16, used: bool) {
        if used && domain == 0 && self.config.caching_mode {
            self.violation("VT-d 6.1", "domain ID 0 is used with caching mode");
        }
    }

    /// A PASID's entry as memory holds it for hardware to see, its meaning, what it was read from, and whether the
    /// directory entry says that faults are not recorded.
    pub fn fetch_pasid(
        &self,
        tables: &PasidTables,
        number: u32,
    ) -> (Option<[u64; pasid::entry::WORDS]>, PasidMeaning, Vec<Origin>, bool) {
        use pasid::directory;
        let mut from = Vec::new();
        let at = tables.directory + u64::from(number >> pasid::TABLE_BITS) * directory::BYTES as u64;
        let Ok([link]) = self.read_words(at) else {
            return (None, PasidMeaning::NotPresent(reason::SM_DIRECTORY_ACCESS), from, false);
        };
        self.origins(at, &[link], &mut from);
        let silent = directory::FPD.in_place(link) != 0;
        if directory::P.in_place(link) == 0 {
            return (None, PasidMeaning::NotPresent(reason::SM_DIRECTORY_NOT_PRESENT), from, silent);
        }
        if link & (directory::RESERVED | self.config.beyond_host()) != 0 {
            let why = meaning::Invalid {
                reason: reason::SM_DIRECTORY_RESERVED,
                what: "reserved bits of the directory entry",
            };
            return (None, PasidMeaning::Invalid(why), from, silent);
        }
        let index = number as usize % pasid::entry::ENTRIES;
        let at = directory::SMPTBLPTR.in_place(link) + (index * pasid::entry::BYTES) as u64;
        match self.read_words(at) {
            Ok(words) => {
                self.origins(at, &words, &mut from);
                let silent = silent || pasid::entry::FPD.is_set(&words);
                (Some(words), meaning::pasid(&self.config, &words), from, silent)
            }
            Err(_) => (None, PasidMeaning::NotPresent(reason::SM_PASID_ACCESS), from, silent),
        }
    }

    /// What a PASID's entry means to the unit: cached, or read and cached.
    pub fn find_pasid(
        &mut self,
        source: u16,
        tables: &PasidTables,
        number: u32,
    ) -> Result<meaning::Translation, Stop> {
        if let Some(cached) = self.caches.pasids.get(&(source, number)) {
            let silent = cached.silent;
            return match &cached.words {
                Ok(words) => match meaning::pasid(&self.config, words) {
                    PasidMeaning::Translation(translation) => Ok(translation),
                    PasidMeaning::NotPresent(reason) => Err(Stop::Fault(Fault { reason, silent })),
                    PasidMeaning::Invalid(why) => Err(Stop::Fault(Fault { reason: why.reason, silent })),
                },
                Err(reason) => Err(Stop::Fault(Fault { reason: *reason, silent })),
            };
        }
        if self.caches.poisoned_pasid() {
            return Err(Stop::Poisoned("PASID entry"));
        }
        let (words, meaning, from, silent) = self.fetch_pasid(tables, number);
        let reason = match meaning {
            PasidMeaning::Translation(_) => None,
            PasidMeaning::NotPresent(reason) => {
                if matches!(reason, reason::SM_DIRECTORY_ACCESS | reason::SM_PASID_ACCESS) {
                    self.violation("VT-d 9.5", format!("the PASID tables of {source:#x} are not in memory"));
                }
                Some(reason)
            }
            PasidMeaning::Invalid(why) => {
                let section = if words.is_some() { "VT-d 9.6" } else { "VT-d 9.5" };
                self.violation(section, format!("entry of PASID {number:#x} of {source:#x}: {why}"));
                Some(why.reason)
            }
        };
        let key = (source, number);
        match (words, reason, meaning) {
            (Some(words), None, PasidMeaning::Translation(translation)) => {
                self.check_domain(translation.domain, true);
                let entry = PasidEntry { words: Ok(words), domain: translation.domain, from, silent };
                self.caches.pasids.insert(key, entry);
                Ok(translation)
            }
            (_, reason, _) => {
                let reason = reason.unwrap_or(reason::SM_PASID_ACCESS);
                if self.config.caching_mode {
                    self.caches
                        .pasids
                        .insert(key, PasidEntry { words: Err(reason), domain: 0, from, silent });
                }
                Err(Stop::Fault(Fault { reason, silent }))
            }
        }
    }
}
