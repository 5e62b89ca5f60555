//! What two functions differ in.

use super::Difference;
use ioward::pci::{
    Acs, AcsBits, Fact, Function,
    function::{Ats, Express, Header, Ids, PasidCap, Pri, SrIov},
};
use ioward_host::{Record, Removable};

/// In what they differ, in the order in which people look at a function. What the system says beside the function itself
/// is compared where both machines are of a system; text says nothing of it.
pub fn differences(
    (was, said_before): (&Function, Option<&Record>),
    (is, said_after): (&Function, Option<&Record>),
) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |what: &str, before: String, after: String| {
        if before != after {
            found.push(Difference::new(what, before, after));
        }
    };
    compare("driver", driver(was), driver(is));
    compare("buses below", buses(was), buses(is));
    compare("PCI Express", fact(&was.express, express), fact(&is.express, express));
    compare("ACS capability", fact(&was.acs, capability), fact(&is.acs, capability));
    compare("ACS control", fact(&was.acs, control), fact(&is.acs, control));
    compare("ARI", fact(&was.ari, |_| "there".into()), fact(&is.ari, |_| "there".into()));
    compare("virtual functions", fact(&was.sriov, sriov), fact(&is.sriov, sriov));
    compare("ATS", fact(&was.ats, ats), fact(&is.ats, ats));
    compare("page requests", fact(&was.pri, pri), fact(&is.pri, pri));
    compare("PASID", fact(&was.pasid, pasid), fact(&is.pasid, pasid));
    compare("faces outside", yes(was.external_facing), yes(is.external_facing));
    if let (Some(before), Some(after)) = (said_before, said_after) {
        compare("subsystem", ids(before.subsystem), ids(after.subsystem));
        compare("NUMA node", node(before), node(after));
        compare("removable", removable(before), removable(after));
        compare("physical function", physical(before), physical(after));
    }
    found
}

fn yes(yes: bool) -> String {
    if yes { "yes".into() } else { "no".into() }
}

fn ids(ids: Option<Ids>) -> String {
    ids.map_or_else(|| "not known".into(), |ids| format!("{:04x}:{:04x}", ids.vendor, ids.device))
}

fn node(record: &Record) -> String {
    record.numa_node.map_or_else(|| "none".into(), |node| node.to_string())
}

fn removable(record: &Record) -> String {
    record
        .removable
        .map_or("not known", |removable| match removable {
            Removable::Removable => "yes",
            Removable::Fixed => "no",
        })
        .into()
}

fn physical(record: &Record) -> String {
    record.physical.map_or_else(|| "none".into(), |at| at.to_string())
}

fn on(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn driver(function: &Function) -> String {
    function.driver.clone().unwrap_or_else(|| "none".into())
}

fn buses(function: &Function) -> String {
    match function.header {
        Header::Bridge { secondary, subordinate, .. } => format!("{secondary:02x}..={subordinate:02x}"),
        Header::BridgeUnseen => "not read".into(),
        Header::Endpoint | Header::Unknown(_) => "none".into(),
    }
}

/// A fact in words.
fn fact<T>(fact: &Fact<T>, shown: impl Fn(&T) -> String) -> String {
    match fact {
        Fact::Absent => "absent".into(),
        Fact::Unseen => "not read".into(),
        Fact::Present(value) => shown(value),
    }
}

fn express(express: &Express) -> String {
    let mut text = format!("{:?}", express.kind);
    for (set, word) in [
        (express.slot == Some(true), ", slot"),
        (express.ari_forwarding == Some(true), ", ARI forwarding"),
        (express.phantom_enabled, ", phantom functions"),
    ] {
        text.push_str(if set { word } else { "" });
    }
    text
}

fn bits(bits: Option<AcsBits>) -> String {
    bits.map_or_else(|| "not read".into(), |bits| bits.to_string())
}

fn capability(acs: &Acs) -> String {
    bits(acs.capability)
}

fn control(acs: &Acs) -> String {
    let mut text = bits(acs.control);
    if let Some(next) = acs.next_word {
        text.push_str(&format!(", next word {next}"));
    }
    text
}

fn sriov(sriov: &SrIov) -> String {
    match sriov.enabled {
        true => format!("{} of {}", sriov.count, sriov.total),
        false => format!("off, {} possible", sriov.total),
    }
}

fn ats(ats: &Ats) -> String {
    on(ats.enabled).into()
}

fn pri(pri: &Pri) -> String {
    on(pri.enabled).into()
}

fn pasid(pasid: &PasidCap) -> String {
    let bits = pasid.bits.map(|bits| format!(", {bits} bits")).unwrap_or_default();
    format!("{}{bits}", on(pasid.enabled))
}
