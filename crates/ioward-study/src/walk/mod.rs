//! The translation of an IOVA step by step, in memory that nobody vouches for.
//!
//! [`Origin`] says where to begin: at a page table ([`Origin::Table`]), at a device's entry, or at an IOMMU's registers, from
//! which the entry of a source is found. [`walk`] reads what hardware would read, in its order, and says of each thing where
//! it lies, what it holds and what that means; the tables are read by the engine of `ioward-pgtable`. Where two stages
//! translate, everything that the first one reads goes through the second, as in hardware.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`image`] | memory in a file: raw, or an ELF core |
//! | [`models`] | where an IOMMU's own registers say that a walk begins |
//! | [`report`] | what a walk shows |
//! | `entry` | devices' entries of each IOMMU |
//! | `flags` | the bits of page-table entries by their names |

mod entry;
mod flags;
pub mod image;
pub mod models;
pub mod report;

pub use entry::{Device, Kind, Origin};
pub use image::Image;
pub use report::{End, Lookup, Report, StageWalk, Step, walk};
