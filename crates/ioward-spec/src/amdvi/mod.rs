//! AMD-Vi: the AMD I/O Virtualization Technology (IOMMU) Specification, publication 48882, revision 3.08.
//!
//! A file for each family of structures:
//!
//! * [`entries`]: host page tables (v1), guest page tables (v2), guest CR3 tables;
//! * [`dte`]: the device table entry;
//! * [`capability`]: the capability block in PCI configuration space;
//! * [`registers`]: offsets of MMIO registers, and the fields of those that hold bases, pointers and status;
//! * [`control`]: the control register;
//! * [`features`]: the two extended feature registers;
//! * [`commands`]: the command buffer's entries;
//! * [`events`]: the event log's entries;
//! * [`ppr`]: the peripheral page request log's entries;
//! * [`interrupts`]: interrupt remapping table entries.
//!
//! Sections are cited as "48882 §2.2.3", registers as "MMIO 0018h". Positions are held against literal masks out of
//! headers that others wrote from the same text: `amd_iommu_types.h` (Linux), `amd_iommu.h` (QEMU), `amd_reg.h`
//! (FreeBSD), `iommu-amd.h` (VirtualBox); each test says which.

pub mod capability;
pub mod commands;
pub mod control;
pub mod dte;
pub mod entries;
pub mod events;
pub mod features;
pub mod interrupts;
pub mod ppr;
pub mod registers;
