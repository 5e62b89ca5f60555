//! Making caches forget: the IOMMU's first, then devices' (48882 §2.4.2 to §2.4.4).

use super::command::Command;
use super::command_buffer::Batch;
use super::domain_id::{DomainIds, Tagged, Target};
use super::driver::AmdVi;
use super::event_log::Told;
use super::invalidate::{Block, blocks};
use super::source::{Rid, Source};
use alloc::vec::Vec;
use ioward_core::driver::{Flush, Hung};
use ioward_types::{Mmio, Pasid, Platform};

/// How often caches are told at most before a log that drops events is taken for a device that does not answer.
const ASKED_AGAIN: usize = 8;

/// What caches may hold of a source and must forget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Forget {
    /// Its device table entry.
    Entry,
    /// Everything under a domain ID, of PASIDs too: an address of the domain's own names every translation built on it,
    /// and all of them name all (48882 §2.4.3).
    Domain(u16),
    /// Everything of one PASID under a domain ID; PASID zero: of requests without one.
    Guest(Target),
    /// What the device itself cached of one PASID, or of requests without one.
    Device(Option<Pasid>),
}

impl<M: Mmio, P: Platform> AmdVi<M, P> {
    /// Whether a source's entry lets the device cache translations, so that there may be something to forget. A device
    /// that was never let is not asked: one with ATS off does not answer.
    pub(super) fn caches_ahead(&self, key: u32) -> bool {
        self.table.load(key).is_ats()
    }

    /// Tells caches to forget, and waits until they have. `ats`: the device's own too.
    pub(super) fn forget(&self, key: u32, ats: bool, what: &[Forget]) -> Result<(), Hung> {
        if what.is_empty() {
            return Ok(());
        }
        let source = key as u16;
        self.until_answered(ats, || {
            self.commands.run(&self.unit, |batch| {
                for forget in what {
                    batch.push(match *forget {
                        Forget::Entry => Command::invalidate_devtab_entry(source),
                        Forget::Domain(domain) => {
                            Command::invalidate_iommu_pages(domain, None, Block::All, true)
                        }
                        Forget::Guest(Target { domain, pasid }) => {
                            Command::invalidate_iommu_pages(domain, Some(Pasid(pasid)), Block::All, true)
                        }
                        Forget::Device(_) => continue,
                    })?;
                }
                // The IOMMU first: a device that asks again must not be answered from what was to be forgotten.
                for forget in what.iter().filter(|_| ats) {
                    if let Forget::Device(pasid) = *forget {
                        batch.push(Command::invalidate_iotlb_pages(source, pasid, Block::All))?;
                    }
                }
                Ok(())
            })
        })
    }

    /// Asks, and finds out whether every device that was asked answered: the IOMMU completes the wait either way, and logs
    /// an event. Where events were dropped meanwhile, nobody knows; then everything is asked again, a few times, since a
    /// device that faults on and on must not make the flushes of others fail.
    fn until_answered(&self, ats: bool, ask: impl Fn() -> Result<(), Hung>) -> Result<(), Hung> {
        if !ats {
            return ask();
        }
        for _ in 0..ASKED_AGAIN {
            self.events.make_room(&self.unit);
            let before = self.events.told(&self.unit);
            ask()?;
            let Told { timeouts, gaps } = self.events.told(&self.unit);
            if timeouts != before.timeouts {
                break;
            }
            if gaps == before.gaps {
                return Ok(());
            }
        }
        let (iommu, waited) = (self.unit.id, self.unit.patience);
        Err(Hung { iommu, what: "invalidation of a device's IOTLB", waited })
    }

    /// What caches may hold of an entry of which all that changes is whether there are PASIDs.
    pub(super) fn entry_alone(&self, source: &Source<P>) -> Vec<Forget> {
        let mut list = source.owed.clone();
        list.push(Forget::Entry);
        list
    }

    /// What caches may hold of a source as it is now, what is behind its PASIDs left out, and what was never confirmed.
    pub(super) fn without_pasids(&self, source: &Source<P>) -> Vec<Forget> {
        let mut list = self.entry_alone(source);
        let guest = source.behind.as_ref().filter(|_| source.uses_guest()).map(|behind| behind.domain);
        match (source.rid, guest) {
            (Rid::Identity, None) => list.push(Forget::Domain(self.fixed.identity)),
            // Beside PASIDs, identity is cached under their ID, and under that ID it is right for as long as they have it:
            // what they go through is below it.
            (Rid::Identity, Some(_)) => {}
            (Rid::Host { tag, .. }, _) => list.push(Forget::Domain(tag)),
            (Rid::Guest { .. }, Some(domain)) => list.push(Forget::Guest(Target { domain, pasid: 0 })),
            // A blocked entry grants nothing that could be cached, and a refusal that is cached is under an ID of which
            // everything is refused.
            (Rid::Blocked, _) | (Rid::Guest { .. }, None) => {}
        }
        list.push(Forget::Device(None));
        list
    }

    /// What caches may hold of a source as it is now.
    pub(super) fn everything(&self, source: &Source<P>) -> Vec<Forget> {
        let mut list = self.without_pasids(source);
        if let (Some(behind), false) = (&source.behind, source.pasids.is_empty()) {
            let all = Forget::Domain(behind.domain);
            list.retain(|forget| {
                *forget != all && !matches!(forget, Forget::Guest(at) if at.domain == behind.domain)
            });
            list.push(all);
            list.extend(source.pasids.keys().map(|pasid| Forget::Device(Some(Pasid(*pasid)))));
        }
        list
    }

    /// What caches may hold of one place in a guest CR3 table, the entry that leads there staying as it is. `held`:
    /// something was in that place.
    pub(super) fn place(&self, target: Target, held: bool) -> Vec<Forget> {
        if !held && !self.features.np_cache {
            return Vec::new();
        }
        let pasid = (target.pasid != 0).then_some(Pasid(target.pasid));
        alloc::vec![Forget::Guest(target), Forget::Device(pasid)]
    }

    /// One batch for many flushes.
    pub(super) fn flush_all(&self, what: &[Flush<'_>]) -> Result<(), Hung> {
        self.until_answered(what.iter().any(|flush| !flush.atc.is_empty()), || self.flush_once(what))
    }

    fn flush_once(&self, what: &[Flush<'_>]) -> Result<(), Hung> {
        // Tables were written before; where they hang is read after: attaching adds the place, fences, installs.
        self.unit.platform.fence();
        let ticket = {
            let domains = self.domains.lock();
            self.commands.issue(&self.unit, |batch| {
                for flush in what {
                    flush_iommu(batch, &domains, flush)?;
                }
                for flush in what {
                    for target in flush.atc {
                        let Ok(source) = u16::try_from(target.source.0) else { continue };
                        for block in blocks(flush.span) {
                            batch.push(Command::invalidate_iotlb_pages(source, target.pasid, block))?;
                        }
                    }
                }
                Ok(())
            })?
        };
        self.commands.wait(&self.unit, ticket)
    }
}

/// The commands of one flush that are the IOMMU's own. A tag that is not ours names nothing that could be cached.
fn flush_iommu<M: Mmio, P: Platform>(
    batch: &mut Batch<'_, M, P>,
    domains: &DomainIds,
    flush: &Flush<'_>,
) -> Result<(), Hung> {
    let Ok(tag) = u16::try_from(flush.tag.0) else { return Ok(()) };
    for block in blocks(flush.span) {
        match domains.tags.get(&tag) {
            Some(Tagged::Host) => {
                batch.push(Command::invalidate_iommu_pages(tag, None, block, flush.tables_went))?;
            }
            Some(Tagged::Guest(targets)) => {
                for Target { domain, pasid } in targets {
                    let pasid = Some(Pasid(*pasid));
                    batch.push(Command::invalidate_iommu_pages(*domain, pasid, block, flush.tables_went))?;
                }
            }
            None => {}
        }
    }
    Ok(())
}
