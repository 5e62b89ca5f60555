//! From the document to parts.

use super::{
    VERSION,
    bytes::TooMany,
    form::{self, FORMAT, Number},
};
use crate::{
    Degraded, FirmwareTable, KernelGroup, Parts, ReadError, Record, Removable, Reserved, ReservedKind,
    kernel::{Interrupts, KernelIommu},
};
use ioward::{
    pci::{Bdf, function::Ids},
    types::describe::Table,
};
use serde::Deserialize;
use std::{collections::BTreeSet, io, path::Path};

/// The most bytes of a function's configuration space.
const MOST_CONFIG: usize = 4096;
/// The most bytes that the tables of a document stand for together. Zeros are not written, so that the size of the file
/// bounds nothing.
const MOST_TABLES: usize = 64 << 20;
/// The same of configuration spaces: 65536 functions with all of it.
const MOST_CONFIGS: usize = MOST_CONFIG << 16;
/// Where the format's name must stand: in the first member, or at least near it.
const NEAR_THE_START: usize = 256;

/// Whether bytes begin as a snapshot does.
pub fn is_snapshot(bytes: &[u8]) -> bool {
    let start = bytes.trim_ascii_start();
    let start = &start[..start.len().min(NEAR_THE_START)];
    let name = format!("\"{FORMAT}\"");
    start.starts_with(b"{") && start.windows(name.len()).any(|window| window == name.as_bytes())
}

/// Reads a snapshot into parts. `path` is for errors. What makes no sense anywhere makes the whole unreadable: a snapshot is
/// made by a program, and one that was altered cannot be trusted in the rest.
pub fn read(path: &Path, bytes: &[u8], parts: &mut Parts) -> Result<(), ReadError> {
    // The version is asked for first, so that what a later one adds is not called unknown.
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let refused = |cause: String| ReadError::Snapshot { path: path.into(), cause };
    let Versioned { version } = serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
    if version == 0 || version > VERSION {
        return Err(refused(format!("version {version} of the format; this program reads up to {VERSION}")));
    }
    let document: form::Document =
        serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
    if document.format != FORMAT {
        return Err(refused(format!("the format is {:?} and not {FORMAT:?}", document.format)));
    }
    let filled = fill(document, path).map_err(refused)?;
    parts.records.extend(filled.records);
    parts.tables.extend(filled.tables);
    parts.degraded.extend(filled.degraded);
    parts.unread.extend(filled.unread);
    parts.kernel = filled.kernel;
    Ok(())
}

fn fill(document: form::Document, path: &Path) -> Result<Parts, String> {
    let mut parts = Parts::default();
    let mut seen = BTreeSet::new();
    let mut left = MOST_CONFIGS;
    for function in document.functions {
        let record = record(function, &mut left)?;
        if !seen.insert(record.at) {
            return Err(format!("function {} stands there twice", record.at));
        }
        parts.records.push(record);
    }
    let mut left = MOST_TABLES;
    for table in document.tables {
        let kinds = [Table::Dmar, Table::Ivrs, Table::Iort, Table::Rimt, Table::Viot, Table::DeviceTree];
        let kind = kinds.into_iter().find(|kind| kind.to_string() == table.kind);
        let kind = kind.ok_or_else(|| format!("{:?} is no kind of table", table.kind))?;
        let bytes = table.content.expand(&mut left).map_err(|TooMany(bytes)| {
            format!("{bytes} bytes of {} make more than {MOST_TABLES} bytes of tables", table.file)
        })?;
        parts.tables.push(FirmwareTable { kind, file: table.file, bytes });
    }
    if document.tables_denied != 0 {
        parts.degraded.push(Degraded::TablesDenied { tables: document.tables_denied });
    }
    for unread in document.unread {
        let kind = if unread.needs_root { io::ErrorKind::PermissionDenied } else { io::ErrorKind::Other };
        parts.unread.push(ReadError::Unreadable {
            path: path.join(unread.path.trim_start_matches('/')),
            kind,
            cause: unread.cause,
        });
    }
    let kernel = document.kernel;
    parts.kernel.version = kernel.version;
    parts.kernel.options = kernel.options;
    parts.kernel.thunderbolt = kernel.thunderbolt;
    parts.kernel.allows_unsafe_interrupts = kernel.allows_unsafe_interrupts;
    parts.kernel.allows_no_iommu = kernel.allows_no_iommu;
    parts.kernel.iommus_unseen = kernel.iommus_unseen;
    parts.kernel.interrupts =
        kernel.interrupts.map(|count| Interrupts { remapped: count.remapped, plain: count.plain });
    let iommu = |iommu: form::Iommu| KernelIommu {
        name: iommu.name,
        registers: iommu.registers.map(|[Number(one), Number(other)]| (one, other)),
    };
    parts.kernel.iommus = kernel.iommus.into_iter().map(iommu).collect();
    for (number, group) in kernel.groups {
        let mut reserved = Vec::new();
        for form::Region { first: Number(first), last: Number(last), kind } in group.reserved {
            if first > last {
                return Err(format!("a region of group {number} ends at {last:#x}, before it begins"));
            }
            reserved.push(Reserved { first, last, kind: ReservedKind::of(&kind) });
        }
        let group = KernelGroup { devices: group.devices, kind: group.kind, reserved };
        parts.kernel.groups.insert(number, group);
    }
    Ok(parts)
}

fn record(function: form::Function, left: &mut usize) -> Result<Record, String> {
    let place = |text: &str| text.parse::<Bdf>().map_err(|error| format!("{text:?} is {error}"));
    let at = place(&function.at)?;
    let short = |Number(number): Number, what: &str| {
        u16::try_from(number).map_err(|_| format!("the {what} {number:#x} of {at} has more than 16 bits"))
    };
    let ids = |ids: Option<[Number; 2]>, what: &str| {
        let pair = |[vendor, device]: [Number; 2]| {
            Ok::<_, String>(Ids { vendor: short(vendor, what)?, device: short(device, what)? })
        };
        ids.map(pair).transpose()
    };
    if function.config.bytes() > MOST_CONFIG {
        return Err(format!("the configuration space of {at} has more than {MOST_CONFIG} bytes"));
    }
    let config = function.config.expand(left).map_err(|TooMany(_)| {
        format!("the configuration space of {at} makes more than {MOST_CONFIGS} bytes of all functions")
    })?;
    Ok(Record {
        at,
        ids: ids(function.ids, "ID")?,
        subsystem: ids(function.subsystem, "subsystem's ID")?,
        class: function.class.map(|class| short(class, "class")).transpose()?,
        buses: function.buses.map(|[secondary, subordinate]| (secondary, subordinate)),
        driver: function.driver,
        group: function.group,
        numa_node: function.numa_node,
        removable: function.removable.map(|yes| if yes { Removable::Removable } else { Removable::Fixed }),
        physical: function.physical.as_deref().map(place).transpose()?,
        config,
    })
}
