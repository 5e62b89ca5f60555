//! What would be, for people.

use crate::show::{
    Style, changes, counted, doubts,
    layout::{line, wrapped},
};
use ioward_host::Machine;
use ioward_study::whatif::WhatIf;

/// The whole, ended by a newline.
pub fn render(machine: &Machine, whatif: &WhatIf, style: &Style) -> String {
    let mut out = String::new();
    let policy = changes::policy(whatif.policy);
    line(&mut out, &style.head(&format!("{}: what if", machine.origin)));
    for edit in &whatif.edits {
        wrapped(&mut out, "  - ", edit, style.width);
    }
    out.push('\n');
    let (before, after) = (whatif.groups_before, whatif.groups_after);
    wrapped(&mut out, "", &format!("Groups {policy}: {before} before, {after} after."), style.width);
    if !whatif.renamed.is_empty() {
        out.push('\n');
        line(&mut out, &style.head("renamed"));
        for renamed in &whatif.renamed {
            line(&mut out, &format!("  {} becomes {}", renamed.before, renamed.after));
        }
    }
    if !whatif.removed.is_empty() {
        out.push('\n');
        wrapped(&mut out, "taken out: ", &whatif.removed.join(", "), style.width);
    }
    let name = |at| changes::name(&machine.topology, at);
    let after = |at: ioward::pci::Bdf| {
        let text = at.to_string();
        let renamed = whatif.renamed.iter().find(|renamed| renamed.after == text);
        let before = renamed.map_or(Some(at), |renamed| renamed.before.parse().ok());
        before.and_then(|at| changes::name(&machine.topology, at))
    };
    changes::render(&mut out, &whatif.changes, &name, &after, style);
    if whatif.changes.is_empty() {
        out.push('\n');
        line(&mut out, "No group would change.");
    }
    if !whatif.unsure.is_empty() {
        out.push('\n');
        let many = counted(whatif.unsure.len(), "function");
        let told = format!(
            "The groups of {many} depend on what nobody could read; what became of them is not certain."
        );
        wrapped(&mut out, "", &told, style.width);
    }
    doubts(&mut out, machine, style);
    out
}
