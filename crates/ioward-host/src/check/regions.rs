//! Memory that firmware ties to devices.

use super::{Finding, Severity, Subject};
use crate::kernel::ReservedKind;
use ioward::{core::RegionKind, discover::Place, pci::Bdf};

pub(super) fn look(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let functions = subject.machine.topology.functions();
    let mut named = Vec::new();
    for device in subject.found.devices.iter().filter(|device| !device.bridge) {
        let at = match device.place {
            Place::Bus(index) => functions.get(index).map(|function| function.at),
            _ => None,
        };
        for region in &device.regions {
            let RegionKind::Required { relaxable, .. } = region.kind else { continue };
            let first = region.span.start.0;
            let last = first.saturating_add(region.span.bytes.saturating_sub(1));
            named.extend(at.filter(|_| !relaxable).map(|at| (at, first, last)));
            findings.push(required(&device.name, at, first, last, relaxable));
        }
    }
    // What the kernel knows and no table that was read says.
    for (number, group) in &subject.machine.kernel.groups {
        let members: Vec<Bdf> = group.devices.iter().filter_map(|name| name.parse().ok()).collect();
        for region in group.reserved.iter().filter(|region| region.kind == ReservedKind::Direct) {
            let is_same = |(at, first, last): &(Bdf, u64, u64)| {
                members.contains(at) && (*first, *last) == (region.first, region.last)
            };
            if named.iter().any(is_same) {
                continue;
            }
            let mut finding = required(&format!("group {number}"), None, region.first, region.last, false);
            finding.source = format!("/sys/kernel/iommu_groups/{number}/reserved_regions");
            finding.devices.clone_from(&members);
            findings.push(finding);
        }
    }
}

fn required(name: &str, at: Option<Bdf>, first: u64, last: u64, relaxable: bool) -> Finding {
    let (severity, why, remedy) = match relaxable {
        false => (
            Severity::Obstacle,
            "Firmware goes on using that memory through the device while the system runs. Linux refuses to give the device \
             away; a guest that had it could write there.",
            "Keep it with the host. A firmware option (HP: \"shared memory\" of the slot) or an update may free it.",
        ),
        true => (
            Severity::Note,
            "Firmware used that memory for the keyboard or the screen before the system started; a driver takes the device \
             over, and then it can be given away.",
            "Nothing needs to be done.",
        ),
    };
    Finding {
        id: if relaxable { "region-relaxable" } else { "region-required" },
        severity,
        what: format!("Firmware requires that {name} reaches {first:#x} to {last:#x} of memory."),
        why: why.into(),
        remedy: remedy.into(),
        source: "DMAR (RMRR), IVRS (IVMD), IORT (RMR) or device tree (reserved-memory)".into(),
        devices: at.into_iter().collect(),
    }
}
