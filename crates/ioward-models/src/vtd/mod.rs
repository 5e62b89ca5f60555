//! A software VT-d unit, as a judge (Intel Virtualization Technology for Directed I/O, revision 4.1).
//!
//! [`VtdModel`] is one unit: registers on the side of the driver, requests on the side of devices. What it takes the
//! text to allow, and therefore does:
//!
//! * An invalidation takes effect when a later wait descriptor completes, or when software sees ICC or IVT clear, and
//!   not before (6.5.2.8, 6.5.1), unless [`VtdConfig::lazy`] is off.
//! * Context entries are cached whole by source, PASID entries by source and PASID, until an invalidation names them:
//!   by the domain ID that they hold, by source, or globally (6.2.2, 6.2.3, 6.5.2.1, 6.5.2.2).
//! * Second-stage translations and the entries on the way to them are cached by domain ID, first-stage, nested and
//!   scalable pass-through ones by domain ID and PASID; identity is cached too (6.2.4, 6.2.5). An invalidation of the
//!   IOTLB reaches first-stage and pass-through ones only by PASID (6.5.2.4).
//! * What an IOTLB invalidation drops comes back as long as a stale context or PASID entry leads to it, which is why
//!   context cache, PASID cache and IOTLB are invalidated in this order (6.5.3.3).
//! * With caching mode, what is not there or wrong is cached too, context and PASID entries under domain ID 0 (6.1).
//! * Taking over a root pointer or turning translation off and on forgets nothing, unless CAP.ESRTPS or ESIRTPS say so
//!   (6.6, 6.7).
//! * Where write buffers are to be flushed (CAP.RWBF), the unit sees no store to the structures before a flush, or an
//!   invalidation, which flushes by itself (6.8).
//!
//! A file for each concern: [`config`], `registers`, `command` (GCMD), `queue` and `descriptor` (queued invalidation),
//! `invalidate`, `cache`, [`meaning`] (what context and PASID entries mean), `context` (fetching them), `second` and
//! `first` (walks), `request`, `fault`, `interrupt`, `prq`, `audit`; [`model`] is the face.

mod audit;
mod cache;
mod command;
pub mod config;
mod context;
mod descriptor;
mod fault;
mod first;
mod interrupt;
mod invalidate;
pub mod meaning;
pub mod model;
mod prq;
mod queue;
mod registers;
mod request;
mod second;
mod unit;

#[cfg(test)]
mod tests;

pub use self::config::VtdConfig;
pub use self::meaning::{First, Invalid, PasidMeaning, PasidTables, Second, SourceMeaning, Translation};
pub use self::model::{CommandFilter, Event, EventKind, VtdModel};
pub use self::prq::{Answer, PageRequest};
