//! Installing: the one way in which what a source or PASID is translated by changes.

use crate::{
    device::{AddError, RegionKind, Source, Status},
    driver::{Blocked, Driver, Hung, Plan, Refused, Requirements, Translation},
    space::{AddressSpace, Target, Want},
    state::{Entry, Installed, Rid, State},
};
use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use ioward_types::{Iova, Pasid, Platform, Span};

impl<P: Platform> Entry<P> {
    pub fn holds(&self, pasid: Option<Pasid>) -> Installed<P> {
        match pasid {
            None => self.rid.clone(),
            Some(pasid) => self.pasids.get(&pasid).cloned().unwrap_or(Installed::Blocked),
        }
    }

    fn note(&mut self, pasid: Option<Pasid>, what: Installed<P>) {
        match (pasid, what) {
            (None, what) => self.rid = what,
            (Some(pasid), Installed::Blocked) => drop(self.pasids.remove(&pasid)),
            (Some(pasid), what) => drop(self.pasids.insert(pasid, what)),
        }
    }

    /// Asks the driver.
    fn put(&self, pasid: Option<Pasid>, what: &Installed<P>) -> Result<(), Refused> {
        match what {
            Installed::Blocked => match self.driver.block(&self.slot, pasid) {
                Blocked::Confirmed => Ok(()),
                Blocked::Unconfirmed(hung) => Err(hung.into()),
            },
            // SAFETY: the policy, or an owner who promised it, lets the devices reach all memory.
            Installed::Identity => unsafe { self.driver.install(&self.slot, pasid, &Translation::Identity) },
            // SAFETY: the owner of the table promised what it leads to.
            Installed::Foreign(table) => unsafe {
                self.driver.install(&self.slot, pasid, &table.translation())
            },
            Installed::Paging { space, plan } => {
                let ready =
                    space.ready(&self.driver, plan).ok_or(Refused::NoTag { iommu: self.driver.id() })?;
                // SAFETY: the table leads to what was mapped for whoever goes through the address space, and it is freed only
                // after the entry holds something else.
                unsafe { self.driver.install(&self.slot, pasid, &ready.translation()) }
            }
        }
    }
}

impl<P: Platform> Installed<P> {
    /// An entry no longer holds this, confirmed so: what only it used is given back.
    fn retire(self, driver: &Arc<dyn Driver>, source: Source, pasid: Option<Pasid>) -> Result<(), Hung> {
        match self {
            Self::Blocked | Self::Identity => Ok(()),
            Self::Paging { space, plan } => space.retire(driver, &plan, source.1, pasid),
            // SAFETY: the entry holds something else, confirmed so, and each entry has a tag of its own.
            Self::Foreign(table) => unsafe { driver.untag(table.tag) },
        }
    }
}

impl<P: Platform> State<P> {
    fn target(&self, source: &Source, pasid: Option<Pasid>) -> Target {
        let entry = self.entries.get(source);
        let users = entry.map(|entry| entry.users.as_slice()).unwrap_or_default();
        let controls = users.iter().filter_map(|id| Some(self.device(*id)?.control.clone())).collect();
        Target { source: source.1, pasid, ats: entry.is_some_and(|entry| entry.ats), controls }
    }

    /// What each of `sources` asks of `space`, by its own IOMMU's plan for the whole group (rules 1, 2 and 10).
    pub fn wants(
        &self,
        sources: &[Source],
        pasid: Option<Pasid>,
        requirements: &Requirements,
    ) -> Result<Vec<Want>, AddError> {
        let by_first = crate::mutate::on("rule_01").then(|| sources.first()).flatten();
        let wants = sources.iter().filter_map(|source| Some((source, self.entries.get(source)?)));
        wants
            .map(|(source, entry)| {
                let planner = by_first.and_then(|first| self.driver(first.0)).unwrap_or(&entry.driver);
                // PASIDs that an IOMMU does not have are granted to nobody behind it: they are another member's need.
                let pasid_bits = requirements.pasid_bits.min(planner.capabilities().pasid_bits);
                let plan = planner.plan(&Requirements { pasid_bits, ..*requirements })?;
                Ok(Want { driver: entry.driver.clone(), plan, target: self.target(source, pasid) })
            })
            .collect()
    }

    /// What must not be mapped for any of these sources: their IOMMUs' windows and those of the devices that use them.
    fn windows(&self, sources: &[Source], wants: &[Want], granule: u64) -> Result<Vec<Span<Iova>>, AddError> {
        let mut windows: Vec<Span<Iova>> =
            wants.iter().flat_map(|want| want.driver.forbidden()).copied().collect();
        windows.extend(self.reserved(sources));
        let entries = sources.iter().filter_map(|source| self.entries.get(source));
        for device in entries.flat_map(|entry| &entry.users).filter_map(|id| self.device(*id)) {
            for region in device.regions.iter().filter(|region| region.kind == RegionKind::Forbidden) {
                let span = Span { start: Iova(region.span.start.0), bytes: region.span.bytes };
                windows.push(span.align_outward(granule).ok_or(AddError::RegionsOverlap(region.span))?);
            }
        }
        Ok(windows)
    }

    /// What one source asks of an address space under a plan that it had before.
    pub fn want(&self, source: &Source, pasid: Option<Pasid>, plan: Plan) -> Vec<Want> {
        let entry = self.entries.get(source);
        let want = |entry: &Entry<P>| Want {
            driver: entry.driver.clone(),
            plan,
            target: self.target(source, pasid),
        };
        entry.map(want).into_iter().collect()
    }

    /// Makes every one of `sources` (with `pasid`, if given) go through `space`. All or none: on `Err` each holds what it
    /// held, or is blocked where even that could not be put back.
    pub fn install_space(
        &mut self,
        sources: &[Source],
        pasid: Option<Pasid>,
        space: &Arc<AddressSpace<P>>,
        requirements: &Requirements,
    ) -> Result<(), AddError> {
        if space.registry() != self.registry {
            return Err(AddError::OtherSubsystem);
        }
        let wants = self.wants(sources, pasid, requirements)?;
        let windows = self.windows(sources, &wants, space.granule())?;
        space.forbid(&windows)?;
        space.prepare(&wants)?;
        let whats: Vec<_> =
            wants.iter().map(|want| Installed::Paging { space: space.clone(), plan: want.plan }).collect();
        self.install(sources, pasid, &whats).inspect_err(|_| self.abandon(space, &wants))
    }

    /// An address space was not installed after all: it forgets those who wanted it, but for those whose entries may hold
    /// it.
    pub fn abandon(&self, space: &Arc<AddressSpace<P>>, wants: &[Want]) {
        for want in wants {
            let (iommu, target) = (want.driver.id(), &want.target);
            let what = Installed::Paging { space: space.clone(), plan: want.plan };
            let entry = self.entries.get(&(iommu, target.source));
            if !entry.is_some_and(|entry| entry.may_hold(target.pasid, &what)) {
                space.abandon(&want.driver, &want.plan, target.source, target.pasid);
            }
        }
    }

    /// Makes every one of `sources` hold what `whats` says. All or none, as [`State::install_space`].
    pub fn install(
        &mut self,
        sources: &[Source],
        pasid: Option<Pasid>,
        whats: &[Installed<P>],
    ) -> Result<(), AddError> {
        let claimed = sources.iter().filter(|source| self.entries.contains_key(source));
        let pairs: Vec<(Source, &Installed<P>)> = claimed.copied().zip(whats).collect();
        for (done, (source, what)) in pairs.iter().enumerate() {
            let Some(entry) = self.entries.get(source) else { continue };
            let result = if entry.dead.is_some() {
                Err(Refused::NoSlot { iommu: source.0, source: source.1 })
            } else {
                entry.put(pasid, what)
            };
            if let Err(refused) = result {
                if let Refused::Hung(hung) = refused {
                    // The driver left the entry blocked, but caches are unknown: hardware may go by what was asked for.
                    if let Some(entry) = self.entries.get_mut(source) {
                        entry.doubtful.push((pasid, (*what).clone()));
                    }
                    self.kill(*source, hung);
                }
                for (earlier, what) in pairs[..done].iter().rev() {
                    self.put_back(*earlier, pasid, what);
                }
                return Err(refused.into());
            }
        }
        for (source, what) in pairs {
            let Some(entry) = self.entries.get_mut(&source) else { continue };
            let old = entry.holds(pasid);
            entry.note(pasid, what.clone());
            // The entry holds what it should. If what it held before may still be cached, it is dead and its devices are
            // silenced, which `alive` tells.
            let _ = self.retire(source, pasid, old);
        }
        Ok(())
    }

    /// Whether the IOMMUs have confirmed everything about these sources.
    pub fn alive(&self, sources: &[Source]) -> Result<(), Hung> {
        let dead = |source: &Source| self.entries.get(source).and_then(|entry| entry.dead);
        sources.iter().find_map(dead).map_or(Ok(()), Err)
    }

    /// Puts an entry that holds `what` back on what it held.
    fn put_back(&mut self, source: Source, pasid: Option<Pasid>, what: &Installed<P>) {
        let Some(entry) = self.entries.get(&source) else { return };
        let old = entry.holds(pasid);
        if matches!(old, Installed::Blocked) || entry.put(pasid, &old).is_err() {
            // Where even that is not confirmed, the entry is dead, its devices are silenced, and it may hold either.
            if let Blocked::Unconfirmed(_) = self.block(source, pasid)
                && let Some(entry) = self.entries.get_mut(&source)
            {
                entry.doubtful.push((pasid, what.clone()));
            }
        }
    }

    /// Blocks a source or PASID. Tells whether that was confirmed; if not, its devices are silenced and whatever was mapped
    /// for them is quarantined when it is unmapped.
    pub fn block(&mut self, source: Source, pasid: Option<Pasid>) -> Blocked {
        let Some(entry) = self.entries.get_mut(&source) else { return Blocked::Confirmed };
        let blocked = entry.driver.block(&entry.slot, pasid);
        match blocked {
            Blocked::Confirmed => {
                let old = entry.holds(pasid);
                entry.note(pasid, Installed::Blocked);
                // With the source, the driver blocks every PASID behind it.
                let behind =
                    if pasid.is_none() { core::mem::take(&mut entry.pasids) } else { BTreeMap::new() };
                let behind = behind.into_iter().map(|(pasid, old)| (Some(pasid), old));
                let is_blocked = |(of, _): &mut (Option<Pasid>, _)| pasid.is_none() || *of == pasid;
                let doubtful: Vec<_> = entry.doubtful.extract_if(.., is_blocked).collect();
                let behind = behind.chain(doubtful);
                let mut all = Blocked::Confirmed;
                for (pasid, old) in behind.chain([(pasid, old)]) {
                    if let Err(hung) = self.retire(source, pasid, old) {
                        all = Blocked::Unconfirmed(hung);
                    }
                }
                all
            }
            Blocked::Unconfirmed(hung) => {
                self.kill(source, hung);
                blocked
            }
        }
    }

    /// Blocks every PASID behind these sources.
    pub fn clear_pasids(&mut self, sources: &[Source]) -> Blocked {
        let mut all = Blocked::Confirmed;
        for source in sources {
            let pasids =
                self.entries.get(source).map(|entry| entry.pasids.keys().copied().collect::<Vec<_>>());
            for pasid in pasids.unwrap_or_default() {
                if let unconfirmed @ Blocked::Unconfirmed(_) = self.block(*source, Some(pasid)) {
                    all = unconfirmed;
                }
            }
        }
        all
    }

    /// Gives an address space's tags back. Whoever is still on it is blocked first.
    pub fn discard(&mut self, space: &Arc<AddressSpace<P>>) {
        let is_it = |what: &Installed<P>| matches!(what, Installed::Paging { space: on, .. } if Arc::ptr_eq(on, space));
        let mut held: Vec<(Source, Option<Pasid>)> = Vec::new();
        for (source, entry) in &self.entries {
            held.extend(is_it(&entry.rid).then_some((*source, None)));
            let behind = entry.pasids.iter().filter(|(_, what)| is_it(what));
            held.extend(behind.map(|(pasid, _)| (*source, Some(*pasid))));
        }
        let mut let_go =
            !self.entries.values().any(|entry| entry.doubtful.iter().any(|(_, what)| is_it(what)));
        for (source, pasid) in held {
            let_go &= self.block(source, pasid) == Blocked::Confirmed;
        }
        if let_go {
            space.discard();
        }
    }

    /// Blocks each of `sources`, whatever became of the others. Unconfirmed if one of them is.
    pub fn block_all(&mut self, sources: &[Source], pasid: Option<Pasid>) -> Blocked {
        let mut all = Blocked::Confirmed;
        for source in sources {
            if let unconfirmed @ Blocked::Unconfirmed(_) = self.block(*source, pasid) {
                all = unconfirmed;
            }
        }
        all
    }

    /// The IOMMU no longer answers for this source: the last resort.
    pub fn kill(&mut self, source: Source, hung: Hung) {
        let users = match self.entries.get_mut(&source) {
            Some(entry) => {
                entry.dead = Some(hung);
                entry.users.clone()
            }
            None => Vec::new(),
        };
        for user in users {
            if let Some(device) = self.device_mut(user) {
                device.status = Status::Refused(AddError::Driver(hung.into()));
                device.control.bus_master(false);
            }
        }
    }

    /// The entry no longer holds `old`, and its caches confirmed that.
    fn retire(&mut self, source: Source, pasid: Option<Pasid>, old: Installed<P>) -> Result<(), Hung> {
        let Some(entry) = self.entries.get(&source) else { return Ok(()) };
        let result = old.retire(&entry.driver, source, pasid);
        result.inspect_err(|hung| self.kill(source, *hung))
    }

    /// Gives an entry back: blocked, with all its PASIDs. `gone`: the device was pulled, and no command is sent to it.
    pub fn release(&mut self, source: Source, gone: bool) -> Blocked {
        let controls = self.target(&source, None).controls;
        let Some(entry) = self.entries.remove(&source) else { return Blocked::Confirmed };
        let pasids = entry.pasids.into_iter().map(|(pasid, what)| (Some(pasid), what));
        let held: Vec<(Option<Pasid>, Installed<P>)> =
            core::iter::once((None, entry.rid)).chain(pasids).chain(entry.doubtful).collect();
        if gone {
            for (pasid, what) in &held {
                if let Installed::Paging { space, plan } = what {
                    space.forget_cache(&entry.driver, plan, source.1, *pasid);
                }
            }
        }
        let mut blocked = entry.driver.release(entry.slot, gone);
        if let Blocked::Confirmed = blocked {
            for (pasid, what) in held {
                if let Err(hung) = what.retire(&entry.driver, source, pasid) {
                    blocked = Blocked::Unconfirmed(hung);
                }
            }
        }
        if let Blocked::Unconfirmed(_) = blocked {
            controls.iter().for_each(|control| control.bus_master(false));
        }
        blocked
    }

    /// Puts a whole group, or the `sources` of a newcomer to it, on a domain.
    pub fn put_on(
        &mut self,
        sources: &[Source],
        on: &Rid<P>,
        requirements: &Requirements,
    ) -> Result<(), AddError> {
        match on {
            Rid::Blocked => match self.block_all(sources, None) {
                Blocked::Confirmed => Ok(()),
                Blocked::Unconfirmed(hung) => Err(AddError::Driver(hung.into())),
            },
            Rid::Identity => self.install(sources, None, &alloc::vec![Installed::Identity; sources.len()]),
            Rid::Paging(space) => {
                let space = space.clone();
                self.install_space(sources, None, &space, requirements)
            }
        }
    }
}
