//! The IOMMU subsystem: devices, groups, domains, address spaces, DMA.
#![no_std]
extern crate alloc;

pub mod driver;
