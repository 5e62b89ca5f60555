//! What the documents of several commands have in common.

use ioward::pci::groups;
use ioward_host::{Machine, Passthrough};
use serde::Serialize;

/// What each document about a machine begins with. Members of documents are only ever added.
#[derive(Serialize)]
pub struct Head {
    /// The version of this form.
    pub version: u32,
    /// Where the machine was read from.
    pub machine: String,
    /// What is not certain of it.
    #[serde(flatten)]
    pub doubts: Doubts,
}

/// What is not certain of a machine.
#[derive(Serialize)]
pub struct Doubts {
    /// What was read in part.
    pub degraded: Vec<String>,
    /// What could not be read.
    pub unread: Vec<String>,
    /// What contradicts itself in configuration space.
    pub oddities: Vec<String>,
}

impl Head {
    /// Of a machine.
    pub fn of(machine: &Machine) -> Self {
        Self { version: 1, machine: machine.origin.to_string(), doubts: Doubts::of(machine) }
    }
}

impl Doubts {
    /// Of a machine.
    pub fn of(machine: &Machine) -> Self {
        Self {
            degraded: words(&machine.degraded),
            unread: words(&machine.unread),
            oddities: words(machine.topology.findings()),
        }
    }
}

/// A fact that ties functions together.
#[derive(Serialize)]
pub struct Cause {
    kind: &'static str,
    subject: String,
    text: String,
}

impl Cause {
    /// From the library's.
    pub fn of(cause: &groups::Cause) -> Self {
        let kind = match cause {
            groups::Cause::NotIsolated { .. } => "not-isolated",
            groups::Cause::Conventional { .. } => "conventional",
            groups::Cause::Alias { .. } => "alias",
            groups::Cause::Phantom { .. } => "phantom",
            groups::Cause::Owned { .. } => "owned",
        };
        Self { kind, subject: cause.subject().to_string(), text: cause.to_string() }
    }
}

/// Whether a function can be given to a guest.
#[derive(Serialize)]
pub struct Verdict {
    possible: bool,
    why: &'static str,
    with: Vec<String>,
}

impl Verdict {
    /// From the library's; none of a function without a group.
    pub fn of(verdict: Option<&Passthrough>) -> Self {
        let (why, with) = match verdict {
            None | Some(Passthrough::NoDevice) => ("no-device", &[][..]),
            Some(Passthrough::System) => ("system", &[][..]),
            Some(Passthrough::Alone) => ("alone", &[][..]),
            Some(Passthrough::With(with)) => ("with-own-functions", &with[..]),
            Some(Passthrough::Shared(with)) => ("shared", &with[..]),
            Some(Passthrough::Required { .. }) => ("required-region", &[][..]),
            Some(Passthrough::Unserved(_)) => ("unserved", &[][..]),
            Some(Passthrough::Refused(_)) => ("refused", &[][..]),
        };
        Self { possible: verdict.is_some_and(Passthrough::is_possible), why, with: words(with) }
    }
}

/// Each in words.
pub fn words<T: ToString>(things: &[T]) -> Vec<String> {
    things.iter().map(ToString::to_string).collect()
}
