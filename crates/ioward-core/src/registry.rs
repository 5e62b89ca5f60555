//! The subsystem: IOMMUs are registered, devices are added, faults are polled.

use crate::{
    device::{AddError, DeviceDesc, DeviceId, DeviceInfo, GroupId, PasidDenied, Source, Status},
    dma::Dma,
    driver::{Blocked, Driver, Hung},
    fault::{Report, Sources},
    mediated::Mediated,
    near::Near,
    order::{Rank, Ranked},
    owner::{OwnedGroup, TakeError},
    pages::TablePages,
    policy::{Policy, UnservedKind},
    space::LazySpaces,
    state::{Arena, DeviceRecord, Installed, Rid, State},
    turn::{Turn, TurnGuard},
};
use alloc::{sync::Arc, vec::Vec};
use core::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};
use ioward_types::{DeviceControl, IommuId, Iova, Nanos, Platform};

/// The IOMMU subsystem of a machine. Clones are the same.
pub struct Subsystem<P: Platform>(Arc<Registry<P>>);

impl<P: Platform> Clone for Subsystem<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Registry<P: Platform> {
    platform: P,
    state: Turn<State<P>>,
    sources: Ranked<P::Lock, Sources>,
    lazy: Arc<LazySpaces<P>>,
    pages: TablePages<P>,
}

/// Why an IOMMU is not registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RegisterError {
    /// Another one has its number.
    Twice(IommuId),
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice(iommu) => write!(f, "IOMMU {iommu} is registered already"),
        }
    }
}
impl core::error::Error for RegisterError {}

impl<P: Platform> Subsystem<P> {
    /// A subsystem without IOMMUs and devices, with the default policy: everybody is translated.
    pub fn new(platform: P) -> Self {
        Self::with_policy(platform, Policy::default())
    }

    /// A subsystem with another default-domain policy.
    pub fn with_policy(platform: P, policy: Policy) -> Self {
        static SUBSYSTEMS: AtomicUsize = AtomicUsize::new(0);
        let lazy = Arc::new(LazySpaces::new());
        let pages = TablePages::new(platform.clone());
        let state = State {
            lazy: lazy.clone(),
            registry: SUBSYSTEMS.fetch_add(1, Ordering::Relaxed),
            drivers: Vec::new(),
            devices: Arena::new(),
            near: Near::default(),
            groups: Arena::new(),
            entries: Default::default(),
            policy,
            spaces: Default::default(),
            pages: pages.clone(),
        };
        let sources = Ranked::new(Rank::Sources, Sources::default());
        Self(Arc::new(Registry { platform, state: Turn::new(state), sources, lazy, pages }))
    }

    /// The platform that it lives on.
    pub fn platform(&self) -> &P {
        &self.0.platform
    }

    pub(crate) fn turn(&self) -> TurnGuard<'_, State<P>> {
        self.0.state.take(&self.0.platform)
    }

    /// Takes an IOMMU in. Devices that waited for it are probed again (rule 14); who is served then is in the list.
    pub fn register(&self, driver: Arc<dyn Driver>) -> Result<Vec<DeviceInfo>, RegisterError> {
        let mut state = self.turn();
        let iommu = driver.id();
        if state.driver(iommu).is_some() {
            return Err(RegisterError::Twice(iommu));
        }
        state.drivers.push(driver);
        let waiting = |(index, generation, device): (u32, u32, &DeviceRecord)| {
            matches!(device.status, Status::Waiting(_)).then_some(DeviceId { index, generation })
        };
        let waiting: Vec<DeviceId> = state.devices.iter().filter_map(waiting).collect();
        if crate::mutate::on("rule_14") {
            return Ok(Vec::new());
        }
        waiting.iter().for_each(|id| state.probe(*id));
        Ok(waiting
            .iter()
            .filter_map(|id| state.info(*id))
            .filter(|info| info.status == Status::Served)
            .collect())
    }

    /// The IOMMUs that are registered.
    pub fn iommus(&self) -> Vec<Arc<dyn Driver>> {
        self.turn().drivers.clone()
    }

    /// Takes a device in: claimed (so blocked), grouped, attached. The handle is there whatever became of it: its status
    /// tells, and a device that is not served lets no driver bind. May sleep.
    pub fn add(&self, device: &DeviceDesc<'_>) -> Device<P> {
        let mut state = self.turn();
        let first = device.sources.first().map_or(IommuId(0), |source| source.0);
        let record = DeviceRecord {
            name: device.name.into(),
            sources: device.sources.into(),
            joins: device.joins.into(),
            offer: device.pasid,
            pasid: Err(PasidDenied::Device),
            ats: device.ats,
            addr_bits: device.addr_bits,
            coherent: device.coherent,
            dirty: device.dirty,
            trusted: device.trusted,
            regions: device.regions.into(),
            isolated_doorbells: device.isolated_doorbells,
            segments: device.segments,
            snoops: device.snoops,
            control: if device.bridge {
                Arc::new(KeptOn(device.control.clone()))
            } else {
                device.control.clone()
            },
            status: Status::Waiting(first),
            group: None,
            bound: false,
            kept_off: false,
            attached: false,
        };
        let (index, generation) = state.devices.insert(record);
        let id = DeviceId { index, generation };
        state.near.add(id, device.sources, device.joins);
        {
            let mut sources = self.0.sources.lock();
            device.sources.iter().for_each(|source| sources.add(*source, id, device.name));
        }
        // A newcomer that has never been let off stays as the bus left it.
        if let Some(record) = state.device_mut(id) {
            record.status = Status::Unserved;
        }
        state.probe(id);
        Device { subsystem: self.clone(), id, removed: false }
    }

    /// Takes in a device that has no IOMMU because another device does its DMA (rule 12).
    pub fn add_mediated(&self, name: &str) -> Mediated {
        if crate::mutate::on("rule_12") {
            core::mem::forget(self.add(&DeviceDesc::new(
                name,
                &[],
                Arc::new(ioward_types::control::Uncontrolled),
            )));
        }
        Mediated::new(name)
    }

    /// Every device and how it stands.
    pub fn devices(&self) -> Vec<DeviceInfo> {
        let state = self.turn();
        state
            .devices
            .iter()
            .filter_map(|(index, generation, _)| state.info(DeviceId { index, generation }))
            .collect()
    }

    /// A group and what it is on.
    pub fn group(&self, id: GroupId) -> Option<GroupInfo> {
        let state = self.turn();
        let group = state.group(id)?;
        let domain = |source: &Source| match state.entries.get(source).map(|entry| &entry.rid) {
            Some(Installed::Paging { plan, .. }) => DomainInfo::Paging(*plan),
            Some(Installed::Identity) => DomainInfo::Identity,
            Some(Installed::Foreign(table)) => DomainInfo::Foreign(table.config),
            Some(Installed::Blocked) | None => DomainInfo::Blocked,
        };
        let sources = state.sources(id, None);
        let domains = sources.iter().map(|source| (*source, domain(source))).collect();
        let aperture = match &group.default {
            Rid::Paging(space) => Some(space.aperture().last()),
            _ => None,
        };
        Some(GroupInfo { members: group.members.clone(), owner: group.owner, domains, aperture })
    }

    /// Whether the interrupts of a group's devices are isolated: whether what they write can raise no interrupt but their
    /// own. Who takes a group for somebody that is not trusted asks first.
    pub fn interrupts(&self, id: GroupId) -> Option<InterruptIsolation> {
        let state = self.turn();
        state.group(id)?;
        Some(isolation(&state, id))
    }

    /// Takes a group for a user (rule 13). Its devices are on parked or blocked until the owner attaches something.
    pub fn take(&self, group: GroupId, owner: &'static str) -> Result<OwnedGroup<P>, TakeError> {
        OwnedGroup::take(self, group, owner)
    }

    /// Drains every IOMMU's queues and delivers what they report, and flushes for what lazy domains have put off. From
    /// interrupt handlers or a timer; interrupts may be off. The result is when to come back at the latest: for the counts
    /// of what was not delivered, and because what is put off waits for a bounded time.
    pub fn poll(&self, drivers: &[Arc<dyn Driver>], sink: &mut dyn FnMut(Report)) -> Option<Nanos> {
        let now = self.0.platform.now();
        for driver in drivers {
            driver.poll(&mut |event| {
                let report = self.0.sources.lock().report(driver.id(), now, event);
                if let Some(report) = report {
                    sink(report);
                }
            });
        }
        let deadline = self.0.sources.lock().deadline();
        let flush = self.0.lazy.poll(now);
        [deadline, flush].into_iter().flatten().min_by_key(|at| at.0)
    }

    /// The pages that tables of its address spaces are made of, those among them that CPUs have at hand.
    /// [`TablePages::trim`] gives these back; so does [`AddressSpace::trim`](crate::AddressSpace::trim), which makes more of
    /// them first.
    pub fn table_pages(&self) -> &TablePages<P> {
        &self.0.pages
    }

    pub(crate) fn forget_sources(&self, id: DeviceId, of: &[Source]) {
        let mut sources = self.0.sources.lock();
        of.iter().for_each(|source| sources.remove(*source, id));
    }
}

impl<P: Platform> fmt::Debug for Subsystem<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.devices()).finish()
    }
}

/// Whether the interrupts of a group's devices are isolated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InterruptIsolation {
    /// Every message of every member is checked against entries of its own source, by the IOMMU or by the controller
    /// behind its doorbell.
    Isolated,
    /// The messages of this source are not checked: a write of its can raise anybody's interrupt.
    Open(Source),
    /// This member is served by no IOMMU.
    Unserved(DeviceId),
}

/// An IOMMU that takes messages for itself checks them, or not. Where messages are translated like other writes, a device
/// reaches the doorbells that its domain contains and no other, so the controller's word on each of them counts.
fn isolation<P: Platform>(state: &State<P>, group: GroupId) -> InterruptIsolation {
    for (id, device) in state.members(group) {
        if device.status != Status::Served {
            return InterruptIsolation::Unserved(id);
        }
        for source in &device.sources {
            let Some(driver) = state.driver(source.0) else { return InterruptIsolation::Unserved(id) };
            let checked = match driver.interrupts() {
                Some(interrupts) => interrupts.isolates(source.1),
                None => device.isolated_doorbells && driver.forbidden().is_empty(),
            };
            if !checked {
                return InterruptIsolation::Open(*source);
            }
        }
    }
    InterruptIsolation::Isolated
}

/// A bridge as the bus controls it: everything but its bus mastering, on which others depend, can be turned off.
struct KeptOn(Arc<dyn DeviceControl>);

impl DeviceControl for KeptOn {
    fn bus_master(&self, on: bool) {
        if on {
            self.0.bus_master(true);
        }
    }
    fn pasid(&self, bits: Option<u8>) {
        self.0.pasid(bits);
    }
    fn ats(&self, page_shift: Option<u8>) {
        self.0.ats(page_shift);
    }
    fn page_requests(&self, outstanding: Option<u32>) {
        self.0.page_requests(outstanding);
    }
    fn reset(&self) -> Result<(), Nanos> {
        self.0.reset()
    }
}

/// A group, for reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupInfo {
    /// Its devices, served or not.
    pub members: Vec<DeviceId>,
    /// Who has taken it.
    pub owner: Option<&'static str>,
    /// What each source goes through.
    pub domains: Vec<(Source, DomainInfo)>,
    /// The last IOVA of its default domain, where that is a paging one.
    pub aperture: Option<Iova>,
}

/// What requests without a PASID go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DomainInfo {
    /// Nothing is reachable.
    Blocked,
    /// Everything is.
    Identity,
    /// What is mapped, in a carrier of this plan.
    Paging(crate::driver::Plan),
    /// What somebody else's table says.
    Foreign(ioward_types::TableConfig),
}

/// A device that the subsystem has taken in. Not `Clone`: the bus holds it. Dropping it removes the device.
pub struct Device<P: Platform> {
    subsystem: Subsystem<P>,
    id: DeviceId,
    removed: bool,
}

/// Why no driver may bind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BindError {
    /// The device is not served, for this reason.
    NotServed(Status),
    /// Somebody has taken its group (rule 13).
    Owned(&'static str),
    /// Its group is blocked by policy.
    Blocked,
    /// A driver is bound already.
    Bound,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotServed(Status::Refused(why)) => write!(f, "the device is refused: {why}"),
            Self::NotServed(Status::Waiting(iommu)) => write!(f, "the device waits for IOMMU {iommu}"),
            Self::NotServed(_) => f.write_str("no IOMMU serves the device, and the policy does not trust it"),
            Self::Owned(owner) => write!(f, "its group is owned by {owner}"),
            Self::Blocked => f.write_str("its group is blocked by policy"),
            Self::Bound => f.write_str("a driver is bound already"),
        }
    }
}
impl core::error::Error for BindError {}

impl<P: Platform> Device<P> {
    /// Its name for look-ups and logs.
    pub fn id(&self) -> DeviceId {
        self.id
    }

    /// How it stands.
    pub fn info(&self) -> DeviceInfo {
        match self.subsystem.turn().info(self.id) {
            Some(info) => info,
            None => unreachable!("a device is in the registry as long as its handle lives"),
        }
    }

    /// How it stands, in short.
    pub fn status(&self) -> Status {
        self.info().status
    }

    /// Tries once more to serve a device that was refused.
    pub fn retry(&self) -> Status {
        let mut state = self.subsystem.turn();
        if state.device(self.id).is_some_and(|device| matches!(device.status, Status::Refused(_))) {
            // An IOMMU that did not confirm something may do so now; until it does, nothing is tried.
            match state.let_go(self.id) {
                Ok(()) => state.probe(self.id),
                Err(hung) => state.refuse(self.id, AddError::Driver(hung.into())),
            }
        }
        drop(state);
        self.status()
    }

    /// A driver that does DMA binds. It gets the DMA API only here, so that the device is attached before (rule 9).
    pub fn bind(&self) -> Result<Bound<P>, BindError> {
        let mut state = self.subsystem.turn();
        let policy = state.policy.unserved;
        let Some(device) = state.device(self.id) else { return Err(BindError::Bound) };
        let limit = Iova(if device.addr_bits >= 64 { u64::MAX } else { (1 << device.addr_bits) - 1 });
        let (segments, snoops) = (device.segments, device.snoops);
        let group = device.group.and_then(|group| state.group(group));
        if device.bound {
            return Err(BindError::Bound);
        }
        if let Some(owner) = group.and_then(|group| group.owner)
            && !crate::mutate::on("rule_13")
        {
            return Err(BindError::Owned(owner));
        }
        let dma = match (device.status, group.map(|group| &group.default)) {
            (Status::Served, Some(Rid::Paging(space))) => Dma::new(space.clone(), limit),
            (Status::Served, Some(Rid::Identity)) => Dma::direct(self.subsystem.platform().clone(), limit),
            (Status::Served, _) => return Err(BindError::Blocked),
            (Status::Unserved, _) if policy == UnservedKind::Trust => {
                Dma::direct(self.subsystem.platform().clone(), limit)
            }
            (status, _) => return Err(BindError::NotServed(status)),
        };
        if let Some(device) = state.device_mut(self.id) {
            device.bound = true;
        }
        Ok(Bound {
            subsystem: self.subsystem.clone(),
            id: self.id,
            dma: Arc::new(dma.with(segments, snoops)),
        })
    }

    /// Resets the device: parked and PASIDs off, reset, everything as before. On `Err` it stays parked.
    pub fn reset(&self) -> Result<(), ResetError> {
        self.subsystem.turn().reset(self.id)
    }

    /// Takes the device out: its entries are blocked, what was mapped for it can still be unmapped. `gone`: it was pulled,
    /// no command is sent to it.
    pub fn remove(mut self, gone: bool) -> Blocked {
        self.removed = true;
        self.take_out(gone)
    }

    fn take_out(&self, gone: bool) -> Blocked {
        let mut state = self.subsystem.turn();
        let sources = state.device(self.id).map(|device| device.sources.clone()).unwrap_or_default();
        self.subsystem.forget_sources(self.id, &sources);
        state.remove(self.id, gone)
    }
}

impl<P: Platform> Drop for Device<P> {
    fn drop(&mut self) {
        if !self.removed {
            // What is not confirmed has been silenced.
            let _ = self.take_out(false);
        }
    }
}

impl<P: Platform> fmt::Debug for Device<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.id)
    }
}

/// Why a reset did not end with the device as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ResetError {
    /// The device is not served.
    NotServed,
    /// An IOMMU did not confirm that the device was parked; it was silenced and not reset.
    Hung(Hung),
    /// The device did not come back in this time. It stays parked.
    Device(Nanos),
    /// It could not be put back on its domain, and stays parked.
    Restore(crate::device::AddError),
}

impl fmt::Display for ResetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotServed => f.write_str("the device is not served"),
            Self::Hung(hung) => hung.fmt(f),
            Self::Device(waited) => write!(f, "the device did not come back in {waited}"),
            Self::Restore(error) => write!(f, "it stays parked: {error}"),
        }
    }
}
impl core::error::Error for ResetError {}

/// A driver that does DMA, bound to a device. Dropping it unbinds.
pub struct Bound<P: Platform> {
    subsystem: Subsystem<P>,
    id: DeviceId,
    dma: Arc<Dma<P>>,
}

impl<P: Platform> Bound<P> {
    /// The DMA API.
    pub fn dma(&self) -> &Arc<Dma<P>> {
        &self.dma
    }

    /// The device.
    pub fn id(&self) -> DeviceId {
        self.id
    }

    pub(crate) fn subsystem(&self) -> &Subsystem<P> {
        &self.subsystem
    }
}

impl<P: Platform> Drop for Bound<P> {
    fn drop(&mut self) {
        let mut state = self.subsystem.turn();
        let sources = state.device(self.id).map(|device| device.sources.clone()).unwrap_or_default();
        // A PASID is its driver's. What is not confirmed has been silenced, and the device is refused from then on.
        let _ = state.clear_pasids(&sources);
        if let Some(device) = state.device_mut(self.id) {
            device.bound = false;
        }
    }
}

impl<P: Platform> fmt::Debug for Bound<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bound({})", self.id)
    }
}
