//! `cargo xtask oracle`: Linux as judge of the policy `linux`.
//!
//! Debian's kernel is booted in QEMU on machines whose PCI devices are made by hand or at random, with each IOMMU. The guest
//! says which groups the kernel made and shows the configuration spaces that the kernel saw; the program is asked for its
//! groups of those, and the two divisions must be the same over all functions that the kernel put in a group.
//!
//! | room | what |
//! | --- | --- |
//! | `topology` | a tree of devices, and QEMU's arguments for it |
//! | `hand`, `random` | trees made by hand, and by a seed and a number |
//! | `initramfs`, `guest.sh` | what the guest runs |
//! | `boot` | QEMU's machines, started and listened to |
//! | `report` | the guest's lines, read and checked |
//! | `copy` | a report as a directory that looks like `/sys`, and as text for `lspci -F` |
//! | `ours`, `partition` | the program's groups, and both divisions compared |
//! | `judge` | one machine from its boot to its verdict |
//! | `shrink` | a smaller machine on which the two still differ |

mod boot;
mod copy;
mod hand;
mod initramfs;
mod judge;
mod ours;
mod partition;
mod random;
mod report;
mod run;
mod shrink;
mod topology;

pub use initramfs::Archive;
pub use run::{command, few};
