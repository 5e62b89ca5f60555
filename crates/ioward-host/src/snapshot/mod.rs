//! The program's own format: everything that is needed to study a machine elsewhere, in one file, and nothing that tells whose
//! machine it is.
//!
//! A snapshot is a list of [`Record`](crate::Record)s, firmware tables and the kernel's word; reading one fills the same
//! [`Parts`](crate::Parts) as reading sysfs. `docs/snapshot.md` describes the format, what is taken out, and what a later
//! version may change.
//!
//! | module | what it is |
//! | --- | --- |
//! | `form` | the document, as it is written |
//! | `bytes` | bytes as rows of text |
//! | `redact` | what is taken out of configuration space and device trees |
//! | `write` | from a machine to the document |
//! | `read` | from the document to parts |

mod bytes;
mod form;
mod read;
mod redact;
mod write;

pub use read::{is_snapshot, read};
pub use redact::Removed;
pub use write::{Unfit, snapshot};

/// The version of the format that is written, and the newest that is read.
pub const VERSION: u32 = 1;
