//! Which `compatible` strings mean an IOMMU, and what people call it.

use super::tree::Node;

/// What an IOMMU node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind<'a> {
    /// Arm SMMUv3.
    SmmuV3,
    /// A kind that nothing here drives, by the name that people know.
    Other(&'a str),
}

/// Whole strings, the binding's own.
const WHOLE: [(&str, &str); 26] = [
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
    ("virtio,pci-iommu", "virtio-iommu"),
    ("riscv,iommu", "RISC-V IOMMU"),
    ("riscv,pci-iommu", "RISC-V IOMMU"),
    ("xen,grant-dma", "Xen grant DMA"),
];

/// The vendor, a part of what follows it, and the name.
const FAMILIES: [(&str, &str, &str); 6] = [
    ("mediatek,", "-m4u", "MediaTek M4U"),
    ("mediatek,", "-iommu", "MediaTek IOMMU"),
    ("apple,", "dart", "Apple DART"),
    ("renesas,", "ipmmu-", "Renesas IPMMU"),
    ("nvidia,tegra", "-smmu", "Tegra SMMU"),
    ("virtio,", "mmio", "virtio-iommu"),
];

/// What kind of IOMMU a node is; none if it is none. A node that has `#iommu-cells` is one even if nobody knows its
/// `compatible`, and is then called by it.
pub fn kind<'a>(node: &Node<'a>) -> Option<Kind<'a>> {
    let has_cells = node.has("#iommu-cells");
    for name in node.compatible() {
        if name == "arm,smmu-v3" {
            return Some(Kind::SmmuV3);
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
