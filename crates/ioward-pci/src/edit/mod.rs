//! A machine with something changed: ACS bits set or cleared, a device in another slot, a device taken out.
//!
//! Nothing of this touches hardware. [`Topology::edit`] gives a new [`Topology`], so that what a change would do to the
//! groups can be seen before anybody opens the case or the firmware's menu.
//!
//! Devices get new names when they move, as they do in a real machine. An [`Edited`] knows what every function of the old
//! machine is called in the new one. Edits of one list name functions as the old machine does.

mod apply;
mod error;
mod number;
mod place;

pub use apply::{Edit, Edited};
pub use error::EditError;
pub(crate) use place::{is_link, movable};

#[cfg(doc)]
use crate::Topology;
