//! The IOMMU subsystem for Rust: front door.
#![no_std]
