//! The groups for programs; `docs/json.md` documents the shape.

use ioward::pci::groups::{Cause, Group, Grouping, Reason};
use ioward_host::Machine;
use serde::Serialize;

/// The whole document. Members are only ever added.
#[derive(Serialize)]
pub struct Document {
    /// The version of this form.
    format: u32,
    /// Where the machine was read from.
    machine: String,
    /// Whose idea of a group.
    policy: &'static str,
    groups: Vec<JsonGroup>,
    /// Functions whose group depends on something that nobody could read.
    unsure: Vec<String>,
    /// Functions without a group: IOMMUs.
    without: Vec<String>,
    /// What contradicts itself in configuration space.
    findings: Vec<String>,
    /// What was read in part.
    degraded: Vec<String>,
    /// What could not be read.
    unread: Vec<String>,
}

#[derive(Serialize)]
struct JsonGroup {
    id: u32,
    devices: Vec<String>,
    reasons: Vec<JsonReason>,
}

#[derive(Serialize)]
struct JsonReason {
    member: String,
    with: String,
    text: String,
    causes: Vec<JsonCause>,
}

#[derive(Serialize)]
struct JsonCause {
    kind: &'static str,
    subject: String,
    text: String,
}

/// Each in words.
fn words<T: ToString>(things: &[T]) -> Vec<String> {
    things.iter().map(ToString::to_string).collect()
}

impl Document {
    /// Of a machine and its groups.
    pub fn of(machine: &Machine, policy: &'static str, grouping: &Grouping) -> Self {
        Self {
            format: 1,
            machine: machine.origin.to_string(),
            policy,
            groups: grouping.groups.iter().map(group).collect(),
            unsure: words(&grouping.unsure),
            without: words(&grouping.without),
            findings: words(machine.topology.findings()),
            degraded: words(&machine.degraded),
            unread: words(&machine.unread),
        }
    }
}

fn group(group: &Group) -> JsonGroup {
    JsonGroup {
        id: group.id,
        devices: words(&group.members),
        reasons: group.reasons.iter().map(reason).collect(),
    }
}

fn reason(reason: &Reason) -> JsonReason {
    JsonReason {
        member: reason.member.to_string(),
        with: reason.with.to_string(),
        text: reason.to_string(),
        causes: reason.causes.iter().map(cause).collect(),
    }
}

fn cause(cause: &Cause) -> JsonCause {
    let kind = match cause {
        Cause::NotIsolated { .. } => "not-isolated",
        Cause::Conventional { .. } => "conventional",
        Cause::Alias { .. } => "alias",
        Cause::Phantom { .. } => "phantom",
        Cause::Owned { .. } => "owned",
    };
    JsonCause { kind, subject: cause.subject().to_string(), text: cause.to_string() }
}
