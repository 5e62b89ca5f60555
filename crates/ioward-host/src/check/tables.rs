//! Firmware's tables against themselves and the bus.

use super::{Finding, Severity, Subject};
use crate::{Degraded, passthrough::is_passive};
use ioward::{
    discover::{Place, Report, Serving, Unserved},
    pci::Bdf,
    types::describe,
};

pub(super) fn look(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for report in &subject.found.reports {
        findings.extend(of(report));
    }
    unserved(subject, findings);
    for odd in subject.machine.topology.findings() {
        findings.push(Finding {
            id: "configuration-odd",
            severity: Severity::Note,
            what: format!("{odd}."),
            why: "Groups near it may be computed from what is not so.".into(),
            remedy: "Read it anew as root; update the firmware if it stays.".into(),
            source: "configuration space".into(),
            devices: vec![odd.function],
        });
    }
    for degraded in &subject.machine.degraded {
        if matches!(degraded, Degraded::PassedOver { .. }) {
            findings.push(Finding {
                id: "files-passed-over",
                severity: Severity::Note,
                what: format!("{degraded}."),
                why: "If one of them is a table or a listing, what it says was not looked at.".into(),
                remedy: "Name a table *.dat, a device tree *.dtb and a listing *lspci*.txt.".into(),
                source: "the input".into(),
                devices: Vec::new(),
            });
        }
    }
    for error in &subject.machine.unread {
        findings.push(Finding {
            id: "not-read",
            severity: Severity::Undecided,
            what: format!("{error}."),
            why: "What it says was not looked at.".into(),
            remedy: match error.needs_root() {
                true => "Run as root.".into(),
                false => "Mend the input.".into(),
            },
            source: "the input".into(),
            devices: Vec::new(),
        });
    }
}

/// A report of discovery; devices that nobody serves are told together.
fn of(report: &Report) -> Option<Finding> {
    let (id, severity, why, remedy) = match report {
        Report::Unserved { .. } => return None,
        Report::NotThere { .. } => (
            "scope-names-nothing",
            Severity::Note,
            "The table is for another model, or the device is hidden or was taken out. If it appears, its IOMMU is known.",
            "Nothing needs to be done unless the device should be there.",
        ),
        Report::TwoIommus { .. } => (
            "two-iommus",
            Severity::Danger,
            "Nobody can tell which of them translates for the device, so neither can be relied on.",
            "Update the firmware. Give the device away only if it does not matter what it reaches.",
        ),
        Report::NoSuchIommu { .. } | Report::NoSuchSource { .. } => (
            "scope-broken",
            Severity::Danger,
            "The devices of that entry may pass no IOMMU.",
            "Update the firmware.",
        ),
        Report::NotIdentity { .. } => (
            "region-moved",
            Severity::Obstacle,
            "No kernel maps such a region as it asks; the device may fail once translation is on.",
            "Update the firmware; keep the device with the host.",
        ),
        Report::Problem(problem) => match problem.severity() {
            describe::Severity::Broken => (
                "table-broken",
                Severity::Danger,
                "What that entry says is lost: devices, regions or an IOMMU of it may be missing.",
                "Update the firmware.",
            ),
            describe::Severity::Degraded => (
                "table-contradicts",
                Severity::Note,
                "Two statements disagree; a kernel may follow the other one.",
                "Update the firmware.",
            ),
            describe::Severity::Note => {
                ("table-odd", Severity::Note, "It was read all the same.", "Nothing needs to be done.")
            }
        },
        _ => ("table-odd", Severity::Note, "It was read all the same.", "Nothing needs to be done."),
    };
    Some(Finding {
        id,
        severity,
        what: format!("{report}."),
        why: why.into(),
        remedy: remedy.into(),
        source: "firmware's tables".into(),
        devices: Vec::new(),
    })
}

/// Devices behind no IOMMU, where there are some.
fn unserved(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let functions = subject.machine.topology.functions();
    if subject.found.iommus.is_empty() {
        return;
    }
    let of = |wanted: fn(&Unserved) -> bool| -> Vec<Bdf> {
        let devices = subject
            .found
            .devices
            .iter()
            .filter(|device| matches!(&device.serving, Serving::Unserved(why) if wanted(why)));
        let on_bus = devices.filter_map(|device| match device.place {
            Place::Bus(index) => functions.get(index),
            _ => None,
        });
        on_bus.filter(|function| !is_passive(function)).map(|function| function.at).collect()
    };
    let bare = of(|why| matches!(why, Unserved::NoScope | Unserved::Direct));
    if !bare.is_empty() {
        findings.push(Finding {
            id: "device-unserved",
            severity: Severity::Danger,
            what: format!("{} devices are behind no IOMMU.", bare.len()),
            why: "They reach all of memory, whoever drives them.".into(),
            remedy: "Give none of them to a guest. A firmware update may name an IOMMU for them.".into(),
            source: "device scopes of firmware's tables".into(),
            devices: bare,
        });
    }
    let unknown = of(|why| matches!(why, Unserved::Unsupported(_)));
    if !unknown.is_empty() {
        findings.push(Finding {
            id: "iommu-unsupported",
            severity: Severity::Undecided,
            what: format!("{} devices are behind an IOMMU of a kind that is not known here.", unknown.len()),
            why: "Whether it isolates them cannot be told.".into(),
            remedy: "Ask the kernel: `ls /sys/kernel/iommu_groups/*/devices`.".into(),
            source: "device scopes of firmware's tables".into(),
            devices: unknown,
        });
    }
}
