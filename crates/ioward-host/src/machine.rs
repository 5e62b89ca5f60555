//! A machine, and how parts become one.

use crate::{
    Degraded, Kernel, Nothing, ReadError, Record, Removable, dump, harmless, record::Extent, snapshot, sysfs,
};
use ioward::{
    discover::{self, Bus, Facts},
    pci::{Bdf, Finding, Function, Problem, Topology, groups::Policy, lspci},
    types::describe::Table,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

/// The most files that are named where nothing was found.
const MOST_NAMED: usize = 8;

/// Where a machine was read from.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Origin {
    /// The machine that this runs on.
    Live,
    /// A copy of a sysfs.
    Sysfs(PathBuf),
    /// A directory of tables and listings.
    Directory(PathBuf),
    /// One table, tree or listing.
    File(PathBuf),
    /// A snapshot.
    Snapshot(PathBuf),
}

impl Origin {
    /// Whether what is read can differ from one minute to the next, and running as root may help.
    pub fn is_live(&self) -> bool {
        *self == Self::Live
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live => f.write_str("this machine"),
            Self::Sysfs(path) | Self::Directory(path) | Self::File(path) | Self::Snapshot(path) => {
                path.display().fmt(f)
            }
        }
    }
}

/// A table or tree that describes IOMMUs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FirmwareTable {
    /// Its kind.
    pub kind: Table,
    /// The name of its file.
    pub file: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What was read, before functions are put together. Readers fill this, whatever they read.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Functions that a text describes.
    pub functions: Vec<Function>,
    /// What is wrong with functions of a text.
    pub findings: Vec<Finding>,
    /// Functions that a system describes.
    pub records: Vec<Record>,
    /// Firmware's tables.
    pub tables: Vec<FirmwareTable>,
    /// What the kernel says.
    pub kernel: Kernel,
    /// What was read in part.
    pub degraded: Vec<Degraded>,
    /// What could not be read.
    pub unread: Vec<ReadError>,
    /// Files that were read and say nothing of IOMMUs.
    pub passed_over: Vec<String>,
}

/// A machine, as far as it could be read.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Where it was read from.
    pub origin: Origin,
    /// Its functions and buses, with what firmware's tables add to them. Empty where only tables were read.
    pub topology: Topology,
    /// Firmware's tables, in the order of their files' names.
    pub tables: Vec<FirmwareTable>,
    /// What the system says of each function, where a system was read: live, a copy, a snapshot.
    pub records: BTreeMap<Bdf, Record>,
    /// What the kernel says.
    pub kernel: Kernel,
    /// What was read in part.
    pub degraded: Vec<Degraded>,
    /// What could not be read.
    pub unread: Vec<ReadError>,
    /// Files that were read and say nothing of IOMMUs.
    pub passed_over: Vec<String>,
}

impl Machine {
    /// The machine that this runs on.
    pub fn live() -> Result<Self, Nothing> {
        let mut parts = Parts::default();
        sysfs::read(Path::new(sysfs::LIVE), &mut parts);
        sysfs::read_proc(Path::new(sysfs::LIVE_PROC), &mut parts);
        parts.assemble(Origin::Live)
    }

    /// Whatever a path holds: a copy of sysfs, a directory of dumps, or one file.
    pub fn open(path: &Path) -> Result<Self, Nothing> {
        let mut parts = Parts::default();
        let origin = if let Some(root) = sysfs::find(path) {
            sysfs::read(&root, &mut parts);
            // Beside the copy of /sys there may be one of /proc.
            if let Some(proc) = root.parent().map(|parent| parent.join("proc")).filter(|proc| proc.is_dir()) {
                sysfs::read_proc(&proc, &mut parts);
            }
            Origin::Sysfs(path.into())
        } else {
            dump::read(path, &mut parts)
        };
        parts.assemble(origin)
    }

    /// What a path holds, or the machine that this runs on where there is none.
    pub fn read(path: Option<&Path>) -> Result<Self, Nothing> {
        path.map_or_else(Self::live, Self::open)
    }

    /// A machine that was put together by other means, to be studied like one that was read.
    pub fn of(origin: Origin, topology: Topology) -> Self {
        Self {
            origin,
            topology,
            tables: Vec::new(),
            records: BTreeMap::new(),
            kernel: Kernel::default(),
            degraded: Vec::new(),
            unread: Vec::new(),
            passed_over: Vec::new(),
        }
    }

    /// What the tables say.
    pub fn facts(&self) -> Facts<'_> {
        let mut facts = Facts::new();
        for table in &self.tables {
            facts.read(table.kind, &table.bytes);
        }
        facts
    }

    /// Tables and bus joined, with the groups of a policy.
    pub fn discover(&self, policy: &dyn Policy) -> discover::Machine {
        let grouping = policy.groups(&self.topology);
        discover::join(&self.facts(), &Bus::of(&self.topology, &grouping))
    }

    /// The kernel's own groups, by number, as far as anything that was read tells; empty where the kernel has none or
    /// nobody asked.
    pub fn kernel_groups(&self) -> BTreeMap<u32, BTreeSet<Bdf>> {
        let mut groups: BTreeMap<u32, BTreeSet<Bdf>> = BTreeMap::new();
        for function in self.topology.functions() {
            if let Some(group) = function.linux_group {
                groups.entry(group).or_default().insert(function.at);
            }
        }
        groups
    }

    /// Whether root could have read more.
    pub fn needs_root(&self) -> bool {
        self.degraded.iter().any(Degraded::needs_root) || self.unread.iter().any(ReadError::needs_root)
    }
}

impl Parts {
    /// Puts the parts together; an error where nothing was read that describes a machine.
    pub fn assemble(mut self, origin: Origin) -> Result<Machine, Nothing> {
        if self.functions.is_empty()
            && self.records.is_empty()
            && self.tables.is_empty()
            && self.passed_over.is_empty()
        {
            if self.unread.is_empty() {
                let path = match &origin {
                    Origin::Live => PathBuf::from(sysfs::LIVE),
                    Origin::Sysfs(path)
                    | Origin::Directory(path)
                    | Origin::File(path)
                    | Origin::Snapshot(path) => path.clone(),
                };
                for degraded in &self.degraded {
                    let Degraded::PassedOver { files } = degraded else { continue };
                    let most = files.iter().take(MOST_NAMED);
                    self.unread.extend(most.map(|file| ReadError::PassedOver { path: path.join(file) }));
                }
                self.unread.insert(0, ReadError::Nothing { path });
            }
            return Err(Nothing(self.unread));
        }
        harmless::parts(&mut self);
        self.count_extents();
        for record in &self.records {
            let mut findings = Vec::new();
            self.functions.push(record.function(&mut findings));
            // That only root may read the rest was said once for all of them.
            let is_cut = record.extent() == Extent::Header;
            findings.retain(|finding| !(is_cut && matches!(finding.problem, Problem::Unread { .. })));
            self.findings.append(&mut findings);
        }
        let mut topology = Topology::new(self.functions, self.findings);
        let records = self.records.into_iter().map(|record| (record.at, record)).collect();
        face_outside(&mut topology, &records);
        let mut machine = Machine {
            tables: self.tables,
            records,
            kernel: self.kernel,
            degraded: self.degraded,
            unread: self.unread,
            passed_over: self.passed_over,
            ..Machine::of(origin, Topology::new(Vec::new(), Vec::new()))
        };
        machine.facts().tell_aliases(&mut topology);
        machine.topology = topology;
        Ok(machine)
    }

    /// Adds IDs from a kernel log to functions that a text describes, and says again which lack them.
    pub(crate) fn add_ids(&mut self, log: &str) {
        self.functions.sort_by_key(|function| function.at);
        lspci::add_ids(&mut self.functions, log);
        let missing = self.functions.iter().filter(|function| function.ids.is_none()).count();
        self.degraded.retain_mut(|degraded| match degraded {
            Degraded::Listing { what: lspci::Degraded::NoIds { functions }, .. } => {
                *functions = missing.min(*functions);
                *functions != 0
            }
            _ => true,
        });
    }

    /// Tells how many functions a system shows in part only.
    fn count_extents(&mut self) {
        let count = |extent| self.records.iter().filter(|record| record.extent() == extent).count();
        let (cut, asleep, none) = (count(Extent::Header), count(Extent::AllOnes), count(Extent::None));
        self.degraded.extend((cut != 0).then_some(Degraded::CutConfig { functions: cut }));
        self.degraded.extend((asleep != 0).then_some(Degraded::Asleep { functions: asleep }));
        self.degraded.extend((none != 0).then_some(Degraded::NoConfig { functions: none }));
    }
}

/// The kernel calls a device removable if it is below a port that firmware calls external-facing, and so is everything
/// below it; the port itself is not removable.
fn face_outside(topology: &mut Topology, records: &BTreeMap<Bdf, Record>) {
    let removable =
        |at: Bdf| records.get(&at).is_some_and(|record| record.removable == Some(Removable::Removable));
    let mut ports = BTreeSet::new();
    for (index, function) in topology.functions().iter().enumerate() {
        let above = topology.above(index).map(|bridge| topology.functions()[bridge].at);
        ports.extend(above.filter(|&above| removable(function.at) && !removable(above)));
    }
    for port in ports {
        let _: bool = topology.set_external_facing(port);
    }
}

/// Used by readers: whether bytes are a snapshot, and if so its parts.
pub(crate) fn try_snapshot(path: &Path, bytes: &[u8], parts: &mut Parts) -> Option<Result<(), ReadError>> {
    snapshot::is_snapshot(bytes).then(|| snapshot::read(path, bytes, parts))
}
