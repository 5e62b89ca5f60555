//! What two kernels say differently.

use super::{Difference, devices::Matched};
use ioward::pci::Bdf;
use ioward_host::{KernelGroup, Machine, Reserved, kernel::Interrupts};
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
    compare("VFIO without an IOMMU", unsafely(was.allows_no_iommu), unsafely(is.allows_no_iommu));
    compare("Thunderbolt domains whose DMA is held to the IOMMU", thunderbolt(before), thunderbolt(after));
    groups(before, after, matched, &mut found);
    kinds_and_regions(before, after, matched, &mut found);
    found
}

fn thunderbolt(machine: &Machine) -> String {
    let said = machine.kernel.thunderbolt.iter().map(|(name, held)| {
        let held = if *held { "yes" } else { "no" };
        format!("{name}: {held}")
    });
    let said: Vec<String> = said.collect();
    if said.is_empty() { "none".into() } else { said.join(", ") }
}

/// Kinds and reserved regions of the kernel's groups, found by the first function that both machines have. Numbers of
/// groups change with every boot and say nothing.
fn kinds_and_regions(before: &Machine, after: &Machine, matched: &Matched, found: &mut Vec<Difference>) {
    let group = |machine: &Machine, at: Bdf| -> Option<KernelGroup> {
        let function = machine.topology.find(at).map(|index| &machine.topology.functions()[index]);
        machine.kernel.groups.get(&function?.linux_group?).cloned()
    };
    let regions = |group: &KernelGroup| {
        let region =
            |region: &Reserved| format!("{:#x}..={:#x} {}", region.first, region.last, region.kind.word());
        let regions: Vec<String> = group.reserved.iter().map(region).collect();
        if regions.is_empty() { "none".to_owned() } else { regions.join(", ") }
    };
    let kind = |group: &KernelGroup| group.kind.clone().unwrap_or_else(|| "not known".into());
    let mut told = BTreeSet::new();
    for (was_at, is_at) in matched.pairs() {
        let (Some(was), Some(is)) = (group(before, was_at), group(after, is_at)) else { continue };
        let pairs = [("type", kind(&was), kind(&is)), ("reserved regions", regions(&was), regions(&is))];
        for (what, before, after) in pairs {
            // Once for all members of a group.
            if before != after && told.insert((what, was.devices.clone(), before.clone(), after.clone())) {
                found.push(Difference::new(format!("{what} of the group of {was_at}"), before, after));
            }
        }
    }
}

fn iommus(machine: &Machine) -> String {
    // The registers that the kernel shows are the IOMMU's capabilities.
    let shown = machine.kernel.iommus.iter().map(|iommu| match iommu.registers {
        Some((one, other)) => format!("{} ({one:#x}, {other:#x})", iommu.name),
        None => iommu.name.clone(),
    });
    let names: Vec<String> = shown.collect();
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
