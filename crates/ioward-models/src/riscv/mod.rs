//! A model of the RISC-V IOMMU.
