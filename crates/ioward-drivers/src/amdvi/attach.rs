//! How what a source or a PASID goes through changes.
//!
//! Always in this order: the place is made known to flushes, a fence, the guest CR3 entry, the device table entry, caches
//! forget; then what is no longer reached is cleared and no longer flushed. Where the hardware does not confirm, the
//! entry is blocked, and what caches may still hold is remembered until a later attempt confirms it.

use super::device_table::Settle;
use super::domain_id::Tagged;
use super::domain_id::Target;
use super::driver::AmdVi;
use super::entry::HostTable;
use super::forget::Forget;
use super::guest_cr3::GuestCr3;
use super::plan;
use super::source::{Behind, Rid, Source};
use alloc::vec::Vec;
use ioward_core::driver::{Blocked, Hung, Refused, Translation};
use ioward_types::{Format, Mmio, Pasid, Platform};

impl<M: Mmio, P: Platform> AmdVi<M, P> {
    /// Makes a source's entry hold what its state says, and caches forget what they held. On `Err` it is blocked.
    fn write(&self, key: u32, source: &mut Source<P>, before: Vec<Forget>) -> Result<(), Refused> {
        let ats = self.caches_ahead(key);
        let settle: Settle<'_, Refused> = &mut || Ok(self.forget(key, false, &[Forget::Entry])?);
        let new = source.entry(&self.fixed);
        let stored = self.table.write(key, &new, &self.fixed.blocked(), settle);
        match stored.and_then(|()| Ok(self.forget(key, ats, &before)?)) {
            Ok(()) => {
                source.owed.clear();
                Ok(())
            }
            Err(error) => {
                self.fail(key, source, before);
                Err(error)
            }
        }
    }

    /// The hardware did not confirm: nothing new gets into caches from here on.
    fn fail(&self, key: u32, source: &mut Source<P>, before: Vec<Forget>) {
        source.owed.extend(before);
        for forget in self.everything(source) {
            if !source.owed.contains(&forget) {
                source.owed.push(forget);
            }
        }
        self.table.block(key, &self.fixed.blocked());
        source.rid = Rid::Blocked;
        source.pasids.clear();
    }

    /// Blocks a source, whatever it went through, PASIDs too. `gone`: the device is not asked.
    pub(super) fn block_source(&self, key: u32, source: &mut Source<P>, gone: bool) -> Blocked {
        let before = self.everything(source);
        let ats = self.caches_ahead(key) && !gone;
        self.table.block(key, &self.fixed.blocked());
        match self.forget(key, ats, &before) {
            Ok(()) => {
                self.empty(source);
                source.owed.clear();
                source.rid = Rid::Blocked;
                source.pasids.clear();
                Blocked::Confirmed
            }
            Err(hung) => {
                self.fail(key, source, before);
                Blocked::Unconfirmed(hung)
            }
        }
    }

    /// Clears the guest CR3 table of a source whose entry no longer holds it, in no cache either.
    fn empty(&self, source: &Source<P>) {
        let Some(behind) = &source.behind else { return };
        let mut domains = self.domains.lock();
        if let Rid::Guest { tag, .. } = source.rid {
            domains.remove_target(tag, Target { domain: behind.domain, pasid: 0 });
        }
        behind.table.clear(Pasid(0));
        for (&pasid, &tag) in &source.pasids {
            domains.remove_target(tag, Target { domain: behind.domain, pasid });
            behind.table.clear(Pasid(pasid));
        }
    }

    /// Makes sure that a source has a guest CR3 table, as wide as its claim.
    pub(super) fn behind<'s>(&self, source: &'s mut Source<P>) -> Result<&'s mut Behind<P>, Refused> {
        let behind = match source.behind.take() {
            Some(behind) => behind,
            None => {
                let bits = source.claim.pasid_bits;
                let mut domains = self.domains.lock();
                let domain = domains.allocate().ok_or(Refused::NoTag { iommu: self.unit.id })?;
                match GuestCr3::new(&self.unit.platform, bits, self.unit.coherent) {
                    Ok(table) => Behind { table, domain },
                    Err(error) => {
                        domains.free(domain);
                        return Err(error.into());
                    }
                }
            }
        };
        Ok(source.behind.insert(behind))
    }

    /// What a translation asks for, checked against hardware.
    pub(super) fn rid(&self, what: &Translation<'_>) -> Result<Rid, Refused> {
        let iommu = self.unit.id;
        let (root, config, tag) = match what {
            Translation::Identity => return Ok(Rid::Identity),
            Translation::Table { root, config, tag } | Translation::Foreign { root, config, tag } => {
                (root, *config, tag)
            }
            _ => return Err(Refused::Unsupported { iommu, what: "mappings by request" }),
        };
        plan::can_walk(iommu, &self.features, self.unit.coherent, config)?;
        let shape = |what| Refused::Shape { iommu, table: config.format, what };
        if root.at.0 & 0xfff != 0 || root.at.0 >> 52 != 0 {
            return Err(shape("the root is no address of a table"));
        }
        let tag = u16::try_from(tag.0).map_err(|_| shape("the tag is none of this IOMMU's"))?;
        let guest = match self.domains.lock().tags.get(&tag) {
            Some(Tagged::Host) => false,
            Some(Tagged::Guest(_)) => true,
            None => return Err(shape("the tag is none of this IOMMU's")),
        };
        if guest != (config.format == Format::AmdV2) {
            return Err(shape("the tag is for another format"));
        }
        if guest {
            let five = root.levels == 5;
            let most = self.features.guest_levels.unwrap_or(0);
            if !(4..=most).contains(&root.levels) {
                return Err(shape("levels other than four, or five where GATS has them"));
            }
            return Ok(Rid::Guest { tag, root: root.at, five });
        }
        if root.levels == 0 || root.levels > self.features.host_levels.unwrap_or(0) {
            return Err(shape("levels outside those of HATS"));
        }
        Ok(Rid::Host { tag, table: HostTable { root: root.at, levels: root.levels, dirty: config.dirty } })
    }

    /// Makes requests without a PASID go through `new`.
    pub(super) fn install_rid(&self, key: u32, source: &mut Source<P>, new: Rid) -> Result<(), Refused> {
        let iommu = self.unit.id;
        if matches!(new, Rid::Host { .. }) && !source.pasids.is_empty() {
            let what = "PASIDs are attached, and their requests would go through the v1 table as well";
            return Err(Refused::Shape { iommu, table: Format::AmdV1, what });
        }
        let old = source.rid;
        let before = self.without_pasids(source);
        if let Rid::Guest { tag, root, five } = new {
            if five != source.five && !source.pasids.is_empty() {
                let what = "tables of four and of five levels behind one guest CR3 table";
                return Err(Refused::Shape { iommu, table: Format::AmdV2, what });
            }
            let behind = self.behind(source)?;
            behind.table.reserve(Pasid(0))?;
            self.make_known(tag, Target { domain: behind.domain, pasid: 0 });
            if matches!(old, Rid::Guest { five: was, .. } if was != five) {
                // The root must not be walked with the other number of levels: nothing is walked in between.
                self.table.block(key, &self.fixed.blocked());
                if let Err(hung) = self.forget(key, false, &[Forget::Entry]) {
                    self.fail(key, source, before);
                    return Err(hung.into());
                }
            }
            if let Some(behind) = &source.behind {
                behind.table.set(Pasid(0), root);
            }
            source.five = five;
        }
        source.rid = new;
        self.change(key, source, before, old)?;
        self.leave(key, source, old)
    }

    /// Writes the entry, or, where it says that already, only sees to the place where requests without a PASID hang.
    fn change(&self, key: u32, source: &mut Source<P>, before: Vec<Forget>, old: Rid) -> Result<(), Refused> {
        if let (Some(behind), true) = (&source.behind, self.table.load(key) == source.entry(&self.fixed)) {
            let target = Target { domain: behind.domain, pasid: 0 };
            let place = match source.rid {
                Rid::Guest { .. } => self.place(target, matches!(old, Rid::Guest { .. })),
                _ => Vec::new(),
            };
            return self.see_to(key, source, place);
        }
        self.write(key, source, before)
    }

    /// Makes caches forget what they held of places in the guest CR3 table. On `Err` the source is blocked.
    fn see_to(&self, key: u32, source: &mut Source<P>, place: Vec<Forget>) -> Result<(), Refused> {
        match self.forget(key, self.caches_ahead(key), &place) {
            Ok(()) => Ok(()),
            Err(hung) => {
                self.fail(key, source, place);
                Err(hung.into())
            }
        }
    }

    /// The RID left `old`, and caches have forgotten it: the place where it hung is cleared.
    fn leave(&self, key: u32, source: &mut Source<P>, old: Rid) -> Result<(), Refused> {
        let (Rid::Guest { tag, .. }, Some(behind)) = (old, &source.behind) else { return Ok(()) };
        let target = Target { domain: behind.domain, pasid: 0 };
        match source.rid {
            Rid::Guest { tag: now, .. } if now == tag => return Ok(()),
            Rid::Guest { .. } => {}
            _ => {
                behind.table.clear(Pasid(0));
                if source.uses_guest() {
                    // With PASIDs beside it the place can still be reached as PASID zero.
                    self.see_to(key, source, self.place(target, true))?;
                }
            }
        }
        self.domains.lock().remove_target(tag, target);
        Ok(())
    }

    /// Makes requests with a PASID go through `new`.
    pub(super) fn install_pasid(
        &self,
        key: u32,
        source: &mut Source<P>,
        pasid: Pasid,
        new: Rid,
    ) -> Result<(), Refused> {
        let iommu = self.unit.id;
        let (tag, root, five) = match new {
            Rid::Guest { tag, root, five } => (tag, root, five),
            Rid::Host { .. } => return Err(Refused::Format { iommu, table: Format::AmdV1 }),
            _ => return Err(Refused::Unsupported { iommu, what: "identity behind a PASID" }),
        };
        if pasid.0 == 0 {
            return Err(Refused::Unsupported { iommu, what: "PASID zero: it means requests without one" });
        }
        let needs = (32 - pasid.0.leading_zeros()) as u8;
        if needs > source.claim.pasid_bits {
            return Err(Refused::Pasid { iommu, has: source.claim.pasid_bits, needs });
        }
        if matches!(source.rid, Rid::Host { .. }) {
            let what = "requests without a PASID go through a v1 table, and these would as well";
            return Err(Refused::Shape { iommu, table: Format::AmdV2, what });
        }
        let first = !source.uses_guest();
        if !first && five != source.five {
            let what = "tables of four and of five levels behind one guest CR3 table";
            return Err(Refused::Shape { iommu, table: Format::AmdV2, what });
        }
        let before = self.entry_alone(source);
        let behind = self.behind(source)?;
        behind.table.reserve(pasid)?;
        let target = Target { domain: behind.domain, pasid: pasid.0 };
        self.make_known(tag, target);
        behind.table.set(pasid, root);
        let old = source.pasids.insert(pasid.0, tag);
        source.five = five;
        if first {
            self.write(key, source, before)?;
        } else {
            self.see_to(key, source, self.place(target, old.is_some()))?;
        }
        if let Some(old) = old.filter(|old| *old != tag) {
            self.domains.lock().remove_target(old, target);
        }
        Ok(())
    }

    /// Blocks a PASID. The entry goes back to one without guest CR3 table with the last that used it.
    pub(super) fn block_pasid(&self, key: u32, source: &mut Source<P>, pasid: Pasid) -> Blocked {
        let Some(&tag) = source.pasids.get(&pasid.0) else { return self.owed(source) };
        let Some(behind) = &source.behind else { return self.owed(source) };
        let target = Target { domain: behind.domain, pasid: pasid.0 };
        behind.table.clear(pasid);
        if let Err(Refused::Hung(hung)) = self.see_to(key, source, self.place(target, true)) {
            return Blocked::Unconfirmed(hung);
        }
        source.pasids.remove(&pasid.0);
        self.domains.lock().remove_target(tag, target);
        if !source.uses_guest() {
            let before = self.entry_alone(source);
            if let Err(Refused::Hung(hung)) = self.write(key, source, before) {
                return Blocked::Unconfirmed(hung);
            }
        }
        Blocked::Confirmed
    }

    /// Nothing is to be blocked; whether that is confirmed depends on what came before.
    fn owed(&self, source: &Source<P>) -> Blocked {
        if source.owed.is_empty() { Blocked::Confirmed } else { self.unconfirmed("an earlier invalidation") }
    }

    /// Something that was not waited for now.
    pub(super) fn unconfirmed(&self, what: &'static str) -> Blocked {
        Blocked::Unconfirmed(Hung { iommu: self.unit.id, what, waited: ioward_types::Nanos(0) })
    }

    /// Whoever flushes from here on flushes this place too, before anything can be cached for it.
    fn make_known(&self, tag: u16, target: Target) {
        self.domains.lock().add_target(tag, target);
        self.unit.platform.fence();
    }
}
