//! Installing: the one way in which what a source or PASID is translated by changes.

use crate::{
    device::{AddError, Source},
    driver::{Blocked, Driver, Hung, Plan, Refused, Requirements, Translation},
    space::{AddressSpace, Target, Want},
    state::{Entry, Installed, Rid, State},
};
use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use ioward_types::{Iova, Pasid, PhysAddr, Platform, Span};

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
            Installed::Identity => self.driver.install(&self.slot, pasid, &Translation::Identity),
            Installed::Foreign(table) => self.driver.install(&self.slot, pasid, &table.translation()),
            Installed::Paging { space, plan } => {
                let ready =
                    space.ready(&self.driver, plan).ok_or(Refused::NoTag { iommu: self.driver.id() })?;
                self.driver.install(&self.slot, pasid, &ready.translation())
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
            Self::Foreign(table) => driver.untag(table.tag),
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
                let plan = planner.plan(requirements)?;
                Ok(Want { driver: entry.driver.clone(), plan, target: self.target(source, pasid) })
            })
            .collect()
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
        let wants = self.wants(sources, pasid, requirements)?;
        for want in &wants {
            let windows = want.driver.forbidden();
            let clash = |used: Span<Iova>| {
                AddError::RegionInUse(Span { start: PhysAddr(used.start.0), bytes: used.bytes })
            };
            space.forbid(windows).map_err(clash)?;
        }
        space.prepare(&wants)?;
        let whats: Vec<_> =
            wants.iter().map(|want| Installed::Paging { space: space.clone(), plan: want.plan }).collect();
        self.install(sources, pasid, &whats).inspect_err(|_| {
            for want in &wants {
                space.abandon(&want.driver, &want.plan, want.target.source, want.target.pasid);
            }
        })
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
            let result = if entry.dead {
                Err(Refused::NoSlot { iommu: source.0, source: source.1 })
            } else {
                entry.put(pasid, what)
            };
            if let Err(refused) = result {
                if let Refused::Hung(_) = refused {
                    // The driver left the entry blocked, but caches are unknown.
                    self.kill(*source);
                }
                for (earlier, _) in pairs[..done].iter().rev() {
                    self.put_back(*earlier, pasid);
                }
                return Err(refused.into());
            }
        }
        for (source, what) in pairs {
            let Some(entry) = self.entries.get_mut(&source) else { continue };
            let old = entry.holds(pasid);
            entry.note(pasid, what.clone());
            self.retire(source, pasid, old);
        }
        Ok(())
    }

    fn put_back(&mut self, source: Source, pasid: Option<Pasid>) {
        let Some(entry) = self.entries.get(&source) else { return };
        let old = entry.holds(pasid);
        if matches!(old, Installed::Blocked) || entry.put(pasid, &old).is_err() {
            // Where even that is not confirmed, the entry is dead and its devices are silenced.
            let _ = self.block(source, pasid);
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
                let behind = if pasid.is_none() { core::mem::take(&mut entry.pasids) } else { BTreeMap::new() };
                self.retire(source, pasid, old);
                behind.into_iter().for_each(|(pasid, old)| self.retire(source, Some(pasid), old));
            }
            Blocked::Unconfirmed(_) => self.kill(source),
        }
        blocked
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
    pub fn kill(&mut self, source: Source) {
        if let Some(entry) = self.entries.get_mut(&source) {
            entry.dead = true;
        }
        self.target(&source, None).controls.iter().for_each(|control| control.bus_master(false));
    }

    /// The entry no longer holds `old`, and its caches confirmed that.
    fn retire(&mut self, source: Source, pasid: Option<Pasid>, old: Installed<P>) {
        let Some(entry) = self.entries.get(&source) else { return };
        if old.retire(&entry.driver, source, pasid).is_err() {
            self.kill(source);
        }
    }

    /// Gives an entry back: blocked, with all its PASIDs. `gone`: the device was pulled, and no command is sent to it.
    pub fn release(&mut self, source: Source, gone: bool) -> Blocked {
        let controls = self.target(&source, None).controls;
        let Some(entry) = self.entries.remove(&source) else { return Blocked::Confirmed };
        let pasids = entry.pasids.into_iter().map(|(pasid, what)| (Some(pasid), what));
        let held: Vec<(Option<Pasid>, Installed<P>)> =
            core::iter::once((None, entry.rid)).chain(pasids).collect();
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
