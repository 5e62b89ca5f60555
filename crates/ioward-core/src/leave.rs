//! How a device leaves, and how it is reset.

use crate::{
    device::{AddError, DeviceId, GroupId, Source, Status},
    driver::{Blocked, Hung, Refused},
    registry::ResetError,
    state::{Installed, Rid, State},
};
use alloc::vec::Vec;
use ioward_types::{Pasid, Platform};

impl<P: Platform> State<P> {
    /// Takes a device out of everything.
    pub fn remove(&mut self, id: DeviceId, gone: bool) -> Blocked {
        let Some(device) = self.device(id) else { return Blocked::Confirmed };
        let (group, attached, control) = (device.group, device.attached, device.control.clone());
        if attached && !gone {
            control.ats(None);
        }
        let result = if attached { self.unclaim(id, gone) } else { Blocked::Confirmed };
        if let Some(device) = self.devices.remove(id.index, id.generation) {
            self.near.remove(id, &device.sources, &device.joins);
        }
        let Some(group) = group else { return result };
        if let Some(members) = self.group_mut(group).map(|group| &mut group.members) {
            members.retain(|member| *member != id);
            if members.is_empty() {
                self.dissolve(group);
            } else if !self.is_live(group) {
                // The rest gets what it would have had without the device; if that fails, it stays on what it has.
                let requirements = self.requirements(group, None);
                let _ = self.rebuild(group, None, &requirements);
            }
        }
        result
    }

    /// A device that was attached and is refused since gives its entries back. On `Err` that was not confirmed.
    pub fn let_go(&mut self, id: DeviceId) -> Result<(), Hung> {
        if !self.device(id).is_some_and(|device| device.attached) {
            return Ok(());
        }
        let blocked = self.unclaim(id, false);
        if let Some(device) = self.device_mut(id) {
            device.attached = false;
        }
        match blocked {
            Blocked::Confirmed => Ok(()),
            Blocked::Unconfirmed(hung) => Err(hung),
        }
    }

    /// Says why a device is not served.
    pub fn refuse(&mut self, id: DeviceId, why: AddError) {
        if let Some(device) = self.device_mut(id) {
            device.status = Status::Refused(why);
            device.control.bus_master(false);
        }
    }

    fn dissolve(&mut self, group: GroupId) {
        if let Some(group) = self.groups.remove(group.index, group.generation)
            && let Some(parked) = group.parked
        {
            self.discard(&parked);
        }
    }

    /// Puts sources where they reach what firmware requires and nothing else; where nothing is required, or no table can be
    /// had, they are blocked.
    pub fn park(&mut self, group: GroupId, sources: &[Source]) -> Blocked {
        let requirements = self.requirements(group, None);
        let parked = self.group(group).and_then(|group| group.parked.clone());
        if let Some(parked) = parked
            && self.put_on(sources, &Rid::Paging(parked), &requirements).is_ok()
        {
            return Blocked::Confirmed;
        }
        self.block_all(sources, None)
    }

    /// Parks a device, resets it, and puts everything back.
    pub fn reset(&mut self, id: DeviceId) -> Result<(), ResetError> {
        let Some(device) = self.device(id) else { return Err(ResetError::NotServed) };
        let (status, sources, control) = (device.status, device.sources.clone(), device.control.clone());
        let (granted, ats, group) = (device.pasid, device.ats, device.group);
        let (Status::Served, Some(group)) = (status, group) else { return Err(ResetError::NotServed) };
        let held = |source: &Source, entry: &crate::state::Entry<P>| {
            let rid = core::iter::once((None, entry.rid.clone()));
            let pasids = entry.pasids.iter().map(|(pasid, what)| (Some(*pasid), what.clone()));
            let source = *source;
            rid.chain(pasids).map(move |(pasid, what)| (source, pasid, what)).collect::<Vec<_>>()
        };
        let before: Vec<(Source, Option<Pasid>, Installed<P>)> = sources
            .iter()
            .filter_map(|source| Some(held(source, self.entries.get(source)?)))
            .flatten()
            .collect();

        control.ats(None);
        for (source, pasid, _) in before.iter().filter(|(_, pasid, _)| pasid.is_some()) {
            if let Blocked::Unconfirmed(hung) = self.block(*source, *pasid) {
                return Err(ResetError::Hung(hung));
            }
        }
        if let Blocked::Unconfirmed(hung) = self.park(group, &sources) {
            return Err(ResetError::Hung(hung));
        }
        control.reset().map_err(ResetError::Device)?;

        for (source, pasid, what) in before {
            self.put(source, pasid, &what).map_err(ResetError::Restore)?;
            self.alive(&[source]).map_err(ResetError::Hung)?;
            if let (None, Ok(bits)) = (pasid, granted) {
                control.pasid(Some(bits));
            }
        }
        if self.may_cache(id) {
            control.ats(ats);
        }
        control.bus_master(true);
        Ok(())
    }

    /// Puts one source or PASID on something that it was on before.
    pub fn put(&mut self, source: Source, pasid: Option<Pasid>, what: &Installed<P>) -> Result<(), AddError> {
        match what {
            Installed::Blocked => match self.block(source, pasid) {
                Blocked::Confirmed => Ok(()),
                Blocked::Unconfirmed(hung) => Err(Refused::Hung(hung).into()),
            },
            Installed::Identity => self.install(&[source], pasid, core::slice::from_ref(what)),
            Installed::Foreign(table) => {
                // Its tag was given back when the entry let go of it.
                let again = self.foreign(&[source], table.root, table.config)?;
                self.install(&[source], pasid, &again).inspect_err(|_| self.untag(&[source], &again))
            }
            Installed::Paging { space, plan } => {
                let wants = self.want(&source, pasid, *plan);
                space.prepare(&wants)?;
                let what = core::slice::from_ref(what);
                self.install(&[source], pasid, what).inspect_err(|_| self.abandon(space, &wants))
            }
        }
    }
}
