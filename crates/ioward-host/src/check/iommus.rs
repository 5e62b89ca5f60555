//! Whether an IOMMU is there and in use.

use super::{Finding, Severity, Subject};
use crate::Degraded;
use ioward::{discover::UnitKind, types::describe::Table};

/// Parameters of the command line, each with a word that turns an IOMMU off.
const OFF: [(&str, &str); 4] =
    [("intel_iommu", "off"), ("iommu", "off"), ("amd_iommu", "off"), ("iommu", "soft")];

pub(super) fn look(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let machine = subject.machine;
    let denied = machine.degraded.iter().any(|degraded| matches!(degraded, Degraded::TablesDenied { .. }));
    let described = !subject.found.iommus.is_empty();
    if described && subject.shows_iommus() && !subject.uses_iommu() {
        findings.push(off(subject));
    } else if !described && !subject.uses_iommu() {
        findings.push(none(subject, denied));
    }
    if !described && subject.uses_iommu() && (denied || !machine.origin.is_live()) {
        findings.push(unknown(
            "tables-missing",
            "No firmware table was read.",
            "Whether interrupts are isolated, which memory firmware ties to devices, and which IOMMU serves which device was \
             not looked at.",
            match denied {
                true => "Run as root.",
                false => "Add the table: as root, `cp /sys/firmware/acpi/tables/DMAR DMAR.dat` (or IVRS, IORT).",
            },
        ));
    }
    let kernel = &machine.kernel;
    let is_asked = subject.has_kernel()
        && (subject.shows_iommus() || subject.uses_iommu())
        && kernel.options.is_some()
        && (kernel.interrupts.is_some() || !subject.is_x86());
    if described && !is_asked {
        findings.push(unknown(
            "kernel-unknown",
            "The kernel was not asked, or not for everything.",
            "Whether it uses the IOMMUs, whether interrupts are remapped, and what options of its command line undo, was not \
             looked at.",
            "Run it on the machine, or copy /sys (with class/iommu, kernel/iommu_groups and kernel/irq) and beside it \
             /proc/cmdline, or make a snapshot.",
        ));
    }
    if machine.topology.functions().is_empty() {
        findings.push(unknown(
            "bus-missing",
            "The bus was not read.",
            "Groups, holes between them, and whether the tables name what is there were not looked at.",
            "Add text of the bus: as root, `lspci -nnvvv > lspci.txt`.",
        ));
    }
    for unit in subject.found.iommus.iter().filter(|unit| !unit.enabled) {
        findings.push(Finding {
            id: "iommu-disabled",
            severity: Severity::Danger,
            what: format!("{} {} is described as disabled.", unit.kind, unit.name),
            why: "What is behind it reaches all of memory.".into(),
            remedy: "Enable it in the firmware's setup or in the device tree.".into(),
            source: format!("{} {}", unit.described.0, unit.described.1),
            devices: Vec::new(),
        });
    }
    without(subject, findings);
    identity(subject, findings);
}

/// What the kernel was told to let pass by an IOMMU, though it uses one.
fn without(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let kernel = &subject.machine.kernel;
    let mut danger = |id, what: String, why: &str, remedy: &str, source: &str| {
        findings.push(Finding {
            id,
            severity: Severity::Danger,
            what,
            why: why.into(),
            remedy: remedy.into(),
            source: source.into(),
            devices: Vec::new(),
        });
    };
    let option = kernel.switch("vfio.enable_unsafe_noiommu_mode").filter(|(_, is_on)| *is_on);
    if kernel.allows_no_iommu || option.is_some() {
        danger(
            "no-iommu-allowed",
            format!(
                "VFIO was told to give devices away without an IOMMU ({}).",
                option.map_or("enable_unsafe_noiommu_mode=Y", |(option, _)| option)
            ),
            "Whoever opens such a device makes it reach all of memory.",
            "Take the option off vfio (in /etc/modprobe.d or on the command line).",
            "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode and /proc/cmdline",
        );
    }
    if let Some((option, _)) = kernel.words("intel_iommu").find(|(_, word)| *word == "igfx_off") {
        danger(
            "graphics-untranslated",
            format!("The kernel was told to leave the IOMMU of the built-in graphics off ({option})."),
            "The graphics device reaches all of memory, whoever drives it.",
            "Take igfx_off off the kernel's command line, and do not give the graphics away.",
            "/proc/cmdline",
        );
    }
    let bypass = ["arm_smmu.disable_bypass", "arm_smmu_v3.disable_bypass"];
    let bypass = bypass.into_iter().filter_map(|parameter| kernel.switch(parameter));
    for (option, _) in bypass.filter(|(_, is_on)| !is_on) {
        danger(
            "streams-bypass",
            format!("The kernel was told to let streams that nobody attached pass the SMMU ({option})."),
            "A device that no driver or guest has attached yet reaches all of memory.",
            "Take the option off the kernel's command line.",
            "/proc/cmdline",
        );
    }
}

/// Something that nobody could look at.
fn unknown(id: &'static str, what: &str, why: &str, remedy: &str) -> Finding {
    Finding {
        id,
        severity: Severity::Undecided,
        what: what.into(),
        why: why.into(),
        remedy: remedy.into(),
        source: "the input".into(),
        devices: Vec::new(),
    }
}

fn off(subject: &Subject<'_>) -> Finding {
    let kernel = &subject.machine.kernel;
    let option = OFF.iter().find_map(|(parameter, off)| {
        let mut words = kernel.words(parameter);
        words.find(|(_, word)| word == off).map(|(option, _)| option)
    });
    let units = &subject.found.iommus;
    let is_intel = units.iter().any(|unit| matches!(unit.kind, UnitKind::VtD(_)));
    let remedy = match (option, is_intel) {
        (Some(option), _) => format!("Take {option} off the kernel's command line and boot again."),
        (None, true) => "Add intel_iommu=on to the kernel's command line and boot again.".to_owned(),
        (None, false) => {
            "See why the kernel left it alone: `dmesg | grep -i -e iommu -e smmu`. It may be built without the driver."
                .to_owned()
        }
    };
    Finding {
        id: "iommu-off",
        severity: Severity::Danger,
        what: format!("Firmware describes {} IOMMUs, and the kernel uses none.", units.len()),
        why: "Every device reaches all of memory, and VFIO gives no device away.".into(),
        remedy,
        source: "/sys/class/iommu is empty".into(),
        devices: Vec::new(),
    }
}

fn none(subject: &Subject<'_>, denied: bool) -> Finding {
    let (severity, what, source) = match (denied, subject.shows_iommus()) {
        (true, _) => (
            Severity::Undecided,
            "No IOMMU is in use; only root may read whether firmware describes one.",
            "/sys/firmware/acpi/tables",
        ),
        (false, true) => (
            Severity::Danger,
            "There is no IOMMU: firmware describes none, and the kernel uses none.",
            "/sys/class/iommu and /sys/firmware",
        ),
        (false, false) => (
            Severity::Undecided,
            "No IOMMU is known: there is no firmware table here, and no word of the kernel.",
            "the input",
        ),
    };
    let remedy = match severity {
        Severity::Danger => {
            "Turn VT-d, AMD-Vi (\"IOMMU\", \"SVM\") or the SMMU on in the firmware's setup. In a virtual machine, give it a \
             virtual IOMMU."
        }
        _ if denied => "Run as root.",
        _ => "Add the table: as root, `cp /sys/firmware/acpi/tables/DMAR DMAR.dat` (or IVRS, IORT).",
    };
    Finding {
        id: "iommu-none",
        severity,
        what: what.into(),
        why: "Without one, every device reaches all of memory, and nothing can be given to a guest safely."
            .into(),
        remedy: remedy.into(),
        source: source.into(),
        devices: Vec::new(),
    }
}

/// The host's own drivers without translation.
fn identity(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let kernel = &subject.machine.kernel;
    let identity = kernel.groups.values().filter(|group| group.kind.as_deref() == Some("identity")).count();
    // Both let the host's own drivers use untranslated addresses. Of words that contradict each other the last one counts.
    let word = kernel.words("iommu").filter(|(_, word)| ["pt", "nopt"].contains(word)).last();
    let word = word.filter(|(_, word)| *word == "pt").map(|(option, _)| option);
    let switch = kernel.switch("iommu.passthrough").filter(|(_, is_on)| *is_on);
    let option = word.or(switch.map(|(option, _)| option));
    if identity == 0 && option.is_none() {
        return;
    }
    let what = match option {
        Some(option) => format!("The host's own devices reach all of memory ({option})."),
        None => format!("The devices of {identity} groups reach all of memory (their domain is identity)."),
    };
    let tables = subject.machine.tables.iter().any(|table| table.kind == Table::Dmar);
    findings.push(Finding {
        id: "host-identity",
        severity: Severity::Note,
        what,
        why:
            "A device that misbehaves while the host drives it is not held back. What is given to a guest is."
                .into(),
        remedy: match tables {
            true => "For protection of the host too, boot with iommu=nopt iommu.strict=1.".into(),
            false => "For protection of the host too, boot with iommu.passthrough=0 iommu.strict=1.".into(),
        },
        source: "/proc/cmdline and /sys/kernel/iommu_groups/*/type".into(),
        devices: Vec::new(),
    });
}
