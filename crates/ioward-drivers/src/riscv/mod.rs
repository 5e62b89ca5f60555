//! The RISC-V IOMMU driver.
