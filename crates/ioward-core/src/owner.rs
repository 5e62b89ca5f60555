//! Ownership of a group, as a value (rule 13).

use crate::{
    device::{AddError, DeviceId, GroupId, PasidDenied, RegionKind, Source, Status},
    driver::{Blocked, Hung, Plan, Requirements},
    registry::{Bound, Subsystem},
    space::AddressSpace,
    special::Use,
    state::{ForeignTable, Installed, Rid, State},
};
use alloc::{sync::Arc, vec::Vec};
use core::fmt;
use ioward_types::{Pasid, PhysAddr, Platform, Root, Span, TableConfig};

/// Why a group is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TakeError {
    /// There is no such group (any more).
    NoGroup(GroupId),
    /// Somebody has it.
    Owned(&'static str),
    /// A driver that does DMA is bound to this member.
    Bound(DeviceId),
    /// This member is not served: nothing could keep it from the owner's memory, or the owner from it.
    Member(DeviceId, Status),
    /// Firmware requires this region for good (rule 15).
    Region(Span<PhysAddr>),
    /// The group could not be parked.
    Hung(Hung),
}

impl fmt::Display for TakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGroup(group) => write!(f, "there is no group {group}"),
            Self::Owned(owner) => write!(f, "the group is owned by {owner}"),
            Self::Bound(device) => write!(f, "a driver is bound to device {device} of the group"),
            Self::Member(device, _) => write!(f, "device {device} of the group is not served"),
            Self::Region(span) => write!(f, "firmware requires {span} of the group"),
            Self::Hung(hung) => hung.fmt(f),
        }
    }
}
impl core::error::Error for TakeError {}

/// Why a PASID is not attached, replaced or detached. What it went through before, it still goes through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PasidError {
    /// The device is not in the group, not served, or gone.
    NoDevice(DeviceId),
    /// The device was granted none (rule 8).
    Denied(PasidDenied),
    /// Zero stands for requests without a PASID; the widest has so many bits.
    Range {
        /// The PASID.
        pasid: Pasid,
        /// The device's grant, in bits.
        bits: u8,
    },
    /// It is attached already: replace it.
    Attached(Pasid),
    /// It is not attached.
    NotAttached(Pasid),
    /// An address space or a driver refused.
    Refused(AddError),
    /// It is blocked, but an IOMMU did not confirm it; the device was silenced.
    Hung(Hung),
}

impl fmt::Display for PasidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDevice(device) => write!(f, "device {device} is not served here"),
            Self::Denied(why) => write!(f, "no PASIDs are granted: {why}"),
            Self::Range { pasid, bits } => write!(f, "PASID {pasid} is not in 1..{}", 1u64 << bits),
            Self::Attached(pasid) => write!(f, "PASID {pasid} is attached already"),
            Self::NotAttached(pasid) => write!(f, "PASID {pasid} is not attached"),
            Self::Refused(error) => error.fmt(f),
            Self::Hung(hung) => hung.fmt(f),
        }
    }
}
impl core::error::Error for PasidError {}

/// A domain that nobody has bound to a group yet (rule 4): it has a wish, and nothing can be mapped on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unbound {
    /// What it must be able to do, beyond what the group requires.
    pub wish: Requirements,
}

impl Unbound {
    /// Binds it: now a device's own IOMMU is known, and the address space is planned for the whole group.
    pub fn bind<P: Platform>(self, group: &OwnedGroup<P>) -> Result<Arc<AddressSpace<P>>, (AddError, Self)> {
        group.make_space(&self.wish).map_err(|error| (error, self))
    }
}

/// A group that somebody owns. Dropping it goes through parked back to the kernel's own domain; where that cannot be
/// restored, the group stays parked or blocked.
pub struct OwnedGroup<P: Platform> {
    subsystem: Subsystem<P>,
    group: GroupId,
}

impl<P: Platform> OwnedGroup<P> {
    pub(crate) fn take(
        subsystem: &Subsystem<P>,
        group: GroupId,
        owner: &'static str,
    ) -> Result<Self, TakeError> {
        let mut state = subsystem.turn();
        let present = state.group(group).ok_or(TakeError::NoGroup(group))?;
        if let Some(owner) = present.owner {
            return Err(TakeError::Owned(owner));
        }
        for (id, device) in state.members(group) {
            if device.bound && !crate::mutate::on("rule_13") {
                return Err(TakeError::Bound(id));
            }
            if device.status != Status::Served {
                return Err(TakeError::Member(id, device.status));
            }
        }
        let firm = |region: &crate::device::Region| {
            matches!(region.kind, RegionKind::Required { relaxable: false, .. }).then_some(region.span)
        };
        if let Some(span) = state.regions(group, None).iter().find_map(firm) {
            return Err(TakeError::Region(span));
        }
        let sources = state.sources(group, None);
        for blocked in [state.clear_pasids(&sources), state.park(group, &sources)] {
            if let Blocked::Unconfirmed(hung) = blocked {
                return Err(TakeError::Hung(hung));
            }
        }
        state.alive(&sources).map_err(TakeError::Hung)?;
        if let Some(group) = state.group_mut(group) {
            group.owner = Some(owner);
        }
        drop(state);
        Ok(Self { subsystem: subsystem.clone(), group })
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.group
    }

    fn make_space(&self, wish: &Requirements) -> Result<Arc<AddressSpace<P>>, AddError> {
        let state = self.subsystem.turn();
        let whole_group = state.requirements(self.group, None);
        let requirements = if crate::mutate::on("rule_04") { *wish } else { both(&whole_group, wish) };
        let sources = state.sources(self.group, None);
        let (space, _) = state.make_space(self.group, None, &sources, &requirements, Use::Owner)?;
        space.discard();
        Ok(space)
    }

    /// Puts the group's requests without a PASID on an address space: from parked, or in place of another, without an
    /// instant in between. All members or none.
    pub fn attach(&self, space: &Arc<AddressSpace<P>>) -> Result<(), AddError> {
        let mut state = self.subsystem.turn();
        let requirements = state.requirements(self.group, None);
        let sources = state.sources(self.group, None);
        state.ring(self.group, space)?;
        state.install_space(&sources, None, space, &requirements)?;
        confirmed(&state, &sources)
    }

    /// Lets the group's requests reach physical addresses as they are.
    ///
    /// # Safety
    /// Every device of the group may reach all memory until something else is attached or the value is dropped.
    pub unsafe fn attach_identity(&self) -> Result<(), AddError> {
        let mut state = self.subsystem.turn();
        let sources = state.sources(self.group, None);
        let whats: Vec<_> = sources.iter().map(|_| Installed::Identity).collect();
        state.install(&sources, None, &whats)?;
        confirmed(&state, &sources)
    }

    /// Puts the group on a table that somebody else owns and writes: a hypervisor's CPU stage 2. Every IOMMU of the group
    /// must be able to walk it (rule 11).
    ///
    /// # Safety
    /// The table is what `config` says, stays a table until something else is attached or the value is dropped, and leads
    /// only to memory that the devices may reach. Its owner invalidates what it unmaps with [`OwnedGroup::flush_foreign`]
    /// before the memory is reused.
    /// No entry of a first stage is global (G of RISC-V and x86, nG clear of Arm): others' devices could hit those in caches,
    /// and forgetting a tag spares them.
    pub unsafe fn attach_foreign(&self, root: Root, config: TableConfig) -> Result<(), AddError> {
        let mut state = self.subsystem.turn();
        let sources = state.sources(self.group, None);
        let tables = state.foreign(&sources, root, config)?;
        state.install(&sources, None, &tables).inspect_err(|_| state.untag(&sources, &tables))?;
        confirmed(&state, &sources)
    }

    /// Everything that IOMMUs and devices hold of a foreign table's `span` is forgotten.
    pub fn flush_foreign(&self, span: Span<ioward_types::Iova>) -> Result<(), Hung> {
        let state = self.subsystem.turn();
        self.subsystem.platform().fence();
        state.sources(self.group, None).iter().try_for_each(|source| state.flush_foreign(source, span))
    }

    /// Blocks the group's requests, and detaches every PASID. On `Err` the entries are blocked, but caches are unknown and the devices
    /// were silenced.
    pub fn block(&self) -> Result<(), Hung> {
        let mut state = self.subsystem.turn();
        let sources = state.sources(self.group, None);
        match state.block_all(&sources, None) {
            Blocked::Confirmed => Ok(()),
            Blocked::Unconfirmed(hung) => Err(hung),
        }
    }

    /// Puts a PASID of a member on an address space.
    pub fn attach_pasid(
        &self,
        device: DeviceId,
        pasid: Pasid,
        space: &Arc<AddressSpace<P>>,
    ) -> Result<(), PasidError> {
        self.subsystem.turn().set_pasid(Some(self.group), device, pasid, space, false)
    }

    /// Puts a PASID of a member on another address space, without an instant in between.
    pub fn replace_pasid(
        &self,
        device: DeviceId,
        pasid: Pasid,
        space: &Arc<AddressSpace<P>>,
    ) -> Result<(), PasidError> {
        self.subsystem.turn().set_pasid(Some(self.group), device, pasid, space, true)
    }

    /// Blocks a PASID of a member.
    pub fn detach_pasid(&self, device: DeviceId, pasid: Pasid) -> Result<(), PasidError> {
        self.subsystem.turn().clear_pasid(Some(self.group), device, pasid)
    }
}

impl<P: Platform> Drop for OwnedGroup<P> {
    fn drop(&mut self) {
        let mut state = self.subsystem.turn();
        let sources = state.sources(self.group, None);
        // What is not confirmed has been silenced, and nothing is installed on it again.
        let _ = state.clear_pasids(&sources);
        let _ = state.park(self.group, &sources);
        if let Some(group) = state.group_mut(self.group) {
            group.owner = None;
        }
        let requirements = state.requirements(self.group, None);
        // If the default domain cannot be had, the group stays parked: drivers that bind are told that it is blocked.
        let rebuilt = state.rebuild(self.group, None, &requirements);
        if let (Err(_), Some(group)) = (rebuilt, state.group_mut(self.group)) {
            group.default = Rid::Blocked;
        }
        let kept_out = |(id, device): (DeviceId, &crate::state::DeviceRecord)| {
            matches!(device.status, Status::Refused(AddError::GroupOwned(_))).then_some(id)
        };
        let kept_out: Vec<DeviceId> = state.members(self.group).filter_map(kept_out).collect();
        kept_out.into_iter().for_each(|id| state.probe(id));
    }
}

impl<P: Platform> fmt::Debug for OwnedGroup<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnedGroup({})", self.group)
    }
}

impl<P: Platform> Bound<P> {
    /// An address space for PASIDs of the bound device, planned for its whole group.
    pub fn make_space(&self, wish: &Requirements) -> Result<Arc<AddressSpace<P>>, PasidError> {
        let state = self.subsystem().turn();
        let group =
            state.device(self.id()).and_then(|device| device.group).ok_or(PasidError::NoDevice(self.id()))?;
        let requirements = both(&state.requirements(group, None), wish);
        let sources = state.device(self.id()).map(|device| device.sources.clone()).unwrap_or_default();
        let made = state.make_space(group, None, &sources, &requirements, Use::Pasid);
        let (space, _) = made.map_err(PasidError::Refused)?;
        space.discard();
        Ok(space)
    }

    /// Puts a PASID of the device on an address space.
    pub fn attach_pasid(&self, pasid: Pasid, space: &Arc<AddressSpace<P>>) -> Result<(), PasidError> {
        self.subsystem().turn().set_pasid(None, self.id(), pasid, space, false)
    }

    /// Puts a PASID on another address space, without an instant in between.
    pub fn replace_pasid(&self, pasid: Pasid, space: &Arc<AddressSpace<P>>) -> Result<(), PasidError> {
        self.subsystem().turn().set_pasid(None, self.id(), pasid, space, true)
    }

    /// Blocks a PASID.
    pub fn detach_pasid(&self, pasid: Pasid) -> Result<(), PasidError> {
        self.subsystem().turn().clear_pasid(None, self.id(), pasid)
    }
}

/// What was asked for is installed; tells whether what was there before is confirmed to be gone.
fn confirmed<P: Platform>(state: &State<P>, sources: &[Source]) -> Result<(), AddError> {
    state.alive(sources).map_err(|hung| AddError::Driver(hung.into()))
}

/// What satisfies both.
fn both(a: &Requirements, b: &Requirements) -> Requirements {
    Requirements {
        pasid_bits: a.pasid_bits.max(b.pasid_bits),
        addr_bits: a.addr_bits.min(b.addr_bits),
        coherent: a.coherent || b.coherent,
        dirty: a.dirty || b.dirty,
        nest_parent: a.nest_parent || b.nest_parent,
    }
}

impl<P: Platform> State<P> {
    fn pasid_device(
        &self,
        group: Option<GroupId>,
        id: DeviceId,
        pasid: Pasid,
    ) -> Result<(GroupId, Vec<Source>), PasidError> {
        let device = self.device(id).filter(|device| device.status == Status::Served);
        let device = device
            .filter(|device| group.is_none() || device.group == group)
            .ok_or(PasidError::NoDevice(id))?;
        let bits = device.pasid.map_err(PasidError::Denied)?;
        if pasid.0 == 0 || pasid.0 >> bits != 0 {
            return Err(PasidError::Range { pasid, bits });
        }
        Ok((device.group.ok_or(PasidError::NoDevice(id))?, device.sources.clone()))
    }

    fn set_pasid(
        &mut self,
        group: Option<GroupId>,
        id: DeviceId,
        pasid: Pasid,
        space: &Arc<AddressSpace<P>>,
        replace: bool,
    ) -> Result<(), PasidError> {
        let (group, sources) = self.pasid_device(group, id, pasid)?;
        let attached = self.has_pasid(&sources, pasid);
        if attached && !replace {
            return Err(PasidError::Attached(pasid));
        }
        if !attached && replace {
            return Err(PasidError::NotAttached(pasid));
        }
        let requirements = self.requirements(group, None);
        self.install_space(&sources, Some(pasid), space, &requirements).map_err(PasidError::Refused)?;
        self.alive(&sources).map_err(PasidError::Hung)
    }

    fn clear_pasid(&mut self, group: Option<GroupId>, id: DeviceId, pasid: Pasid) -> Result<(), PasidError> {
        let (_, sources) = self.pasid_device(group, id, pasid)?;
        if !self.has_pasid(&sources, pasid) {
            return Err(PasidError::NotAttached(pasid));
        }
        match self.block_all(&sources, Some(pasid)) {
            Blocked::Confirmed => Ok(()),
            Blocked::Unconfirmed(hung) => Err(PasidError::Hung(hung)),
        }
    }

    fn has_pasid(&self, sources: &[Source], pasid: Pasid) -> bool {
        sources
            .iter()
            .any(|source| self.entries.get(source).is_some_and(|entry| entry.pasids.contains_key(&pasid)))
    }

    /// A tag for each of `sources` under which somebody else's table can be installed.
    pub(crate) fn foreign(
        &self,
        sources: &[Source],
        root: Root,
        config: TableConfig,
    ) -> Result<Vec<Installed<P>>, AddError> {
        let mut tables: Vec<Installed<P>> = Vec::new();
        for (done, source) in sources.iter().enumerate() {
            let Some(entry) = self.entries.get(source) else { continue };
            let mut config = config;
            if let (true, Ok(Plan::Tables(own))) =
                (crate::mutate::on("rule_11"), entry.driver.plan(&Requirements::default()))
            {
                config = own;
            }
            match entry.driver.can_walk(&config).and_then(|()| entry.driver.tag(&Plan::Tables(config))) {
                Ok(tag) => tables.push(Installed::Foreign(ForeignTable { root, config, tag })),
                Err(refused) => {
                    self.untag(&sources[..done], &tables);
                    return Err(refused.into());
                }
            }
        }
        Ok(tables)
    }

    pub(crate) fn untag(&self, sources: &[Source], tables: &[Installed<P>]) {
        for (source, table) in sources.iter().zip(tables) {
            if let (Some(entry), Installed::Foreign(foreign)) = (self.entries.get(source), table)
                && !entry.may_hold(None, table)
            {
                // Never installed, or put back: a tag that is not confirmed is not used again.
                // SAFETY: no entry holds it.
                let _ = unsafe { entry.driver.untag(foreign.tag) };
            }
        }
    }

    fn flush_foreign(&self, source: &Source, span: Span<ioward_types::Iova>) -> Result<(), Hung> {
        let Some(entry) = self.entries.get(source) else { return Ok(()) };
        let Installed::Foreign(table) = &entry.rid else { return Ok(()) };
        let target = [crate::driver::AtcTarget { source: source.1, pasid: None }];
        let atc: &[_] = if entry.ats { &target } else { &[] };
        let granule = table.config.granule();
        entry.driver.flush(&[crate::driver::Flush { tag: table.tag, span, granule, tables_went: true, atc }])
    }
}
