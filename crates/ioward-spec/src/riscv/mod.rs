//! RISC-V IOMMU (RISC-V IOMMU Architecture Specification, version 1.0.1).

pub mod paging;
