//! What differs, for people.

use crate::show::{
    Style, changes, counted, doubts,
    layout::{line, wrapped},
};
use ioward_host::Machine;
use ioward_study::diff::{Device, Diff, Difference, How};

/// The whole, ended by a newline.
pub fn render((before, after): (&Machine, &Machine), policy: &str, diff: &Diff, style: &Style) -> String {
    let mut out = String::new();
    line(&mut out, &style.head(&format!("from {} to {}", before.origin, after.origin)));
    devices(&mut out, "gone", "- ", &diff.removed, style);
    devices(&mut out, "new", "+ ", &diff.added, style);
    if !diff.moved.is_empty() {
        heading(&mut out, "moved", style);
        for moved in &diff.moved {
            wrapped(&mut out, &format!("  {} -> {}  ", moved.before, moved.after), &moved.name, style.width);
        }
    }
    if !diff.changed.is_empty() {
        heading(&mut out, "changed", style);
        for changed in &diff.changed {
            wrapped(&mut out, &format!("  {}  ", changed.at), &changed.name, style.width);
            differences(&mut out, "    ", &changed.differences, style);
        }
    }
    if !diff.tables.is_empty() {
        heading(&mut out, "firmware", style);
        for table in &diff.tables {
            let how = match table.how {
                How::Added => "is new",
                How::Removed => "is gone",
                How::Changed => "is not the same",
            };
            line(&mut out, &format!("  {} {how}", table.table));
            differences(&mut out, "    ", &table.differences, style);
        }
    }
    if !diff.kernel.is_empty() {
        heading(&mut out, "kernel", style);
        differences(&mut out, "  ", &diff.kernel, style);
    }
    changes::render(
        &mut out,
        &diff.groups,
        &|at| changes::name(&before.topology, at),
        &|at| changes::name(&after.topology, at),
        style,
    );
    out.push('\n');
    let verdict = match (diff.is_empty(), diff.groups.is_empty()) {
        (true, _) => style.good("Nothing differs."),
        (false, true) => format!("No group changed ({}).", changes::policy(policy)),
        (false, false) => {
            let many = diff.groups.len();
            let what = if many == 1 { "1 set of groups" } else { &format!("{many} sets of groups") };
            style.odd(&format!("{what} changed ({}).", changes::policy(policy)))
        }
    };
    line(&mut out, &verdict);
    if !diff.unsure.is_empty() {
        let told = format!(
            "The groups of {} depend on what nobody could read, so what is said of them is not certain.",
            counted(diff.unsure.len(), "function")
        );
        wrapped(&mut out, "", &told, style.width);
    }
    for (machine, which) in [(before, "the first"), (after, "the second")] {
        let mut text = String::new();
        doubts(&mut text, machine, style);
        if !text.is_empty() {
            line(&mut out, &format!("Of {which}:"));
            out.push_str(&text);
        }
    }
    out
}

fn heading(out: &mut String, title: &str, style: &Style) {
    out.push('\n');
    line(out, &style.head(title));
}

fn devices(out: &mut String, title: &str, mark: &str, devices: &[Device], style: &Style) {
    if devices.is_empty() {
        return;
    }
    heading(out, title, style);
    for device in devices {
        // A name of no words leaves the place alone in its line.
        let name = if device.name.is_empty() { "-" } else { &device.name };
        wrapped(out, &format!("  {mark}{}  ", device.at), name, style.width);
    }
}

fn differences(out: &mut String, indent: &str, differences: &[Difference], style: &Style) {
    for Difference { what, before, after } in differences {
        let shown = |text: &str| if text.is_empty() { "there".to_owned() } else { text.to_owned() };
        wrapped(
            out,
            &format!("{indent}{what}: "),
            &format!("{} -> {}", shown(before), shown(after)),
            style.width,
        );
    }
}
