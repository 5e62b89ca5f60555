//! Ports that people plug things into.

use super::{Finding, Severity, Subject};
use ioward::pci::Bdf;

/// Bit 1 of IVinfo: firmware asks for DMA remapping before it hands over, as DMA_CTRL_PLATFORM_OPT_IN of a DMAR.
const DMA_REMAP_SUPPORT: u32 = 1 << 1;

pub(super) fn look(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let topology = &subject.machine.topology;
    let untrusted: Vec<usize> =
        (0..topology.functions().len()).filter(|&index| topology.is_untrusted(index)).collect();
    let caching: Vec<Bdf> = untrusted
        .iter()
        .map(|&index| &topology.functions()[index])
        .filter(|function| function.ats.present().is_some_and(|ats| ats.enabled))
        .map(|function| function.at)
        .collect();
    if !caching.is_empty() {
        findings.push(Finding {
            id: "ats-untrusted",
            severity: Severity::Danger,
            what: format!("{} devices that can be plugged in from outside cache translations (ATS is on).", caching.len()),
            why: "A device with ATS marks its own requests as translated, and the IOMMU lets those through: it reaches all \
                  of memory."
                .into(),
            remedy: "Boot with pci=noats, or unplug them.".into(),
            source: "the ATS capability (PCI Express Base 6.0, section 10.5.1)".into(),
            devices: caching,
        });
    }
    let ports: Vec<Bdf> = topology
        .functions()
        .iter()
        .filter(|function| function.external_facing)
        .map(|function| function.at)
        .collect();
    if topology.functions().is_empty() {
        // That is a finding of its own.
    } else if subject.machine.records.is_empty() {
        findings.push(Finding {
            id: "outside-unknown",
            severity: Severity::Undecided,
            what: "Which ports face outside cannot be told from text.".into(),
            why: "Whether what people plug in is held to an IOMMU, and caches no translations, was not looked at.".into(),
            remedy: "Run it on the machine, or take a copy of /sys or a snapshot.".into(),
            source: "the input".into(),
            devices: Vec::new(),
        });
    }
    let vtd = subject.found.vtd().map(|(_, vtd)| {
        (vtd.dma_opt_in, "DMA_CTRL_PLATFORM_OPT_IN", "DMAR flags (VT-d rev 4.1, section 8.1)")
    });
    let amd = subject.found.amdvi().map(|(_, amd)| {
        let opt_in = amd.ivinfo & DMA_REMAP_SUPPORT != 0;
        (opt_in, "DMA Remap Support", "IVinfo of IVRS (AMD 48882, section 5.2.2)")
    });
    let clear = vtd.chain(amd).next().filter(|(opt_in, ..)| !opt_in);
    if let Some((_, flag, source)) = clear.filter(|_| !ports.is_empty()) {
        findings.push(Finding {
            id: "no-dma-opt-in",
            severity: Severity::Danger,
            what: format!(
                "Ports face outside, but firmware does not say that it kept DMA out of memory until now ({flag} is clear)."
            ),
            why: "What was plugged in before the kernel started may have changed memory already, and the kernel does not turn \
                  the IOMMU on for such ports by itself."
                .into(),
            remedy: "Turn \"Kernel DMA protection\" or \"Thunderbolt security\" on in the firmware's setup; update the \
                     firmware."
                .into(),
            source: source.into(),
            devices: ports,
        });
    }
    for (domain, _) in subject.machine.kernel.thunderbolt.iter().filter(|(_, protected)| !**protected) {
        findings.push(Finding {
            id: "thunderbolt-unprotected",
            severity: Severity::Danger,
            what: format!("DMA of Thunderbolt {domain} is not held to an IOMMU (iommu_dma_protection is 0)."),
            why: "Whatever is plugged in and authorised reaches all of memory.".into(),
            remedy: "Turn the IOMMU and \"Kernel DMA protection\" on in the firmware's setup; keep Thunderbolt security on \
                     user or secure."
                .into(),
            source: format!("/sys/bus/thunderbolt/devices/{domain}/iommu_dma_protection"),
            devices: Vec::new(),
        });
    }
}
