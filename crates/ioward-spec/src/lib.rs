//! Register offsets, field positions and constants of the IOMMU specifications.
//!
//! A module for each IOMMU, a file for each family of structures, each field with the section it comes from. There are
//! no encoders here: those belong to whoever uses them, so that a driver and the model that judges it share no mistake
//! but one about a position, and positions are held against literal masks from outside.
//!
//! * [`field`]: what a field is: a word, a bit, a width;
//! * [`amdvi`]: the IOMMU of AMD processors;
//! * [`lpae`]: Arm VMSAv8-64 translation-table descriptors;
//! * [`riscv`]: the RISC-V IOMMU and its page tables;
//! * [`smmuv3`]: Arm System MMU version 3;
//! * [`virtio`]: the virtio-iommu device;
//! * [`vtd`]: Intel VT-d and its page tables.
#![no_std]

pub mod amdvi;
pub mod field;
pub mod lpae;
pub mod riscv;
pub mod smmuv3;
pub mod virtio;
pub mod vtd;

pub use field::Field;
