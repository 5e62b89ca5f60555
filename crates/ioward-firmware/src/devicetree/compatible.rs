//! Which `compatible` strings mean an IOMMU, and what people call it.

use super::tree::Node;

/// What an IOMMU node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind<'a> {
    /// Arm SMMUv3.
    SmmuV3,
    /// RISC-V IOMMU, a platform device or a PCI function.
    RiscV,
    /// virtio-iommu, on MMIO or as a PCI function.
    Virtio,
    /// A kind that nothing here drives, by the name that people know.
    Other(&'a str),
}

/// Whole strings of the kinds that are driven: the bindings' own (arm,smmu-v3.yaml, riscv,iommu.yaml, virtio/pci-iommu.yaml),
/// and the ones that vendor and device ID of a PCI function make (IEEE 1275 PCI binding, section 2.5).
const DRIVEN: [(&str, Kind<'static>); 7] = [
    ("arm,smmu-v3", Kind::SmmuV3),
    ("riscv,iommu", Kind::RiscV),
    ("riscv,pci-iommu", Kind::RiscV),
    ("pci1efd,edf1", Kind::RiscV),
    ("pci1b36,14", Kind::RiscV),
    ("virtio,pci-iommu", Kind::Virtio),
    ("pci1af4,1057", Kind::Virtio),
];

/// A virtio device of whatever sort: an IOMMU only if it has the property of one (virtio/mmio.yaml).
const VIRTIO_MMIO: &str = "virtio,mmio";

/// Whole strings of the others, the binding's own.
const WHOLE: [(&str, &str); 23] = [
    ("arm,smmu-v1", "SMMUv1"),
    ("arm,smmu-v2", "SMMUv2"),
    ("arm,mmu-400", "MMU-400"),
    ("arm,mmu-401", "MMU-401"),
    ("arm,mmu-500", "MMU-500"),
    ("cavium,smmu-v2", "SMMUv2"),
    ("marvell,ap806-smmu-500", "MMU-500"),
    ("nvidia,smmu-500", "MMU-500"),
    ("qcom,smmu-500", "MMU-500"),
    ("qcom,smmu-v2", "SMMUv2"),
    ("qcom,msm-iommu-v1", "Qualcomm IOMMU v1"),
    ("qcom,msm-iommu-v2", "Qualcomm IOMMU v2"),
    ("qcom,apq8064-iommu", "Qualcomm IOMMU v0"),
    ("rockchip,iommu", "Rockchip IOMMU"),
    ("rockchip,rk3568-iommu", "Rockchip IOMMU v2"),
    ("allwinner,sun50i-h6-iommu", "Allwinner IOMMU"),
    ("allwinner,sun50i-h616-iommu", "Allwinner IOMMU"),
    ("samsung,exynos-sysmmu", "Exynos SysMMU"),
    ("sprd,iommu-v1", "Spreadtrum IOMMU"),
    ("ti,omap2-iommu", "OMAP IOMMU"),
    ("ti,omap4-iommu", "OMAP IOMMU"),
    ("ti,dra7-dsp-iommu", "OMAP IOMMU"),
    ("xen,grant-dma", "Xen grant DMA"),
];

/// The vendor, a part of what follows it, and the name.
const FAMILIES: [(&str, &str, &str); 5] = [
    ("mediatek,", "-m4u", "MediaTek M4U"),
    ("mediatek,", "-iommu", "MediaTek IOMMU"),
    ("apple,", "dart", "Apple DART"),
    ("renesas,", "ipmmu-", "Renesas IPMMU"),
    ("nvidia,tegra", "-smmu", "Tegra SMMU"),
];

/// What kind of IOMMU a node is; none if it is none. A node that has `#iommu-cells` is one even if nobody knows its
/// `compatible`, and is then called by it.
pub fn kind<'a>(node: &Node<'a>) -> Option<Kind<'a>> {
    let has_cells = node.has("#iommu-cells");
    for name in node.compatible() {
        if let Some((_, kind)) = DRIVEN.iter().find(|(whole, _)| *whole == name) {
            return Some(*kind);
        }
        if name == VIRTIO_MMIO && has_cells {
            return Some(Kind::Virtio);
        }
        if let Some((_, known)) = WHOLE.iter().find(|(whole, _)| *whole == name) {
            return Some(Kind::Other(known));
        }
    }
    // The families' names are looser, so only the property makes them IOMMUs.
    if !has_cells {
        return None;
    }
    let family = node.compatible().find_map(|name| {
        FAMILIES
            .iter()
            .find(|(vendor, part, _)| name.strip_prefix(vendor).is_some_and(|rest| rest.contains(part)))
    });
    let called = family.map(|(.., known)| *known).or_else(|| node.compatible().next());
    Some(Kind::Other(called.unwrap_or("IOMMU")))
}
