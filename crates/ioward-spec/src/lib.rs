//! Register offsets, field positions and constants of the IOMMU specifications.
#![no_std]
