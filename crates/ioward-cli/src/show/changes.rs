//! Groups that changed, for people.

use super::{
    Style,
    layout::{line, wrapped},
};
use ioward::pci::{Bdf, Topology};
use ioward_study::regroup::{Change, Kind};

/// A policy in a sentence.
pub fn policy(name: &str) -> &'static str {
    match name {
        "linux" => "as Linux computes them",
        _ => "as the fabric can keep them apart",
    }
}

/// What a function is called, if anything tells.
pub fn name(topology: &Topology, at: Bdf) -> Option<String> {
    let function = topology.find(at).map(|index| &topology.functions()[index])?;
    match (function.name.is_empty(), function.ids) {
        (false, _) => Some(function.name.clone()),
        (true, Some(ids)) => Some(format!("{:04x}:{:04x}", ids.vendor, ids.device)),
        (true, None) => None,
    }
}

/// Adds what became of each group, with names of functions before and after.
pub fn render(
    out: &mut String,
    changes: &[Change],
    before: &dyn Fn(Bdf) -> Option<String>,
    after: &dyn Fn(Bdf) -> Option<String>,
    style: &Style,
) {
    for change in changes {
        out.push('\n');
        let title = match change.kind {
            Kind::Split => "A group splits",
            Kind::Joined => "Groups join",
            Kind::Regrouped => "Groups change places",
            Kind::Gained => "A group gains",
            Kind::Lost => "A group loses",
            Kind::New => "A new group",
            Kind::Gone => "A group is gone",
        };
        line(out, &style.head(title));
        groups(out, "before  ", &change.before, before, style);
        groups(out, "after   ", &change.after, after, style);
        for (holds, words) in [(false, "no longer holds"), (true, "holds now")] {
            for tie in change.why.iter().filter(|tie| tie.holds == holds) {
                let what = format!("{}, {}: {}", tie.member, tie.with, tie.causes.join("; "));
                wrapped(out, &format!("  {words:<15}  "), &what, style.width);
            }
        }
    }
}

/// A group a line, its functions below each other where they have names.
fn groups(
    out: &mut String,
    label: &str,
    groups: &[Vec<Bdf>],
    name: &dyn Fn(Bdf) -> Option<String>,
    style: &Style,
) {
    for (number, group) in groups.iter().enumerate() {
        for (place, at) in group.iter().enumerate() {
            let label = if (number, place) == (0, 0) { label } else { "        " };
            let mark = match (place, group.len()) {
                (_, 1) => "─",
                (0, _) => "┌",
                (place, length) if place + 1 == length => "└",
                _ => "│",
            };
            let name = name(*at).unwrap_or_default();
            wrapped(out, &format!("  {label}{mark} {at}  "), &name, style.width);
            if name.is_empty() {
                line(out, &format!("  {label}{mark} {at}"));
            }
        }
    }
}
