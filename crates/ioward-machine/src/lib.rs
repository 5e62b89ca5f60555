//! A whole machine in software: models of its IOMMUs and devices, simulated memory, the drivers and the subsystem.
//!
//! ```text
//!   ioward-host --> build --+                (whatever describes a machine)
//!                         +--> Running --> prove --> run::Outcome
//!   embedded ---------------+                (the machine that is built in)
//! ```
//!
//! | module | what it is |
//! | --- | --- |
//! | [`rig`] | IOMMUs and devices put together by hand; everything else here is built on it |
//! | [`models`] | models of whatever kind, with their switches |
//! | [`invent`] | devices for a machine of which only a table is known |
//! | [`hardware`] | models as firmware describes them |
//! | [`build`] | from a description to a machine that runs |
//! | [`embedded`] | the machine that is built in |
//! | [`prove`] | the proof of isolation |
//! | [`checks`] | what was checked, and how often |
//! | [`rows`], [`run`] | what there is to tell |

pub mod build;
pub mod checks;
pub mod embedded;
pub mod hardware;
pub mod invent;
pub mod models;
pub mod prove;
pub mod rig;
pub mod rows;
pub mod run;
pub mod running;

pub use models::Model;
pub use rig::{Endpoint, Rig, RigError, Told};
pub use run::{Outcome, Verdict};
pub use running::Running;
