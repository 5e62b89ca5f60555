//! The words and seams that every room of ioward shares.
//!
//! No allocation, no dependency. What lives here is what the rooms hand to each other:
//!
//! * [`addr`]: addresses, spans of them, sources, tags;
//! * [`attr`]: what a mapping allows;
//! * [`platform`]: the one trait a kernel implements, [`Platform`], and its lock;
//! * [`mmio`]: registers, real or simulated;
//! * [`hw`]: the one accessor of memory that hardware reads;
//! * [`control`]: what the bus does to a device when the subsystem says so;
//! * [`table`]: what a page table looks like from outside;
//! * [`describe`]: the neutral description of IOMMUs, of what each serves, and of regions firmware requires.
//!
//! Principles:
//! 1. Memory that hardware reads is reached through [`hw`] and nothing else, and never by reference.
//! 2. Ordering has names: publish before doorbell, table before invalidation, completion before reuse.
//! 3. Every type that could be mistaken for another is a type.
#![no_std]

pub mod addr;
pub mod attr;
#[doc(hidden)]
pub mod cell;
pub mod control;
pub mod describe;
#[doc(hidden)]
pub mod hint;
pub mod hw;
pub mod lock;
pub mod mmio;
pub mod platform;
pub mod table;

pub use addr::{IommuId, Iova, Nanos, Pasid, PhysAddr, SourceId, Span, Tag};
pub use attr::{Attributes, Direction};
pub use control::DeviceControl;
pub use hw::Frames;
pub use lock::{Guard, Mutex};
pub use mmio::{Mmio, MmioPtr};
pub use platform::{OutOfMemory, Platform, RawLock};
pub use table::{Format, Root, TableConfig};
