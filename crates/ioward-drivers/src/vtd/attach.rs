//! How what a source or a PASID goes through changes.
//!
//! Always in this order: the place is made known to flushes, a fence, the PASID table entry, the context entry, caches
//! forget; then the place is no longer flushed. Where the hardware does not confirm, the context entry is made not
//! present, and what caches may still hold is remembered until a later attempt confirms it.

use super::context_entry::{self, Served};
use super::domain_id::{Tagged, Target};
use super::driver::{Sources, VtD};
use super::forget::Forget;
use super::pasid_entry;
use super::source::{Held, RID_PASID, Source};
use alloc::vec::Vec;
use core::cell::Cell;
use ioward_core::driver::{Blocked, Hung, Refused, Translation};
use ioward_types::{Format, Mmio, Nanos, Pasid, Platform, SourceId};

impl<M: Mmio, P: Platform> VtD<M, P> {
    /// What a translation asks for, checked against hardware.
    pub(super) fn check(&self, what: &Translation<'_>) -> Result<Held, Refused> {
        let iommu = self.unit.id;
        let (root, config, tag) = match what {
            Translation::Identity if self.features.pass_through => return Ok(Held::Identity),
            Translation::Identity => {
                return Err(Refused::Unsupported { iommu, what: "pass-through (ECAP.PT)" });
            }
            Translation::Table { root, config, tag } | Translation::Foreign { root, config, tag } => {
                (root, *config, tag)
            }
            _ => return Err(Refused::Unsupported { iommu, what: "mappings by request" }),
        };
        self.features.can_walk(iommu, config)?;
        let shape = |what| Refused::Shape { iommu, table: config.format, what };
        if !root.at.0.is_multiple_of(4096) || root.at.0 >> self.features.host_bits != 0 {
            return Err(shape("the root is no address of a table"));
        }
        if !self.features.fits(config, root.levels) {
            return Err(shape("its levels do not match its input width, or a walk cannot have so many"));
        }
        let tag = u16::try_from(tag.0).map_err(|_| shape("the tag is none of this IOMMU's"))?;
        let first = match self.domains.lock().tags.get(&tag) {
            Some(Tagged::Second) => false,
            Some(Tagged::First(_)) => true,
            None => return Err(shape("the tag is none of this IOMMU's")),
        };
        if first != (config.format == Format::VtdFirst) {
            return Err(shape("the tag is for another format"));
        }
        Ok(if first {
            Held::First { tag, root: root.at, five: root.levels == 5, snoop: config.snoop }
        } else {
            Held::Second { tag, root: root.at, levels: root.levels, dirty: config.dirty }
        })
    }

    /// Makes requests without a PASID, or with one, go through `new`.
    pub(super) fn install_held(
        &self,
        sources: &mut Sources<P>,
        id: SourceId,
        pasid: Option<Pasid>,
        new: Held,
    ) -> Result<(), Refused> {
        let iommu = self.unit.id;
        let Sources { root, claimed, .. } = sources;
        let refused = Refused::NoSlot { iommu, source: id };
        let source = claimed.get_mut(&id.0).ok_or(refused)?;
        let pasid = match pasid {
            None => RID_PASID,
            Some(Pasid(RID_PASID)) => {
                let what = "PASID zero: it stands for requests without one (RID_PASID)";
                return Err(Refused::Unsupported { iommu, what });
            }
            Some(pasid) => {
                let needs = (32 - pasid.0.leading_zeros()) as u8;
                let has = source.claim.pasid_bits;
                if needs > has {
                    return Err(Refused::Pasid { iommu, has, needs });
                }
                pasid.0
            }
        };
        let legacy =
            context_entry::legacy(&new, self.ways.identity, self.features.most_levels(), source.claim.ats);
        if !self.features.scalable && legacy.is_none() {
            return Err(Refused::Format { iommu, table: Format::VtdFirst });
        }
        let linked = match &mut source.table {
            Some(table) => table.ensure(pasid)?,
            None => false,
        };
        if let Some(target) = new.first(pasid) {
            // Whoever flushes from here on flushes this place too, before anything can be cached for it.
            self.domains.lock().add(target);
            self.unit.platform.fence();
        }
        let mut before = source.owed.clone();
        let was_open = source.is_open();
        // Blocked without a confirmation, a context entry may be cached as it was, and lead to what is written here.
        let reachable = was_open || !source.owed.is_empty();
        let old = source.held(pasid);
        match old {
            Some(old) => before.extend(self.behind(pasid, &old)),
            // That there was no table is known of its other PASIDs too.
            None if linked => before.extend(self.absent(Forget::Pasids)),
            None if self.features.scalable => {
                before.extend(self.absent(Forget::Pasid(Target { domain: 0, pasid })))
            }
            None => {}
        }
        match (&old, self.features.scalable) {
            (Some(old), false) => before.push(Forget::Context(old.domain(self.ways.identity))),
            _ if !was_open => before.extend(self.absent(Forget::Context(0))),
            _ => {}
        }
        source.hold(pasid, Some(new));
        // Whether the entry is not present for a while: that may be cached meanwhile (6.1).
        let absent = Cell::new(false);
        let written = match (&source.table, legacy) {
            (Some(table), _) => {
                let pieces = pasid_entry::encode(&new, self.ways);
                let domain = old.map_or(0, |old| old.domain(self.ways.identity));
                let settle = [Forget::Pasid(Target { domain, pasid })];
                let settled = &mut || {
                    absent.set(true);
                    self.forget(id, false, &settle)
                };
                table.write(pasid, &pieces, reachable, settled).and_then(|()| {
                    let entry = context_entry::scalable(table.phys(), table.size(), self.served(source));
                    root.write(id, entry, &mut || self.forget(id, false, &[Forget::Context(0)]))
                })
            }
            (None, Some(entry)) => {
                let domain = old.map_or(0, |old| old.domain(self.ways.identity));
                root.write(id, entry, &mut || {
                    absent.set(true);
                    self.forget(id, false, &[Forget::Context(domain)])
                })
            }
            (None, None) => Ok(()),
        };
        if absent.get() && old.is_some() {
            let cached = match self.features.scalable {
                true => Forget::Pasid(Target { domain: 0, pasid }),
                false => Forget::Context(0),
            };
            before.extend(self.absent(cached));
        }
        match written.and_then(|()| self.forget(id, source.claim.ats, &before)) {
            Ok(()) => {
                self.settled(source);
                if let Some(left) = old.and_then(|old| old.first(pasid)) {
                    self.domains.lock().remove(left);
                }
                Ok(())
            }
            Err(hung) => {
                if let Some(left) = old.and_then(|old| old.first(pasid)) {
                    source.stale.push(left);
                }
                self.fail(sources, id, before);
                Err(hung.into())
            }
        }
    }

    fn served(&self, source: &Source<P>) -> Served {
        Served {
            ats: source.claim.ats,
            pasids: source.claim.pasid_bits > 0,
            page_requests: source.claim.ats && self.page_requests.is_some(),
        }
    }

    /// Everything that was owed is confirmed.
    fn settled(&self, source: &mut Source<P>) {
        source.owed.clear();
        if !source.stale.is_empty() {
            let mut domains = self.domains.lock();
            source.stale.drain(..).for_each(|target| domains.remove(target));
        }
    }

    /// The hardware did not confirm: nothing new gets into caches from here on.
    fn fail(&self, sources: &mut Sources<P>, id: SourceId, before: Vec<Forget>) {
        sources.root.block(id);
        let Some(source) = sources.claimed.get_mut(&id.0) else { return };
        for forget in before.into_iter().chain(self.everything(source)) {
            if !source.owed.contains(&forget) {
                source.owed.push(forget);
            }
        }
        let targets: Vec<_> = source.targets().collect();
        source.stale.extend(targets);
        self.clear(source);
    }

    /// Takes everything out of a source whose context entry is not present.
    fn clear(&self, source: &mut Source<P>) {
        if let Some(table) = &source.table {
            source.all().for_each(|(pasid, _)| table.block(pasid));
        }
        source.rid = None;
        source.pasids.clear();
    }

    /// Blocks a source, whatever it went through, PASIDs too. `gone`: the device is not asked.
    pub(super) fn block_source(&self, sources: &mut Sources<P>, id: SourceId, gone: bool) -> Blocked {
        let Some(source) = sources.claimed.get_mut(&id.0) else {
            return self.unconfirmed("a slot that nobody claimed");
        };
        let before = self.everything(source);
        let ats = source.claim.ats && !gone;
        sources.root.block(id);
        match self.forget(id, ats, &before) {
            Ok(()) => {
                let mut domains = self.domains.lock();
                source.targets().for_each(|target| domains.remove(target));
                drop(domains);
                self.clear(source);
                self.settled(source);
                Blocked::Confirmed
            }
            Err(hung) => {
                self.fail(sources, id, before);
                Blocked::Unconfirmed(hung)
            }
        }
    }

    /// Blocks a PASID. The context entry goes with the last thing that was behind it.
    pub(super) fn block_pasid(&self, sources: &mut Sources<P>, id: SourceId, pasid: Pasid) -> Blocked {
        let Sources { root, claimed, .. } = sources;
        let Some(source) = claimed.get_mut(&id.0) else {
            return self.unconfirmed("a slot that nobody claimed");
        };
        let (Some(held), Some(table)) = (source.pasids.get(&pasid.0).copied(), &source.table) else {
            return match source.owed.is_empty() {
                true => Blocked::Confirmed,
                false => self.unconfirmed("an earlier invalidation"),
            };
        };
        table.block(pasid.0);
        let mut before = source.owed.clone();
        if source.rid.is_none() && source.pasids.len() == 1 {
            root.block(id);
            before.push(Forget::Context(0));
        }
        before.extend(self.behind(pasid.0, &held));
        if let Err(hung) = self.forget(id, source.claim.ats, &before) {
            self.fail(sources, id, before);
            return Blocked::Unconfirmed(hung);
        }
        source.hold(pasid.0, None);
        if let Some(left) = held.first(pasid.0) {
            self.domains.lock().remove(left);
        }
        self.settled(source);
        Blocked::Confirmed
    }

    /// Something that was not waited for now.
    pub(super) fn unconfirmed(&self, what: &'static str) -> Blocked {
        Blocked::Unconfirmed(Hung { iommu: self.unit.id, what, waited: Nanos(0) })
    }
}
