//! The groups for people.

use crate::show::{
    Style,
    layout::{line, wrapped},
};
use ioward::pci::groups::Grouping;
use ioward_host::Machine;

/// The whole, ended by a newline.
pub fn render(machine: &Machine, policy: &str, grouping: &Grouping, style: &Style) -> String {
    let mut out = String::new();
    line(&mut out, &style.head(&format!("ioward: groups of {}, policy {policy}", machine.origin)));
    for group in &grouping.groups {
        line(&mut out, &style.head(&format!("\ngroup {}", group.id)));
        for member in &group.members {
            let function = machine.topology.find(*member).map(|index| &machine.topology.functions()[index]);
            let name = function.map_or("", |function| &function.name);
            wrapped(&mut out, &format!("  {member}  "), name, style.width);
        }
        for reason in &group.reasons {
            wrapped(&mut out, "    ", &reason.to_string(), style.width);
        }
    }
    for degraded in &machine.degraded {
        out.push('\n');
        wrapped(&mut out, "", &degraded.to_string(), style.width);
    }
    out
}
