//! Where groups promise more than the fabric keeps.

use super::{Finding, Severity, Subject};
use crate::{Agreement, passthrough::is_passive};
use ioward::pci::{
    Bdf,
    groups::{Cause, Grouping},
};
use std::collections::BTreeMap;

pub(super) fn look(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    holes(subject, findings);
    kernel_splits(subject, findings);
    let kernel = &subject.machine.kernel;
    if let Some(option) =
        kernel.options.iter().flatten().find(|option| option.starts_with("pcie_acs_override"))
    {
        findings.push(Finding {
            id: "acs-override",
            severity: Severity::Danger,
            what: format!("The kernel was told to believe that ports isolate which do not ({option})."),
            why: "Its groups are smaller than what the hardware keeps apart: devices of two guests can reach each other."
                .into(),
            remedy: "Take the option off, and give groups away as they are; `ioward explain DEVICE` shows what would \
                     really free a device."
                .into(),
            source: "/proc/cmdline".into(),
            devices: Vec::new(),
        });
    }
    if let Some(agreement) =
        Agreement::of(subject.machine, &subject.linux).filter(|agreement| !agreement.differences.is_empty())
    {
        let devices: Vec<Bdf> =
            agreement.differences.iter().flat_map(|difference| [difference.one, difference.other]).collect();
        findings.push(Finding {
            id: "kernel-groups-differ",
            severity: Severity::Note,
            what: format!(
                "The kernel's groups differ in {} place{} from what is computed for it.",
                agreement.differences.len(),
                if agreement.differences.len() == 1 { "" } else { "s" }
            ),
            why: "The kernel may be patched (an ACS override), older than the rules here, or know more than could be read."
                .into(),
            remedy: "`ioward groups` shows where.".into(),
            source: "/sys/kernel/iommu_groups".into(),
            devices,
        });
    }
    let unsure = &subject.linux.unsure;
    if !unsure.is_empty() {
        findings.push(Finding {
            id: "groups-unsure",
            severity: Severity::Undecided,
            what: format!(
                "The groups of {} functions depend on something that could not be read.",
                unsure.len()
            ),
            why: "They may be larger or smaller than shown.".into(),
            remedy: match subject.machine.needs_root() {
                true => "Run as root, or make the input as root.".into(),
                false => "Take the input anew with `lspci -nnvvv`, as root and of the whole machine.".into(),
            },
            source: "configuration space".into(),
            devices: unsure.clone(),
        });
    }
}

/// Where the kernel splits what Linux's rules and the fabric both join: for each such group one finding, with a function of
/// each part. Of what nobody could read the kernel knows more, so that is not counted.
fn kernel_splits(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let topology = &subject.machine.topology;
    let mut parts: BTreeMap<(u32, u32), BTreeMap<u32, Bdf>> = BTreeMap::new();
    for function in topology.functions().iter().filter(|function| !is_passive(function)) {
        let is_unsure = subject.linux.unsure.binary_search(&function.at).is_ok();
        let (Some(kernel), false) = (function.linux_group, is_unsure) else { continue };
        let id = |grouping: &Grouping| grouping.group_of(function.at).map(|group| group.id);
        if let (Some(linux), Some(fabric)) = (id(&subject.linux), id(&subject.fabric)) {
            parts.entry((linux, fabric)).or_default().entry(kernel).or_insert(function.at);
        }
    }
    for parts in parts.into_values().filter(|parts| parts.len() > 1) {
        let devices: Vec<Bdf> = parts.into_values().collect();
        let names: Vec<String> = devices.iter().map(ToString::to_string).collect();
        findings.push(Finding {
            id: "kernel-splits",
            severity: Severity::Danger,
            what: format!(
                "The kernel gives groups of their own to functions that neither the fabric nor Linux's own rules keep apart: \
                 {}.",
                names.join(", ")
            ),
            why: "Requests pass between them without reaching an IOMMU: two guests with one each can write into each other's \
                  devices. The kernel is patched or was told to believe otherwise, or knows of an isolation that nothing here \
                  knows of."
                .into(),
            remedy: "Give all of them to one guest. Boot a kernel without an ACS override.".into(),
            source: "/sys/kernel/iommu_groups against configuration space (PCI Express Base 6.0, section 6.12)".into(),
            devices,
        });
    }
}

/// One finding for each cause.
fn holes(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let mut by_causes: Vec<(&[Cause], Vec<Bdf>)> = Vec::new();
    for hole in &subject.holes {
        let devices = match by_causes.iter_mut().find(|(causes, _)| *causes == hole.causes) {
            Some((_, devices)) => devices,
            None => {
                by_causes.push((&hole.causes, Vec::new()));
                &mut by_causes.last_mut().expect("one was pushed").1
            }
        };
        for at in [hole.pair.with, hole.pair.joined] {
            if !devices.contains(&at) {
                devices.push(at);
            }
        }
    }
    for (causes, mut devices) in by_causes {
        devices.sort_unstable();
        let because: Vec<String> = causes.iter().map(ToString::to_string).collect();
        findings.push(Finding {
            id: "linux-splits",
            severity: Severity::Danger,
            what: format!(
                "Linux gives {} parts of the machine groups of their own that the fabric does not keep apart: {}.",
                devices.len(),
                because.join(", and ")
            ),
            why: "Requests pass between their devices without reaching an IOMMU. Two guests with one each can write into \
                  each other's devices, and through them further."
                .into(),
            remedy: "Give all of them to one guest, or see `ioward explain DEVICE` for what would part them.".into(),
            source: "configuration space (PCI Express Base 6.0, section 6.12)".into(),
            devices,
        });
    }
}
