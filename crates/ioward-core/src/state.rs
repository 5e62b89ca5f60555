//! Everything that the registry knows, behind its turn.

use crate::{
    device::{DeviceId, DeviceInfo, GroupId, PasidDenied, PasidOffer, Region, Source, Status},
    dma::SegmentLimits,
    driver::{Driver, Hung, Plan, Requirements, Slot, Translation},
    near::Near,
    pages::TablePages,
    policy::{GroupView, Policy},
    space::{AddressSpace, LazySpaces},
};
use alloc::{collections::BTreeMap, string::String, sync::Arc, vec::Vec};
use core::cell::Cell;
use ioward_types::{DeviceControl, IommuId, Pasid, Platform, Root, TableConfig, Tag};

/// Things that are named by index and generation.
pub struct Arena<T> {
    places: Vec<(u32, Option<T>)>,
    /// Places that are empty.
    vacant: Vec<u32>,
}

impl<T> Arena<T> {
    pub const fn new() -> Self {
        Self { places: Vec::new(), vacant: Vec::new() }
    }

    pub fn insert(&mut self, value: T) -> (u32, u32) {
        match self.vacant.pop() {
            Some(index) => {
                let (generation, place) = &mut self.places[index as usize];
                *generation = generation.wrapping_add(1);
                *place = Some(value);
                (index, *generation)
            }
            None => {
                self.places.push((0, Some(value)));
                (self.places.len() as u32 - 1, 0)
            }
        }
    }

    pub fn find(&self, index: u32, generation: u32) -> Option<&T> {
        self.places.get(index as usize).filter(|(current, _)| *current == generation)?.1.as_ref()
    }

    pub fn find_mut(&mut self, index: u32, generation: u32) -> Option<&mut T> {
        self.places.get_mut(index as usize).filter(|(current, _)| *current == generation)?.1.as_mut()
    }

    pub fn remove(&mut self, index: u32, generation: u32) -> Option<T> {
        let value =
            self.places.get_mut(index as usize).filter(|(current, _)| *current == generation)?.1.take()?;
        self.vacant.push(index);
        Some(value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, u32, &T)> {
        let present = |(index, (generation, value)): (usize, &'_ (u32, Option<T>))| {
            value.is_some().then_some((index as u32, *generation))
        };
        self.places.iter().enumerate().filter_map(move |place| {
            let (index, generation) = present(place)?;
            Some((index, generation, place.1.1.as_ref()?))
        })
    }
}

/// A device as it stands.
pub struct DeviceRecord {
    pub name: String,
    pub sources: Vec<Source>,
    pub joins: Vec<Source>,
    pub offer: PasidOffer,
    pub pasid: Result<u8, PasidDenied>,
    pub ats: Option<u8>,
    pub addr_bits: u8,
    pub coherent: bool,
    pub dirty: bool,
    pub trusted: bool,
    pub regions: Vec<Region>,
    pub isolated_doorbells: bool,
    pub segments: SegmentLimits,
    pub snoops: bool,
    pub control: Arc<dyn DeviceControl>,
    pub status: Status,
    pub group: Option<GroupId>,
    /// A driver that does DMA is bound.
    pub bound: bool,
    /// Its source is a served device's too, so it was kept off by bus mastering.
    pub kept_off: bool,
    /// The entries of its sources are its to use: it was attached.
    pub attached: bool,
}

/// What an entry holds.
#[derive(Clone)]
pub enum Installed<P: Platform> {
    Blocked,
    Identity,
    Paging { space: Arc<AddressSpace<P>>, plan: Plan },
    Foreign(ForeignTable),
}

impl<P: Platform> Installed<P> {
    /// Whether both lead to the same table.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Paging { space, .. }, Self::Paging { space: other, .. }) => Arc::ptr_eq(space, other),
            (Self::Foreign(table), Self::Foreign(other)) => table.tag == other.tag,
            _ => false,
        }
    }
}

/// A table that somebody else owns, installed.
#[derive(Clone, Copy)]
pub struct ForeignTable {
    pub root: Root,
    pub config: TableConfig,
    pub tag: Tag,
}

impl ForeignTable {
    pub fn translation(&self) -> Translation<'_> {
        Translation::Foreign { root: self.root, config: &self.config, tag: self.tag }
    }
}

/// A source that somebody has claimed.
pub struct Entry<P: Platform> {
    pub slot: Slot,
    pub driver: Arc<dyn Driver>,
    pub users: Vec<DeviceId>,
    pub ats: bool,
    pub rid: Installed<P>,
    pub pasids: BTreeMap<Pasid, Installed<P>>,
    /// An IOMMU did not confirm that it forgot something: nothing is installed here any more.
    pub dead: Option<Hung>,
    /// What it may hold all the same: an install that was not confirmed. It is let go of when a block is.
    pub doubtful: Vec<(Option<Pasid>, Installed<P>)>,
}

impl<P: Platform> Entry<P> {
    /// Whether an install of this was not confirmed.
    pub fn may_hold(&self, pasid: Option<Pasid>, what: &Installed<P>) -> bool {
        self.doubtful.iter().any(|(of, doubtful)| *of == pasid && doubtful.is(what))
    }
}

/// What a whole group is on.
#[derive(Clone)]
pub enum Rid<P: Platform> {
    Blocked,
    Identity,
    Paging(Arc<AddressSpace<P>>),
}

pub struct Group<P: Platform> {
    pub members: Vec<DeviceId>,
    pub default: Rid<P>,
    /// Present where firmware requires regions.
    pub parked: Option<Arc<AddressSpace<P>>>,
    pub owner: Option<&'static str>,
}

pub struct State<P: Platform> {
    /// Tells this subsystem from every other.
    pub registry: usize,
    pub drivers: Vec<Arc<dyn Driver>>,
    pub devices: Arena<DeviceRecord>,
    /// Where a newcomer finds whom it cannot be told apart from.
    pub near: Near,
    pub groups: Arena<Group<P>>,
    pub entries: BTreeMap<Source, Entry<P>>,
    pub policy: Policy,
    /// What the tables of all its address spaces are made of.
    pub pages: TablePages<P>,
    /// Those of its address spaces that flush later.
    pub lazy: Arc<LazySpaces<P>>,
    /// How many address spaces there have been.
    pub spaces: Cell<u64>,
}

impl<P: Platform> State<P> {
    pub fn driver(&self, iommu: IommuId) -> Option<&Arc<dyn Driver>> {
        self.drivers.iter().find(|driver| driver.id() == iommu)
    }

    pub fn device(&self, id: DeviceId) -> Option<&DeviceRecord> {
        self.devices.find(id.index, id.generation)
    }

    pub fn device_mut(&mut self, id: DeviceId) -> Option<&mut DeviceRecord> {
        self.devices.find_mut(id.index, id.generation)
    }

    pub fn group(&self, id: GroupId) -> Option<&Group<P>> {
        self.groups.find(id.index, id.generation)
    }

    pub fn group_mut(&mut self, id: GroupId) -> Option<&mut Group<P>> {
        self.groups.find_mut(id.index, id.generation)
    }

    /// The devices of a group, whatever their state.
    pub fn members(&self, group: GroupId) -> impl Iterator<Item = (DeviceId, &DeviceRecord)> {
        let ids = self.group(group).map(|group| group.members.as_slice()).unwrap_or_default();
        ids.iter().filter_map(|id| Some((*id, self.device(*id)?)))
    }

    /// The members whose requests a domain of the group serves, `newcomer` among them.
    pub fn served(
        &self,
        group: GroupId,
        newcomer: Option<DeviceId>,
    ) -> impl Iterator<Item = (DeviceId, &DeviceRecord)> {
        self.members(group).filter(move |(id, device)| device.attached || Some(*id) == newcomer)
    }

    /// Every claimed source of the served members, once.
    pub fn sources(&self, group: GroupId, newcomer: Option<DeviceId>) -> Vec<Source> {
        let mut sources: Vec<Source> =
            self.served(group, newcomer).flat_map(|(_, device)| device.sources.iter().copied()).collect();
        sources.sort_unstable();
        sources.dedup();
        sources
    }

    /// Over every served member of the group, never over one of them (rule 2).
    pub fn requirements(&self, group: GroupId, newcomer: Option<DeviceId>) -> Requirements {
        let first_only = if crate::mutate::on("rule_02") { 1 } else { usize::MAX };
        let start = Requirements::default();
        self.served(group, newcomer).take(first_only).fold(start, |all, (_, device)| Requirements {
            pasid_bits: if crate::mutate::on("rule_06") {
                0
            } else {
                all.pasid_bits.max(device.pasid.unwrap_or(0))
            },
            addr_bits: all.addr_bits.min(device.addr_bits),
            coherent: all.coherent || device.coherent,
            dirty: all.dirty || device.dirty,
            nest_parent: all.nest_parent,
        })
    }

    /// The regions of every member of the group that is not refused: a device that waits may be served soon.
    pub fn regions(&self, group: GroupId, newcomer: Option<DeviceId>) -> Vec<Region> {
        let counts = |id: DeviceId, device: &DeviceRecord| {
            Some(id) == newcomer || device.attached || !matches!(device.status, Status::Refused(_))
        };
        let members = self.members(group).filter(|(id, device)| counts(*id, device));
        members.flat_map(|(_, device)| device.regions.iter().copied()).collect()
    }

    pub fn view(&self, group: GroupId, newcomer: Option<DeviceId>) -> GroupView {
        let mut view = GroupView { names: Vec::new(), sources: Vec::new(), trusted: true, pasids: false };
        let only =
            |id: DeviceId| !crate::mutate::on("rule_05") || newcomer.is_none_or(|newcomer| newcomer == id);
        for (_, device) in self.served(group, newcomer).filter(|(id, _)| only(*id)) {
            view.names.push(device.name.clone());
            view.sources.extend_from_slice(&device.sources);
            view.trusted &= device.trusted;
            view.pasids |= device.pasid.is_ok_and(|bits| bits != 0);
        }
        view
    }

    pub fn info(&self, id: DeviceId) -> Option<DeviceInfo> {
        let device = self.device(id)?;
        Some(DeviceInfo {
            id,
            name: device.name.clone(),
            sources: device.sources.clone(),
            group: device.group,
            status: device.status,
            pasid: device.pasid,
            kept_off_by_bus_mastering: device.kept_off,
            bound: device.bound,
        })
    }
}
