//! What is known of particular devices, as data: each row says which devices, what of them, and who says so.
//!
//! Every row of both tables is one that Linux acts on (`drivers/pci/quirks.c`), because the `linux` policy must agree
//! with Linux; the source in a row is where the vendor or a bug report says it.

mod acs;
mod alias;

pub use acs::{ACS, AcsQuirk, Provides, When};
pub(crate) use acs::{Setting, find as find_acs};
pub(crate) use alias::find as find_alias;
pub use alias::{ALIASES, AliasQuirk, Aliases};

use crate::Function;
use alloc::string::String;

/// Which devices of a vendor: ranges of device IDs, both ends included.
pub type Devices = &'static [(u16, u16)];

/// How a row was found to apply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Match {
    /// By vendor and device ID.
    Ids,
    /// By the names in a dump that lacks IDs: an assumption.
    Name,
}

/// Whether `function` is one of these devices. `names`: each entry is a set of words, separated by `+`, that all occur
/// in the name of such a device; used only where the IDs are missing.
fn matches(function: &Function, vendor: u16, devices: Devices, names: &[&str]) -> Option<Match> {
    match function.ids {
        Some(ids) => {
            let hit = ids.vendor == vendor
                && devices.iter().any(|&(first, last)| (first..=last).contains(&ids.device));
            hit.then_some(Match::Ids)
        }
        None => {
            let name: &String = &function.name;
            let hit = !name.is_empty()
                && names.iter().any(|words| words.split('+').all(|word| name.contains(word)));
            hit.then_some(Match::Name)
        }
    }
}
