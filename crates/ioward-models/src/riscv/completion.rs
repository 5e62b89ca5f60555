//! What happens when an IOFENCE.C completes: caches forget, devices forget, and hardware looks ahead again (2.8, 3.1).

use super::{
    commands::Deferred,
    state::State,
    tlb::{Scope, Space, Via},
    translate::How,
};
use crate::model::{Access, Request};
use ioward_spec::riscv::{device as d, process::INDEX_BITS};
use ioward_types::{Iova, Pasid, SourceId};

/// How many translations are walked again after an invalidation.
const REFILLED: usize = 64;

/// Whether requests used a tag's translations since the last fence that ordered them.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Used {
    read: bool,
    write: bool,
}

impl State {
    /// Everything fetched so far takes effect, in the order of the queue. `reads`, `writes`: what the fence orders.
    pub(super) fn complete(&mut self, reads: bool, writes: bool) {
        for deferred in std::mem::take(&mut self.deferred) {
            match deferred {
                Deferred::Tlb(scope) => {
                    self.judge_reclaim(&scope, reads, writes);
                    let gone = self.tlb.invalidate(&scope);
                    self.heal(&scope);
                    self.refill(gone);
                }
                Deferred::Atc { source, what } => {
                    let sinks = self.atcs.get(&source).cloned().unwrap_or_default();
                    // The device forgets in either case, but its answer is let in only where its context has EN_ATS.
                    let answered = sinks.iter().all(|sink| sink.invalidate(what));
                    self.timed_out |= !answered || !self.hears(source);
                }
                Deferred::Device(device) => self.forget_device(device),
                Deferred::Process { device, process } => {
                    self.pcs.remove(&(device, process));
                    self.know(device, Some(process));
                    self.prefetch(device);
                }
            }
        }
        for used in self.used.values_mut() {
            used.read &= !reads;
            used.write &= !writes;
        }
        self.prefetch_all();
        self.audit();
    }

    /// Whether an Invalidation Completion of a device is no unsupported request (2.1.3.1, 5.5).
    fn hears(&mut self, source: u32) -> bool {
        let known = self.levels() != 0 && self.device_fits(source);
        known && self.device_context(source).is_ok_and(|context| context.has(d::EN_ATS))
    }

    fn forget_device(&mut self, device: Option<u32>) {
        match device {
            Some(device) => {
                self.dcs.remove(&device);
                self.pcs.retain(|(owner, _), _| *owner != device);
                self.pdtes.retain(|(owner, _, _), _| *owner != device);
                if let Some(clean) = &mut self.poison.contexts {
                    clean.insert(device);
                }
                self.know(device, None);
                self.prefetch(device);
            }
            None => {
                self.ddtes.clear();
                self.dcs.clear();
                self.pcs.clear();
                self.pdtes.clear();
                self.poison.contexts = None;
                self.prefetch_all();
            }
        }
    }

    /// A request uses translations of a tag.
    pub(super) fn note(&mut self, space: &Space, access: Access) {
        let used = self.used.entry((space.gscid, space.pscid)).or_default();
        match access {
            Access::Write => used.write = true,
            _ => used.read = true,
        }
    }

    /// Memory is reclaimed only once what devices did with it is ordered (3.1.2).
    fn judge_reclaim(&self, scope: &Scope, reads: bool, writes: bool) {
        let concerns = |gscid: Option<u16>, pscid: Option<u32>| match *scope {
            Scope::Vma { gscid: guest, pscid: process, .. } => {
                gscid == guest && (process.is_none() || process == pscid)
            }
            Scope::Gvma { gscid: guest, .. } => gscid.is_some() && (guest.is_none() || guest == gscid),
        };
        let concerned = self.used.iter().filter(|((gscid, pscid), _)| concerns(*gscid, *pscid));
        for ((gscid, pscid), used) in concerned {
            if used.read && !reads || used.write && !writes {
                self.wrong(
                    "RISC-V IOMMU 1.0.1, 3.1.2",
                    format!(
                        "translations of GSCID {gscid:x?}, PSCID {pscid:x?} are invalidated after {used:?}, and the \
                         IOFENCE.C orders reads: {reads}, writes: {writes}"
                    ),
                );
            }
        }
    }

    /// Garbage goes where a command covers all of a tag.
    fn heal(&mut self, scope: &Scope) {
        match *scope {
            Scope::Vma { gscid: None, pscid: None, range: None, .. } => self.poison.host = None,
            Scope::Vma { gscid: None, pscid: Some(pscid), range: None, .. } => {
                if let Some(clean) = &mut self.poison.host {
                    clean.insert(pscid);
                }
            }
            Scope::Vma { gscid: Some(gscid), pscid: None, range: None, .. } => {
                if let Some(clean) = &mut self.poison.first {
                    clean.insert(gscid);
                }
            }
            Scope::Gvma { gscid: None, .. } => self.poison.second = None,
            Scope::Gvma { gscid: Some(gscid), range: None, .. } => {
                if let Some(clean) = &mut self.poison.second {
                    clean.insert(gscid);
                }
            }
            _ => {}
        }
    }

    /// Hardware may look ahead again at once: what software has not taken from the tables yet comes back.
    fn refill(&mut self, gone: Vec<Via>) {
        if !self.eager || self.levels() == 0 {
            return;
        }
        for via in gone.into_iter().take(REFILLED) {
            let process = via.process.filter(|process| process >> INDEX_BITS.iter().sum::<u32>() == 0);
            let request = Request {
                source: SourceId(via.device),
                pasid: process.map(Pasid),
                at: Iova(via.at),
                access: Access::Read,
                privileged: false,
            };
            let _ = self.translate(&request, How::Untranslated, true);
        }
    }

    /// Forgets every cached thing, as eviction may at any time.
    pub(super) fn evict(&mut self) {
        self.ddtes.clear();
        self.dcs.clear();
        self.pdtes.clear();
        self.pcs.clear();
        self.tlb.clear();
        self.prefetch_all();
    }
}
