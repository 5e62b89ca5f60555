//! From a machine to the document.

use super::{
    VERSION,
    bytes::Rows,
    form::{self, FORMAT, Number},
    redact::{self, Count, Removed},
};
use crate::{Degraded, Machine, Origin, Record, Removable, harmless::harmless};
use ioward::{pci::function::Ids, types::describe::Table};
use std::{collections::BTreeMap, fmt, path::Path};

/// A machine of which no snapshot can be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// It was read from text, which says less than a snapshot holds.
    Text {
        /// Where it was read from.
        origin: Origin,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { origin } => write!(
                f,
                "{origin}: a snapshot holds configuration space, and this is text of lspci: keep the text itself"
            ),
        }
    }
}
impl std::error::Error for Unfit {}

/// A machine as the text of a snapshot, and what was taken out, each with how often.
pub fn snapshot(machine: &Machine) -> Result<(String, BTreeMap<Removed, usize>), Unfit> {
    if machine.records.len() != machine.topology.functions().len() {
        return Err(Unfit::Text { origin: machine.origin.clone() });
    }
    let mut count = Count::new();
    let functions = machine.records.values().map(|record| function(record, &mut count)).collect();
    let tables = machine.tables.iter().map(|table| form::Table {
        kind: table.kind.to_string(),
        file: table.file.clone(),
        content: match table.kind {
            Table::DeviceTree => Rows::of(&redact::tree(&table.bytes, &mut count)),
            _ => Rows::of(&table.bytes),
        },
    });
    let tables = tables.collect();
    let denied = machine.degraded.iter().map(|degraded| match degraded {
        Degraded::TablesDenied { tables } => *tables,
        _ => 0,
    });
    let document = form::Document {
        format: FORMAT.into(),
        version: VERSION,
        removed: count.iter().map(|(what, times)| format!("{what}: {times}")).collect(),
        unread: machine.unread.iter().map(|error| unread(&machine.origin, error)).collect(),
        tables_denied: denied.sum(),
        functions,
        tables,
        kernel: kernel(machine),
    };
    let mut text = serde_json::to_string_pretty(&document).expect("keys are text and numbers are finite");
    text.push('\n');
    Ok((text, count))
}

fn function(record: &Record, count: &mut Count) -> form::Function {
    let pair = |ids: Ids| [Number(ids.vendor.into()), Number(ids.device.into())];
    form::Function {
        at: record.at.to_string(),
        ids: record.ids.map(pair),
        subsystem: record.subsystem.map(pair),
        class: record.class.map(|class| Number(class.into())),
        buses: record.buses.map(|(secondary, subordinate)| [secondary, subordinate]),
        driver: record.driver.clone(),
        group: record.group,
        numa_node: record.numa_node,
        removable: record.removable.map(|removable| removable == Removable::Removable),
        physical: record.physical.map(|at| at.to_string()),
        config: Rows::of(&redact::config(&record.config, count)),
    }
}

/// Paths tell who keeps what where, so only what lies below a copy's own folder is kept, or beside it (`proc` beside `sys`);
/// of any other file its name alone.
fn unread(origin: &Origin, error: &crate::ReadError) -> form::Unread {
    let path = match origin {
        Origin::Live => error.path(),
        Origin::Sysfs(root) | Origin::Directory(root) | Origin::File(root) | Origin::Snapshot(root) => {
            // The parent of a path of one part is empty, which every path has before it.
            let beside = || root.parent().filter(|parent| !parent.as_os_str().is_empty());
            let below = |root: &Path| error.path().strip_prefix(root).ok();
            let kept = below(root).or_else(|| beside().and_then(below));
            kept.filter(|path| !path.is_absolute())
                .unwrap_or_else(|| error.path().file_name().map_or(Path::new(""), Path::new))
        }
    };
    let whole = error.to_string();
    let named = format!("{}: ", harmless(&error.path().display().to_string()));
    let cause = whole.strip_prefix(&named).unwrap_or(&whole).to_owned();
    form::Unread { path: path.display().to_string(), cause, needs_root: error.needs_root() }
}

fn kernel(machine: &Machine) -> form::Kernel {
    let kernel = &machine.kernel;
    let groups = kernel.groups.iter().map(|(number, group)| {
        let region = |region: &crate::Reserved| form::Region {
            first: Number(region.first),
            last: Number(region.last),
            kind: region.kind.word().to_owned(),
        };
        let group = form::Group {
            devices: group.devices.clone(),
            kind: group.kind.clone(),
            reserved: group.reserved.iter().map(region).collect(),
        };
        (*number, group)
    });
    let iommus = kernel.iommus.iter().map(|iommu| form::Iommu {
        name: iommu.name.clone(),
        registers: iommu.registers.map(|(one, other)| [Number(one), Number(other)]),
    });
    let interrupts = kernel
        .interrupts
        .map(|interrupts| form::Interrupts { remapped: interrupts.remapped, plain: interrupts.plain });
    form::Kernel {
        version: kernel.version.clone(),
        options: kernel.options.clone(),
        groups: groups.collect(),
        iommus: iommus.collect(),
        interrupts,
        thunderbolt: kernel.thunderbolt.clone(),
        allows_unsafe_interrupts: kernel.allows_unsafe_interrupts,
        allows_no_iommu: kernel.allows_no_iommu,
        iommus_unseen: kernel.iommus_unseen,
    }
}
