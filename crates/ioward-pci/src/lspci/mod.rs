//! Functions from the text that `lspci` prints: with `-v` to `-vvv`, `-nn`, `-x` to `-xxxx`, of a machine or out of a
//! mail that wrapped, quoted or encoded it.
//!
//! Text is read as far as it goes. What it lacks stays unseen, what is odd about it is listed as [`Degraded`], and
//! where a hex dump and words describe the same thing the dump counts, since words depend on the version of `lspci`.

mod clean;
mod ids;
mod record;

pub use ids::add_ids;

use crate::{Bdf, Fact, Finding, Function};
use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::fmt;

/// What a text lacks or what happened to it on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Degraded {
    /// Every line was quoted as a mail program does.
    Quoted,
    /// It was in quoted-printable encoding.
    Encoded,
    /// So many lines were wrapped and joined again.
    Wrapped {
        /// How many.
        lines: usize,
    },
    /// So many functions have no vendor and device ID; quirks are guessed from names.
    NoIds {
        /// How many.
        functions: usize,
    },
    /// The capabilities of so many functions are not shown (not verbose, or not run as root).
    NoCapabilities {
        /// How many.
        functions: usize,
    },
    /// So many ACS capabilities are named without their bits.
    AcsWithoutBits {
        /// How many.
        functions: usize,
    },
}

impl fmt::Display for Degraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quoted => f.write_str("every line is quoted"),
            Self::Encoded => f.write_str("the text is in quoted-printable encoding"),
            Self::Wrapped { lines } => write!(f, "{lines} lines are wrapped"),
            Self::NoIds { functions } => {
                write!(f, "{functions} functions have no IDs (use -nn); quirks are guessed from names")
            }
            Self::NoCapabilities { functions } => {
                write!(f, "the capabilities of {functions} functions are not shown (use -vvv, as root)")
            }
            Self::AcsWithoutBits { functions } => {
                write!(f, "{functions} ACS capabilities are shown without their bits (use -vvv)")
            }
        }
    }
}

/// What a text says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listing {
    /// The functions, ascending.
    pub functions: Vec<Function>,
    /// What is wrong with a function.
    pub findings: Vec<Finding>,
    /// What is odd about the text.
    pub degraded: Vec<Degraded>,
}

impl Listing {
    /// Whether any line was a function's.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// The topology that the functions make.
    pub fn into_topology(self) -> crate::Topology {
        crate::Topology::new(self.functions, self.findings)
    }
}

/// Reads a text. Never fails: a text without functions gives an empty listing.
pub fn parse(text: &str) -> Listing {
    let mut listing = Listing::default();
    let cleaned = clean::clean(text);
    listing.degraded.extend(cleaned.quoted.then_some(Degraded::Quoted));
    listing.degraded.extend(cleaned.encoded.then_some(Degraded::Encoded));
    let mut wrapped = 0;
    let mut functions: BTreeMap<Bdf, Function> = BTreeMap::new();
    for record in clean::records(&cleaned.lines, &mut wrapped) {
        let function = record::read(&record, &mut listing.findings);
        // A short list and a long one may follow each other in one text.
        match functions.get_mut(&function.at) {
            Some(known) => record::fill(known, function),
            None => {
                functions.insert(function.at, function);
            }
        }
    }
    listing.functions = functions.into_values().collect();
    recount(&mut listing, wrapped);
    listing
}

fn recount(listing: &mut Listing, wrapped: usize) {
    let count = |is: &dyn Fn(&Function) -> bool| listing.functions.iter().filter(|f| is(f)).count();
    let no_ids = count(&|f| f.ids.is_none());
    let unseen = count(&|f| !f.express.is_seen());
    let no_bits =
        count(&|f| matches!(f.acs, Fact::Present(acs) if acs.capability.is_none() || acs.control.is_none()));
    listing.degraded.extend((wrapped != 0).then_some(Degraded::Wrapped { lines: wrapped }));
    listing.degraded.extend((no_ids != 0).then_some(Degraded::NoIds { functions: no_ids }));
    listing.degraded.extend((unseen != 0).then_some(Degraded::NoCapabilities { functions: unseen }));
    listing.degraded.extend((no_bits != 0).then_some(Degraded::AcsWithoutBits { functions: no_bits }));
}

/// Joins words by single spaces.
fn squeeze(text: &str) -> String {
    let mut squeezed = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !squeezed.is_empty() {
            squeezed.push(' ');
        }
        squeezed.push_str(word);
    }
    squeezed
}

#[cfg(test)]
mod tests;
