//! Whether a device can raise interrupts that are not its own.
//!
//! An interrupt message is a write like any other. Where nothing tells the devices that send it apart, a guest that owns a
//! device can raise any interrupt of the host.

use super::{Finding, Severity, Subject};
use ioward::{
    discover::{Place, SpecialKind, UnitKind},
    types::describe::Table,
};

/// Bit 3 of VT-d's extended capability register: interrupt remapping (VT-d rev 4.1, section 11.4.3).
const VTD_ECAP_IR: u64 = 1 << 3;

pub(super) fn look(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let kernel = &subject.machine.kernel;
    let has = |table| subject.found.iommus.iter().any(|unit| unit.described.0 == table);
    let x86 = has(Table::Dmar) || has(Table::Ivrs);
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
    if kernel.allows_unsafe_interrupts {
        danger(
            "unsafe-interrupts-allowed",
            "VFIO was told to give devices away without interrupt isolation (allow_unsafe_interrupts=Y)."
                .into(),
            "Take the option off vfio_iommu_type1 (in /etc/modprobe.d or on the command line).",
            "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
        );
    }
    let option = kernel.options.iter().flatten().find(|option| {
        matches!(option.as_str(), "nointremap" | "intremap=off") || option.starts_with("intremap=no")
    });
    if let Some(option) = option {
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
    let io_apic = subject.found.specials.iter().any(|special| matches!(special.kind, SpecialKind::IoApic(_)));
    if x86 && !io_apic && !refused {
        danger(
            "io-apic-unnamed",
            "Firmware's table names no I/O APIC, and without that Linux turns interrupt remapping off."
                .into(),
            "Update the firmware. On AMD, ivrs_ioapic[ID]=BUS:DEV.FN on the command line can stand in for it.",
            if has(Table::Dmar) { "DMAR device scopes" } else { "IVRS special devices" },
        );
    }
    arm_and_virtual(subject, findings);
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
