//! IOMMU drivers: registers, queues and context structures.
#![no_std]
