//! Whether a device can raise interrupts that are not its own.
//!
//! An interrupt message is a write like any other. Where nothing tells the devices that send it apart, a guest that owns a
//! device can raise any interrupt of the host.

use super::{Finding, Severity, Subject};
use crate::Kernel;
use ioward::{
    discover::{Place, SpecialKind, UnitKind},
    types::{SourceId, describe::Table},
};

/// Bit 3 of VT-d's extended capability register: interrupt remapping (VT-d rev 4.1, section 11.4.3).
const VTD_ECAP_IR: u64 = 1 << 3;

/// The requester ID of the southbridge's I/O APIC on AMD's machines, without which Linux does not remap interrupts.
const SOUTHBRIDGE: SourceId = SourceId(0xa0);
/// The same as a place.
const SOUTHBRIDGE_NAME: &str = "00:14.0";

pub(super) fn look(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let kernel = &subject.machine.kernel;
    let x86 = subject.is_x86();
    let mut danger = |id, what: String, remedy: &str, source: &str| {
        findings.push(Finding {
            id,
            severity: Severity::Danger,
            what,
            why: "A guest with a device can raise interrupts of the host and of other guests, and so attack them. VFIO \
                  refuses unless told to allow it."
                .into(),
            remedy: remedy.into(),
            source: source.into(),
            devices: Vec::new(),
        });
    };
    let allowed = ["vfio_iommu_type1.allow_unsafe_interrupts", "iommufd.allow_unsafe_interrupts"]
        .into_iter()
        .find_map(|parameter| kernel.switch(parameter).filter(|(_, is_on)| *is_on));
    if kernel.allows_unsafe_interrupts || allowed.is_some() {
        danger(
            "unsafe-interrupts-allowed",
            format!(
                "VFIO was told to give devices away without interrupt isolation ({}).",
                allowed.map_or("allow_unsafe_interrupts=Y", |(option, _)| option)
            ),
            "Take the option off vfio_iommu_type1 and iommufd (in /etc/modprobe.d or on the command line).",
            "/sys/module/{vfio_iommu_type1,iommufd}/parameters/allow_unsafe_interrupts and /proc/cmdline",
        );
    }
    if let Some((option, _)) = kernel.words("intremap").find(|(_, word)| *word == "nosid") {
        danger(
            "interrupt-sources-unchecked",
            format!("The kernel was told not to check which device an interrupt comes from ({option})."),
            "Take nosid off the kernel's command line and boot again.",
            "/proc/cmdline",
        );
    }
    if let Some(option) = remapping_off(kernel) {
        danger(
            "interrupt-remapping-off",
            format!("Interrupt remapping is turned off ({option})."),
            "Take the option off the kernel's command line and boot again.",
            "/proc/cmdline",
        );
    } else if x86
        && kernel.interrupts.is_some_and(|count| count.remapped == 0 && count.plain != 0)
        && subject.uses_iommu()
    {
        danger(
            "interrupt-remapping-off",
            "The kernel uses an IOMMU, but no interrupt of a device is remapped.".into(),
            "See why: `dmesg | grep -i -e remap -e IR:`. Update the firmware; turn interrupt remapping or x2APIC on there.",
            "/sys/kernel/irq/*/chip_name",
        );
    }
    let refused = subject.found.vtd().any(|(_, vtd)| !vtd.interrupt_remapping);
    if refused {
        danger(
            "interrupt-remapping-none",
            "Firmware says that this machine has no interrupt remapping (INTR_REMAP is clear).".into(),
            "Turn interrupt remapping on in the firmware's setup, or update the firmware; chipsets before 2010 may not \
             have it.",
            "DMAR flags (VT-d rev 4.1, section 8.1)",
        );
    }
    let names = kernel.iommus.iter().filter(|iommu| {
        iommu.name.starts_with("dmar")
            && iommu.registers.is_some_and(|(_, extended)| extended & VTD_ECAP_IR == 0)
    });
    let names: Vec<&str> = names.map(|iommu| iommu.name.as_str()).collect();
    if !names.is_empty() && !refused {
        danger(
            "interrupt-remapping-none",
            format!("These units cannot remap interrupts: {}.", names.join(", ")),
            "Give away no device behind them.",
            "/sys/class/iommu/*/intel-iommu/ecap (VT-d rev 4.1, section 11.4.3)",
        );
    }
    let has = |table| subject.found.iommus.iter().any(|unit| unit.described.0 == table);
    let mut io_apics =
        subject.found.specials.iter().filter(|special| matches!(special.kind, SpecialKind::IoApic(_)));
    if has(Table::Dmar) && !refused && io_apics.clone().next().is_none() {
        danger(
            "io-apic-unnamed",
            "Firmware's table names no I/O APIC, and without that Linux turns interrupt remapping off."
                .into(),
            "Update the firmware.",
            "DMAR device scopes",
        );
    }
    let is_given = kernel
        .options
        .iter()
        .flatten()
        .any(|option| option.starts_with("ivrs_ioapic") && option.ends_with(SOUTHBRIDGE_NAME));
    if has(Table::Ivrs) && !is_given && !io_apics.any(|special| special.source.1 == SOUTHBRIDGE) {
        danger(
            "io-apic-unnamed",
            format!(
                "Firmware's table does not name the I/O APIC of the southbridge (at {SOUTHBRIDGE_NAME}), and without that \
                 Linux turns interrupt remapping off."
            ),
            "Update the firmware. ivrs_ioapic=ID@SEGMENT:00:14.0 on the command line can stand in for it (before Linux 6.2 \
             ivrs_ioapic[ID]=00:14.0).",
            "IVRS special devices",
        );
    }
    if has(Table::Ivrs) && kernel.interrupts.is_none_or(|count| count.remapped == 0) {
        findings.push(Finding {
            id: "io-apics-uncounted",
            severity: Severity::Note,
            what: "Whether firmware's table names every I/O APIC of the machine was not looked at.".into(),
            why: "The MADT lists them and is not read. Linux turns interrupt remapping off where one of them is missing."
                .into(),
            remedy: "Look on the machine: `dmesg | grep -i ioapic`.".into(),
            source: "IVRS special devices".into(),
            devices: Vec::new(),
        });
    }
    arm_and_virtual(subject, findings);
}

/// The option that turns interrupt remapping off. Of words that contradict each other the last one counts; others, such as
/// `nopost`, turn nothing off.
fn remapping_off(kernel: &Kernel) -> Option<&str> {
    let alone = kernel.options.iter().flatten().find(|option| *option == "nointremap");
    let word = kernel.words("intremap").filter(|(_, word)| ["on", "off"].contains(word)).last();
    let word = word.filter(|(_, word)| *word == "off").map(|(option, _)| option);
    alone.map(String::as_str).or(word)
}

/// Where messages go through a controller rather than through a remapping table.
fn arm_and_virtual(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let open: Vec<_> = subject
        .found
        .devices
        .iter()
        .filter(|device| !device.doorbells.is_empty() && !device.isolated_doorbells && !device.bridge)
        .filter_map(|device| match device.place {
            Place::Bus(index) => subject.machine.topology.functions().get(index).map(|function| function.at),
            _ => None,
        })
        .collect();
    if !open.is_empty() {
        findings.push(Finding {
            id: "doorbell-shared",
            severity: Severity::Danger,
            what: format!(
                "The interrupt controller of {} functions does not tell devices apart (no ITS behind its doorbell).",
                open.len()
            ),
            why: "A guest with one of them can raise any interrupt of that controller.".into(),
            remedy: "Give away none of them, or only to guests that you trust as much as the host.".into(),
            source: "IORT or device tree (msi-map)".into(),
            devices: open,
        });
    }
    let only_virtio = !subject.found.iommus.is_empty()
        && subject.found.iommus.iter().all(|unit| unit.kind == UnitKind::Virtio);
    if only_virtio {
        findings.push(Finding {
            id: "virtio-no-remapping",
            severity: Severity::Undecided,
            what: "The IOMMU is a virtio-iommu, which does not remap interrupts.".into(),
            why: "On x86 a nested guest can raise interrupts of this virtual machine; on Arm the virtual ITS keeps them \
                  apart."
                .into(),
            remedy: "On x86 use a virtual VT-d or AMD-Vi with interrupt remapping for nested guests.".into(),
            source: "VIOT or device tree".into(),
            devices: Vec::new(),
        });
    }
}
