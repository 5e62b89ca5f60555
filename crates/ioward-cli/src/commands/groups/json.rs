//! The groups for programs; `docs/json.md` documents the shape.

use super::study::Study;
use crate::{
    commands::json::{Cause, Head, Verdict, words},
    show::Catalogue,
};
use ioward::pci::{
    Bdf, class,
    groups::{Group, Reason},
};
use ioward_host::Split;
use serde::Serialize;

/// The whole document.
#[derive(Serialize)]
pub struct Document {
    #[serde(flatten)]
    head: Head,
    policy: &'static str,
    groups: Vec<JsonGroup>,
    unsure: Vec<String>,
    without: Vec<String>,
    devices: Vec<Device>,
    iommus: Vec<Iommu>,
    linux_splits: Vec<JsonSplit>,
    fabric_splits: Vec<JsonSplit>,
    kernel: Option<Kernel>,
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
    causes: Vec<Cause>,
}

#[derive(Serialize)]
struct Device {
    at: String,
    ids: Option<String>,
    class: Option<String>,
    class_name: Option<&'static str>,
    name: String,
    driver: Option<String>,
    group: Option<u32>,
    kernel_group: Option<u32>,
    numa_node: Option<u32>,
    bridge: bool,
    untrusted: bool,
    passthrough: Verdict,
}

#[derive(Serialize)]
struct Iommu {
    kind: String,
    name: String,
    table: String,
    enabled: bool,
}

#[derive(Serialize)]
struct JsonSplit {
    one: String,
    other: String,
    harmless: bool,
    causes: Vec<Cause>,
}

#[derive(Serialize)]
struct Kernel {
    groups: usize,
    functions: usize,
    exact: bool,
    differences: Vec<Difference>,
}

#[derive(Serialize)]
struct Difference {
    one: String,
    other: String,
    kernel_joins: bool,
}

impl Document {
    /// Of a machine and its groups.
    pub fn of(book: &Catalogue<'_>, study: &Study) -> Self {
        let topology = &book.machine.topology;
        let iommus = study.found.iommus.iter().map(|unit| Iommu {
            kind: unit.kind.to_string(),
            name: unit.name.clone(),
            table: unit.described.0.to_string(),
            enabled: unit.enabled,
        });
        let kernel = study.agreement.as_ref().map(|agreement| Kernel {
            groups: agreement.groups,
            functions: agreement.functions,
            exact: agreement.differences.is_empty(),
            differences: agreement
                .differences
                .iter()
                .map(|difference| Difference {
                    one: difference.one.to_string(),
                    other: difference.other.to_string(),
                    kernel_joins: difference.kernel_joins,
                })
                .collect(),
        });
        Self {
            head: Head::of(book.machine),
            policy: study.policy,
            groups: study.grouping.groups.iter().map(group).collect(),
            unsure: words(&study.grouping.unsure),
            without: words(&study.grouping.without),
            devices: topology.functions().iter().map(|function| device(book, study, function.at)).collect(),
            iommus: iommus.collect(),
            linux_splits: study.holes.iter().map(split).collect(),
            fabric_splits: study.spare.iter().map(split).collect(),
            kernel,
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
        causes: reason.causes.iter().map(Cause::of).collect(),
    }
}

fn split(split: &Split) -> JsonSplit {
    JsonSplit {
        one: split.pair.with.to_string(),
        other: split.pair.joined.to_string(),
        harmless: split.harmless,
        causes: split.causes.iter().map(Cause::of).collect(),
    }
}

fn device(book: &Catalogue<'_>, study: &Study, at: Bdf) -> Device {
    let topology = &book.machine.topology;
    let index = topology.find(at);
    let function = book.function(at);
    let ids = function.and_then(|function| function.ids);
    let class = function.and_then(|function| function.class);
    Device {
        at: at.to_string(),
        ids: ids.map(|ids| format!("{:04x}:{:04x}", ids.vendor, ids.device)),
        class: class.map(|class| format!("{class:04x}")),
        class_name: class.and_then(class::name),
        name: book.name(at),
        driver: function.and_then(|function| function.driver.clone()),
        group: study.grouping.group_of(at).map(|group| group.id),
        kernel_group: function.and_then(|function| function.linux_group),
        numa_node: book.machine.records.get(&at).and_then(|record| record.numa_node),
        bridge: function.is_some_and(|function| function.header.is_bridge()),
        untrusted: index.is_some_and(|index| topology.is_untrusted(index)),
        passthrough: Verdict::of(study.passthrough.get(&at)),
    }
}
