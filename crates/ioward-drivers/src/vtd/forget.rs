//! Making caches forget: entries first, then translations, then devices' own (6.5.3).

use super::descriptor::Command;
use super::domain_id::{DomainIds, Tagged, Target};
use super::driver::VtD;
use super::invalidation::Batch;
use super::ranges::{Block, blocks};
use super::source::{Held, RID_PASID, Source};
use alloc::vec::Vec;
use ioward_core::driver::{Flush, Hung};
use ioward_types::{Mmio, Pasid, Platform, SourceId};

/// log2 of the largest range that a device is told of as such; a larger one is everything.
const LARGEST_OF_DEVICES: u8 = 48;

/// What caches may hold of a source and must forget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Forget {
    /// Its context entry, in legacy mode as of this domain; zero is the domain of entries that were not present (6.1).
    Context(u16),
    /// A PASID table entry, as of a domain; zero as above.
    Pasid(Target),
    /// Everything under a domain.
    Domain(u16),
    /// Everything of one PASID under a domain; zero: of requests without one.
    Behind(Target),
    /// Every PASID table entry there is: those of tables that somebody else made are not known one by one.
    Pasids,
    /// What the device itself cached of one PASID, or of requests without one.
    Device(Option<Pasid>),
}

impl Forget {
    /// What is forgotten before what: each cache is filled from those before it.
    fn phase(&self) -> u8 {
        match self {
            Self::Context(_) => 0,
            Self::Pasid(_) | Self::Pasids => 1,
            Self::Domain(_) | Self::Behind(_) => 2,
            Self::Device(_) => 3,
        }
    }
}

impl<M: Mmio, P: Platform> VtD<M, P> {
    /// Makes what was stored before visible to the unit where that takes a command (6.8, CAP.RWBF). An invalidation of
    /// entries or translations does that by itself.
    pub(super) fn flush_write_buffer(&self) -> Result<(), Hung> {
        if self.features.write_buffer { self.unit.flush_write_buffer() } else { Ok(()) }
    }

    /// Tells caches to forget, and waits until they have. `ats`: the device's own too.
    pub(super) fn forget(&self, source: SourceId, ats: bool, what: &[Forget]) -> Result<(), Hung> {
        self.unit.platform.fence();
        if what.is_empty() {
            return self.flush_write_buffer();
        }
        self.invalidation.run(&self.unit, |batch| {
            for phase in 0..4 {
                let mut of_phase =
                    what.iter().filter(|forget| forget.phase() == phase && (ats || phase < 3)).peekable();
                if of_phase.peek().is_some() {
                    batch.fence()?;
                }
                for forget in of_phase {
                    let block = Block::All;
                    batch.push(match *forget {
                        Forget::Context(domain) => Command::Context { source, domain },
                        Forget::Pasid(target) => Command::Pasid(target),
                        Forget::Pasids => Command::Pasids,
                        Forget::Domain(domain) => Command::Domain { domain, block, leaf: false },
                        Forget::Behind(at) => Command::Behind { at, block, leaf: false },
                        Forget::Device(pasid) => Command::Device { source, pasid, block },
                    })?;
                }
            }
            Ok(())
        })
    }

    /// Under what the translations of something are cached.
    fn translations(&self, pasid: u32, held: &Held) -> Forget {
        let identity = self.ways.identity;
        match held.by_pasid(pasid, identity, self.features.scalable) {
            Some(target) => Forget::Behind(target),
            None => Forget::Domain(held.domain(identity)),
        }
    }

    /// What caches may hold of what is behind one PASID, its context entry left out.
    pub(super) fn behind(&self, pasid: u32, held: &Held) -> Vec<Forget> {
        let mut list = Vec::new();
        if self.features.scalable {
            list.push(Forget::Pasid(Target { domain: held.domain(self.ways.identity), pasid }));
        }
        list.push(self.translations(pasid, held));
        // On identity a device is answered nothing in legacy mode, and its translated requests are refused (9.3, TT).
        if self.features.scalable || *held != Held::Identity {
            list.push(Forget::Device((pasid != RID_PASID).then_some(Pasid(pasid))));
        }
        list
    }

    /// What caches may hold of an entry that is not present, where they hold such (CAP.CM): nothing else need be told
    /// when it becomes present.
    pub(super) fn absent(&self, what: Forget) -> Vec<Forget> {
        if self.features.caching_mode { alloc::vec![what] } else { Vec::new() }
    }

    /// What caches may hold of a source as it is now.
    pub(super) fn everything(&self, source: &Source<P>) -> Vec<Forget> {
        let mut list = source.owed.clone();
        if source.is_open() {
            let domain = match (self.features.scalable, &source.rid) {
                (false, Some(held)) => held.domain(self.ways.identity),
                _ => 0,
            };
            list.push(Forget::Context(domain));
        }
        for (pasid, held) in source.all() {
            for forget in self.behind(pasid, &held) {
                let covered = matches!(forget, Forget::Pasid(_)) && list.contains(&Forget::Pasids);
                if !covered && !list.contains(&forget) {
                    list.push(forget);
                }
            }
        }
        list
    }

    /// One batch for many flushes.
    pub(super) fn flush_all(&self, what: &[Flush<'_>]) -> Result<(), Hung> {
        // Tables were written before; where they hang is read after: attaching adds the place, fences, installs.
        self.unit.platform.fence();
        self.invalidation.run(&self.unit, |batch| {
            let largest = self.features.page_selective.map(|mask| mask + 12);
            {
                let domains = self.domains.lock();
                for flush in what {
                    // In caching mode what was not present may be cached, links too, and this may follow a map.
                    let leaf = !flush.tables_went && !self.features.caching_mode;
                    flush_unit(batch, &domains, flush, largest, leaf)?;
                }
            }
            if !self.features.device_tlb || what.iter().all(|flush| flush.atc.is_empty()) {
                return Ok(());
            }
            // The unit first: a device that asks again must not be answered from what was to be forgotten.
            batch.fence()?;
            for flush in what {
                for target in flush.atc {
                    for block in blocks(flush.span, Some(LARGEST_OF_DEVICES)) {
                        let (source, pasid) = (target.source, target.pasid);
                        batch.push(Command::Device { source, pasid, block })?;
                    }
                }
            }
            Ok(())
        })
    }
}

/// The commands of one flush that are the unit's own. A tag that is not ours names nothing that could be cached.
fn flush_unit<M: Mmio, P: Platform>(
    batch: &mut Batch<'_, M, P>,
    domains: &DomainIds,
    flush: &Flush<'_>,
    largest: Option<u8>,
    leaf: bool,
) -> Result<(), Hung> {
    let Ok(domain) = u16::try_from(flush.tag.0) else { return Ok(()) };
    for block in blocks(flush.span, largest) {
        match domains.tags.get(&domain) {
            Some(Tagged::Second) => batch.push(Command::Domain { domain, block, leaf })?,
            Some(Tagged::First(pasids)) => {
                for &pasid in pasids.keys() {
                    batch.push(Command::Behind { at: Target { domain, pasid }, block, leaf })?;
                }
            }
            None => {}
        }
    }
    Ok(())
}
