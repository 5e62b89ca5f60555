//! What a CMD_SYNC completes: caches forget, devices forget, and hardware looks ahead again (IHI 0070 G.b, 4.3.8, 4.7.3).

use super::{
    commands::{CommandError, Deferred},
    state::State,
    ste::{CdTable, World},
    tlb::{Asids, Scope, Via},
};
use crate::model::{Access, Request};
use ioward_spec::smmuv3::registers::{cmdq_cons::cerror, cr0, strtab_base_cfg as cfg};
use ioward_types::{Iova, Pasid, SourceId};

impl State {
    /// Everything consumed so far takes effect.
    pub(super) fn complete(&mut self) -> Result<(), CommandError> {
        let mut refills: Vec<Via> = Vec::new();
        let mut timed_out = false;
        for deferred in std::mem::take(&mut self.deferred) {
            match deferred {
                Deferred::Tlb(scope) => {
                    refills.extend(self.tlb.invalidate(&scope));
                    self.heal(&scope);
                }
                Deferred::Atc { source, what } => {
                    let sinks = self.atcs.get(&source).cloned().unwrap_or_default();
                    timed_out |= !sinks.iter().all(|sink| sink.invalidate(what));
                }
                configuration => self.forget(&configuration),
            }
        }
        self.prefetch_all();
        self.refill(refills);
        self.audit();
        if timed_out { Err(cerror::ATC_INV_SYNC) } else { Ok(()) }
    }

    fn forget(&mut self, what: &Deferred) {
        match *what {
            Deferred::Ste { source, all_levels } => {
                self.know(source, 0);
                self.stes.remove(&source);
                self.cds.retain(|(stream, _), _| *stream != source);
                self.l1cds.retain(|(stream, _), _| *stream != source);
                if all_levels {
                    // The smallest split: whatever of the cached descriptors located this stream is among them.
                    let split = self.split();
                    self.l1stds.remove(&(source >> split));
                }
                if let Some(clean) = &mut self.poison.config {
                    clean.insert(source);
                }
            }
            Deferred::Stes { first, bits } => {
                let inside = |source: u32| bits > 31 || source >> bits == first >> bits;
                self.stes.retain(|source, _| !inside(*source));
                self.cds.retain(|(source, _), _| !inside(*source));
                self.l1cds.retain(|(source, _), _| !inside(*source));
                let split = self.split();
                self.l1stds.retain(|index, _| {
                    let (low, high) = (index << split, index << split | ((1 << split) - 1));
                    !(inside(low) || inside(high) || low <= first && first <= high)
                });
                if bits > 31 {
                    self.poison.config = None;
                } else if let Some(clean) = &mut self.poison.config {
                    clean.extend((first..=first | ((1 << bits) - 1)).take(1 << 16));
                }
            }
            Deferred::Cd { source, substream, all_levels } => {
                self.know(source, substream);
                self.cds.remove(&(source, substream));
                if all_levels {
                    // Either size of level 2 table: over-invalidation is allowed (4.3), but only of what this locates.
                    let split = self.stes.get(&source).map_or(6, |ste| match ste.cd_table(&self.features) {
                        CdTable::TwoLevel { split } => split,
                        CdTable::Linear => 6,
                    });
                    self.l1cds.remove(&(source, substream >> split));
                }
            }
            Deferred::Cds { source } => {
                self.cds.retain(|(stream, _), _| *stream != source);
                self.l1cds.retain(|(stream, _), _| *stream != source);
            }
            Deferred::Tlb(_) | Deferred::Atc { .. } => {}
        }
    }

    fn split(&self) -> u32 {
        match cfg::SPLIT.of(self.regs.strtab_cfg.into()) as u32 {
            split @ (6 | 8 | 10) => split,
            _ => 6,
        }
    }

    /// Garbage from before reset goes where a command covers all of it.
    fn heal(&mut self, scope: &Scope) {
        if scope.range.is_some() || scope.asids != Asids::All {
            return;
        }
        if scope.worlds.contains(&World::El2) {
            self.poison.el2 = false;
            return;
        }
        for (stage, clean) in [(scope.first, &mut self.poison.first), (scope.second, &mut self.poison.second)]
        {
            match (stage, scope.vmid) {
                (false, _) => {}
                (true, None) => *clean = None,
                (true, Some(vmid)) => {
                    if let Some(clean) = clean {
                        clean.insert(vmid);
                    }
                }
            }
        }
    }

    /// Hardware may look ahead again at once: what software has not taken from the tables yet comes back (3.21.1).
    fn refill(&mut self, gone: Vec<Via>) {
        if !self.eager || !self.is_enabled(cr0::SMMUEN) {
            return;
        }
        for via in gone.into_iter().take(64) {
            let request = Request {
                source: SourceId(via.source),
                pasid: via.substream.map(Pasid),
                at: Iova(via.at),
                access: Access::Read,
                privileged: false,
            };
            let _ = self.translate(&request, false, true);
        }
    }

    /// Forgets every cached thing, as eviction may at any time.
    pub(super) fn evict(&mut self) {
        self.stes.clear();
        self.l1stds.clear();
        self.cds.clear();
        self.l1cds.clear();
        self.tlb.clear();
        self.prefetch_all();
    }
}
