//! The text of the page: what was found, why each group is one, and every function. It is what a reader without a
//! picture reads, what the script's panel shows, and what is printed.

use super::{Subject, escape::Text, styles::Style, view::Seen};
use ioward::pci::{
    Bdf, Fact, PortType,
    groups::{Group, Reason, differences},
    topology::Index,
};
use ioward_host::names::brief;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Functions whose companions are not the same under both policies.
pub fn differ(seen: &[Seen<'_>; 2]) -> BTreeSet<Bdf> {
    let [one, other] = seen;
    let mut found = BTreeSet::new();
    for (ours, theirs) in [(one, other), (other, one)] {
        for group in &ours.grouping.groups {
            // A group is the same if its first member's is; one comparison for each group keeps large ones cheap.
            let same = theirs.group(group.members[0]).is_some_and(|theirs| theirs.members == group.members);
            if !same {
                found.extend(group.members.iter().copied());
            }
        }
    }
    found
}

/// Writes the text of a page.
pub struct Prose<'a, 's> {
    /// The machine.
    pub subject: &'a Subject<'s>,
    /// Its groups under both policies.
    pub seen: &'a [Seen<'s>; 2],
}

impl Prose<'_, '_> {
    /// What a reader should know first.
    pub fn findings(&self, out: &mut String) {
        let [linux, fabric] = self.seen;
        let mut lines: Vec<String> = self.subject.notes.iter().map(|note| Text(note).to_string()).collect();
        self.splits(
            linux,
            fabric,
            "a device can reach the memory of what is in the other groups",
            &mut lines,
        );
        self.splits(fabric, linux, "nothing is known by which they reach each other", &mut lines);
        let unsure: BTreeSet<Bdf> =
            self.seen.iter().flat_map(|seen| seen.grouping.unsure.iter().copied()).collect();
        if !unsure.is_empty() {
            lines.push(format!(
                "The groups of {} of {} functions are unsure (marked <b>?</b>): something that decides them could not be read or was assumed. As root, more can be read.",
                unsure.len(),
                self.subject.topology.functions().len()
            ));
        }
        for finding in self.subject.topology.findings() {
            lines.push(format!("{}: {}", link(finding.function), Text(&finding.problem.to_string())));
        }
        if self.subject.topology.functions().is_empty() {
            lines.push("This machine has no PCI functions, so there is nothing to draw.".to_owned());
        }
        if lines.is_empty() {
            out.push_str("<p>Both policies make the same groups of everything that was read, and nothing was left unread.</p>\n");
            return;
        }
        out.push_str("<ul class=\"findings\">\n");
        lines.iter().for_each(|line| out.push_str(&format!("<li>{line}</li>\n")));
        out.push_str("</ul>\n");
    }

    /// Where `finer` splits a group of `coarser`.
    fn splits(&self, finer: &Seen<'_>, coarser: &Seen<'_>, so: &str, lines: &mut Vec<String>) {
        let mut groups: BTreeSet<u32> = BTreeSet::new();
        for difference in differences(finer.grouping, coarser.grouping) {
            groups.extend(coarser.group(difference.joined).map(|group| group.id));
        }
        for id in groups {
            let Some(group) = coarser.grouping.groups.get(id as usize) else { continue };
            let parts: BTreeSet<u32> =
                group.members.iter().filter_map(|&at| finer.group(at)).map(|part| part.id).collect();
            let names: Vec<String> = parts.iter().map(|&part| anchor(finer.name, part)).collect();
            let names = if names.len() > 12 {
                format!("{} and {} more", names[..12].join(", "), names.len() - 12)
            } else {
                names.join(", ")
            };
            lines.push(format!(
                "<b class=\"differs\">≠</b> {} splits what {} keeps together in {}: its {} functions are in groups {names}, and {so}.",
                finer.name, coarser.name, anchor_group(coarser.name, id), group.members.len()
            ));
        }
    }

    /// The groups of one policy, and why each is one.
    pub fn groups(&self, seen: &Seen<'_>, out: &mut String) {
        let _ = writeln!(
            out,
            "<section class=\"why {0}\" aria-label=\"Groups of {0}\">\n<h3>{0}</h3>",
            seen.name
        );
        let (many, alone): (Vec<&Group>, Vec<&Group>) =
            seen.grouping.groups.iter().partition(|group| group.members.len() > 1);
        for group in many {
            self.group(seen, group, out);
        }
        let list = |out: &mut String, label: &str, members: &mut dyn Iterator<Item = String>| {
            let members: Vec<String> = members.collect();
            if !members.is_empty() {
                let _ = writeln!(out, "<p class=\"rest\"><b>{label}</b> {}</p>", members.join(", "));
            }
        };
        let mut single = alone.iter().flat_map(|group| {
            let id = anchor_id(seen.name, group.id);
            group.members.iter().map(move |&at| format!("<span id=\"{id}\">{}</span>", link(at)))
        });
        list(out, "Each alone in its group:", &mut single);
        list(
            out,
            "In no group, since they are IOMMUs:",
            &mut seen.grouping.without.iter().map(|&at| link(at)),
        );
        out.push_str("</section>\n");
    }

    fn group(&self, seen: &Seen<'_>, group: &Group, out: &mut String) {
        let style = seen.styles.get(&group.id).copied().unwrap_or(Style { colour: 0, pattern: 0 });
        let _ = writeln!(
            out,
            "<section class=\"group\" id=\"{}\">\n<h4>{} Group {} <small>{} functions</small></h4>\n<ul class=\"members\">",
            anchor_id(seen.name, group.id),
            swatch(style),
            group.id,
            group.members.len()
        );
        let mut reasons: BTreeMap<Bdf, Vec<&Reason>> = BTreeMap::new();
        group.reasons.iter().for_each(|reason| reasons.entry(reason.member).or_default().push(reason));
        for at in &group.members {
            let name = self.subject.topology.find(*at).map(|index| (self.subject.words)(index).name);
            let name = brief(&name.unwrap_or_default());
            let _ = write!(out, "<li>{} {}", link(*at), Text(&name));
            let own = reasons.remove(at).unwrap_or_default();
            if !own.is_empty() {
                out.push_str("<ul>\n");
                own.into_iter().for_each(|reason| self.reason(reason, out));
                out.push_str("</ul>");
            }
            out.push_str("</li>\n");
        }
        out.push_str("</ul>\n</section>\n");
    }

    fn reason(&self, reason: &Reason, out: &mut String) {
        let subjects: BTreeSet<Bdf> = reason.causes.iter().map(|cause| cause.subject()).collect();
        let subjects: Vec<String> = subjects.iter().map(Bdf::to_string).collect();
        let _ = writeln!(
            out,
            "<li data-m=\"{}\" data-w=\"{}\" data-s=\"{}\">{}.</li>",
            reason.member,
            reason.with,
            subjects.join(" "),
            Text(&reason.to_string())
        );
    }

    /// What is known of a function, under its name as a target of links.
    pub fn entry(&self, index: Index, out: &mut String) {
        let function = &self.subject.topology.functions()[index];
        let (at, words) = (function.at, (self.subject.words)(index));
        let _ = writeln!(out, "<section class=\"entry\" id=\"{at}\"><h4>{at} {}</h4><p>", Text(&words.name));
        let mut facts: Vec<String> = Vec::new();
        facts.push(kind(function.port_type(), function.header.is_bridge()).to_owned());
        if !words.class.is_empty() {
            facts.push(Text(&words.class).to_string());
        }
        if let Some(ids) = function.ids {
            facts.push(format!("{:04x}:{:04x}", ids.vendor, ids.device));
        }
        match words.driver.is_empty() {
            true => {}
            false => facts.push(format!("driver {}", Text(&words.driver))),
        }
        if let Some(physical) = self.subject.topology.physical(index) {
            facts.push(format!(
                "a virtual function of {}",
                link(self.subject.topology.functions()[physical].at)
            ));
        }
        if let Some(&unit) = self.subject.served.get(&index) {
            facts.push(format!("served by IOMMU {unit}, {}", Text(&self.subject.iommus[unit])));
        }
        match function.acs {
            Fact::Present(acs) => facts.push(match (acs.capability, acs.control) {
                (Some(capability), Some(control)) => {
                    format!(
                        "ACS: {} supported, {} set",
                        Text(&capability.to_string()),
                        Text(&control.to_string())
                    )
                }
                _ => "ACS is there; its bits were not read".to_owned(),
            }),
            Fact::Absent => facts.push("no ACS".to_owned()),
            Fact::Unseen => facts.push("nobody could read whether it has ACS".to_owned()),
        }
        if self.subject.topology.is_untrusted(index) {
            facts.push("can be plugged in from outside".to_owned());
        }
        if let Some(group) = function.linux_group {
            facts.push(format!("the machine's own kernel had it in group {group}"));
        }
        out.push_str(&facts.join("; "));
        out.push_str(".</p>\n");
        for seen in self.seen {
            let unsure = if seen.is_unsure(at) { ", unsure" } else { "" };
            let said = match seen.group(at) {
                Some(group) if group.members.len() == 1 => {
                    format!("alone in {}", anchor_group(seen.name, group.id))
                }
                Some(group) => {
                    format!(
                        "in {} with {} others",
                        anchor_group(seen.name, group.id),
                        group.members.len() - 1
                    )
                }
                None => "in no group".to_owned(),
            };
            let group = seen.group(at).map_or(String::new(), |group| group.id.to_string());
            let _ = writeln!(
                out,
                "<p class=\"in\" data-view=\"{0}\" data-g=\"{group}\"><b>{0}:</b> {said}{unsure}.</p>",
                seen.name
            );
        }
        out.push_str("</section>\n");
    }
}

/// A function's type, in full.
fn kind(kind: Option<PortType>, bridge: bool) -> &'static str {
    match kind {
        Some(PortType::RootPort) => "root port",
        Some(PortType::UpstreamPort) => "upstream port of a switch",
        Some(PortType::DownstreamPort) => "downstream port of a switch",
        Some(PortType::ToConventional) => "bridge from PCI Express to PCI",
        Some(PortType::FromConventional) => "bridge from PCI to PCI Express",
        Some(PortType::IntegratedEndpoint) => "endpoint integrated into the root complex",
        Some(PortType::EventCollector) => "event collector of the root complex",
        Some(PortType::Endpoint) => "PCI Express endpoint",
        Some(PortType::LegacyEndpoint) => "legacy PCI Express endpoint",
        Some(PortType::Reserved(_)) => "PCI Express function of an unknown type",
        None if bridge => "PCI bridge",
        None => "PCI function",
    }
}

/// A link to a function's entry.
fn link(at: Bdf) -> String {
    format!("<a href=\"#{at}\">{at}</a>")
}

fn anchor_id(policy: &str, group: u32) -> String {
    format!("{policy}-{group}")
}

/// A group's number as a link to it.
fn anchor(policy: &str, group: u32) -> String {
    format!("<a href=\"#{}\">{group}</a>", anchor_id(policy, group))
}

fn anchor_group(policy: &str, group: u32) -> String {
    format!("<a href=\"#{}\">group {group}</a>", anchor_id(policy, group))
}

/// What a group looks like, small.
pub fn swatch(Style { colour, pattern }: Style) -> String {
    format!(
        "<svg class=\"swatch\" aria-hidden=\"true\" width=\"22\" height=\"14\"><g class=\"n g c{colour} p{pattern}\"><rect class=\"sw\" width=\"22\" height=\"14\" rx=\"2\"/><rect class=\"pat\" width=\"22\" height=\"14\"/></g></svg>"
    )
}
