//! What two kernels say differently.

use super::{Difference, devices::Matched};
use ioward_host::{Machine, kernel::Interrupts};
use std::collections::{BTreeMap, BTreeSet};

/// The differences.
pub fn differences(before: &Machine, after: &Machine, matched: &Matched) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |what: &str, before: String, after: String| {
        if before != after {
            found.push(Difference::new(what, before, after));
        }
    };
    let (was, is) = (&before.kernel, &after.kernel);
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "not known".into());
    compare("version", text(&was.version), text(&is.version));
    let options = |options: &Option<Vec<String>>| match options.as_deref() {
        None => "not known".to_owned(),
        Some([]) => "none".to_owned(),
        Some(options) => options.join(" "),
    };
    compare("options", options(&was.options), options(&is.options));
    compare("IOMMUs", iommus(before), iommus(after));
    compare("interrupts", interrupts(was.interrupts), interrupts(is.interrupts));
    let unsafely = |yes: bool| if yes { "allowed".to_owned() } else { "not allowed".to_owned() };
    let what = "devices without interrupt isolation given away";
    compare(what, unsafely(was.allows_unsafe_interrupts), unsafely(is.allows_unsafe_interrupts));
    groups(before, after, matched, &mut found);
    found
}

fn iommus(machine: &Machine) -> String {
    let names: Vec<&str> = machine.kernel.iommus.iter().map(|iommu| iommu.name.as_str()).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

fn interrupts(count: Option<Interrupts>) -> String {
    match count {
        None => "not known".into(),
        // How many there are changes with every driver; whether they are remapped is what matters.
        Some(Interrupts { remapped: 0, .. }) => "none remapped".into(),
        Some(Interrupts { plain: 0, .. }) => "all remapped".into(),
        Some(_) => "some remapped".into(),
    }
}

/// The kernel's own groups of functions that both machines have.
fn groups(before: &Machine, after: &Machine, matched: &Matched, found: &mut Vec<Difference>) {
    type Groups = BTreeMap<ioward::pci::Bdf, BTreeSet<ioward::pci::Bdf>>;
    let by_function =
        |machine: &Machine, name: &dyn Fn(ioward::pci::Bdf) -> Option<ioward::pci::Bdf>| -> Groups {
            let groups = machine
                .kernel_groups()
                .into_values()
                .map(|group| group.into_iter().filter_map(name).collect::<BTreeSet<_>>());
            groups.flat_map(|group| group.clone().into_iter().map(move |at| (at, group.clone()))).collect()
        };
    // By the names of before.
    let was = by_function(before, &|at| matched.after(at).map(|_| at));
    let is = by_function(after, &|at| matched.before(at));
    let mut told = BTreeSet::new();
    for (at, group) in &was {
        let now = is.get(at);
        if now.is_some_and(|now| now != group) && told.insert((group.clone(), now.cloned())) {
            found.push(Difference::new(
                format!("group of {at}"),
                list(group),
                now.map_or(String::new(), list),
            ));
        }
    }
}

fn list(group: &BTreeSet<ioward::pci::Bdf>) -> String {
    group.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
