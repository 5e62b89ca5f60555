//! One record's words and dump.

use super::clean::Record;
use crate::{
    Acs, AcsBits, Fact, Finding, Function, PortType, Problem, acs, class, config,
    function::{Ari, Ats, Express, Header, Ids, PasidCap, Pri, SrIov},
};
use alloc::vec::Vec;

pub(super) fn read(record: &Record, findings: &mut Vec<Finding>) -> Function {
    let words = words(record);
    if record.dump.is_empty() {
        return words;
    }
    let mut bytes = Vec::new();
    for (offset, line) in &record.dump {
        if usize::from(*offset) != bytes.len() {
            findings.push(Finding { function: record.at, problem: Problem::DumpGap { offset: *offset } });
            break;
        }
        bytes.extend_from_slice(line);
    }
    let mut found = Vec::new();
    match config::read(&bytes[..], record.at, &mut found) {
        Some(mut dumped) => {
            fill(&mut dumped, words);
            // What words supply is not missing.
            let whole = dumped.express.is_seen() && dumped.acs.is_seen();
            found.retain(|finding| !(whole && matches!(finding.problem, Problem::Unread { .. })));
            findings.extend(found);
            dumped
        }
        None => words,
    }
}

/// Takes over what `known` lacks.
pub(super) fn fill(known: &mut Function, more: Function) {
    fn fact<T>(known: &mut Fact<T>, more: Fact<T>) {
        if !known.is_seen() {
            *known = more;
        }
    }
    // Words know that there is an ACS capability; only more words know its bits.
    if let (Fact::Present(acs), Fact::Present(other)) = (&mut known.acs, &more.acs) {
        acs.capability = acs.capability.or(other.capability);
        acs.control = acs.control.or(other.control);
        acs.next_word = acs.next_word.or(other.next_word);
        acs.egress = acs.egress.or(other.egress);
    }
    known.ids = known.ids.or(more.ids);
    known.subsystem = known.subsystem.or(more.subsystem);
    known.class = known.class.or(more.class);
    if known.name.is_empty() {
        known.name = more.name;
    }
    known.driver = known.driver.take().or(more.driver);
    known.linux_group = known.linux_group.or(more.linux_group);
    known.memory = known.memory.or(more.memory);
    known.multifunction = known.multifunction.or(more.multifunction);
    if matches!(known.header, Header::Endpoint | Header::BridgeUnseen) && more.header.is_bridge() {
        known.header = more.header;
    }
    fact(&mut known.express, more.express);
    fact(&mut known.acs, more.acs);
    fact(&mut known.ari, more.ari);
    fact(&mut known.sriov, more.sriov);
    fact(&mut known.ats, more.ats);
    fact(&mut known.pri, more.pri);
    fact(&mut known.pasid, more.pasid);
    fact(&mut known.thunderbolt, more.thunderbolt);
}

/// What begins the first field after the name of a device.
const FIELDS: [&str; 16] = [
    " Subsystem: ",
    " DeviceName: ",
    " Flags: ",
    " Control: ",
    " Status: ",
    " Latency: ",
    " Interrupt: ",
    " IOMMU group: ",
    " NUMA node: ",
    " Physical Slot: ",
    " Bus: ",
    " Region ",
    " Memory at ",
    " Capabilities: ",
    " Kernel driver ",
    " Kernel modules: ",
];

fn words(record: &Record) -> Function {
    let text = record.words.as_str();
    let end = FIELDS.iter().filter_map(|field| text.find(field)).min().unwrap_or(text.len());
    let (head, body) = text.split_at(end);
    let mut function = Function::unseen(record.at);
    read_head(head, &mut function);
    function.driver =
        after(body, "Kernel driver in use: ").and_then(|rest| rest.split(' ').next()).map(Into::into);
    function.linux_group = after(body, "IOMMU group: ")
        .or_else(|| after(body, "IOMMU group "))
        .map(|rest| rest.trim_end_matches(|c: char| !c.is_ascii_digit() && c.is_ascii_punctuation()))
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok());
    let subsystem = after(body, "Subsystem: ").map(|rest| {
        let end = FIELDS.iter().filter_map(|field| rest.find(field)).min().unwrap_or(rest.len());
        &rest[..end]
    });
    function.subsystem = subsystem.and_then(bracketed_ids);
    let verbose = body.contains(" Flags: ") || body.contains(" Control: ");
    read_header(body, &mut function, verbose);
    let sections: Vec<&str> = body.split("Capabilities: [").skip(1).collect();
    let denied = body.contains("Capabilities: <access denied>");
    let promised = body.contains("Status: Cap+");
    if verbose && !denied && (!sections.is_empty() || !promised) {
        let Function { at, ids, subsystem, class, name, driver, linux_group, header, .. } = function;
        function = Function {
            ids,
            subsystem,
            class,
            name,
            driver,
            linux_group,
            header,
            multifunction: None,
            memory: Some(body.contains("Memory at ")),
            ..Function::bare(at)
        };
    }
    for section in sections {
        if let Some((_, title)) = section.split_once("] ") {
            read_capability(title, &mut function);
        }
    }
    function
}

/// `Host bridge [0600]: Intel Corporation Device [8086:5918] (rev 05)`, with or without brackets, or with `-n`
/// `0600: 8086:5918 (rev 05)`.
fn read_head(head: &str, function: &mut Function) {
    let Some((class, name)) = head.split_once(": ") else {
        function.name = head.into();
        return;
    };
    let code = class.rsplit_once(" [").map_or(class, |(_, code)| code.trim_end_matches(']'));
    function.class = hex16(code).or_else(|| class::by_name(class));
    function.ids = bracketed_ids(name).or_else(|| {
        let first = name.split(' ').next()?;
        let (vendor, device) = first.split_once(':')?;
        Some(Ids { vendor: hex16(vendor)?, device: hex16(device)? })
    });
    function.name = name.into();
}

fn hex16(digits: &str) -> Option<u16> {
    let plain = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

/// The last `[vvvv:dddd]`.
fn bracketed_ids(text: &str) -> Option<Ids> {
    text.rmatch_indices('[').find_map(|(at, _)| {
        let inside = text.get(at + 1..at + 10)?;
        let (vendor, device) = inside.split_once(':')?;
        text[at + 10..].starts_with(']').then_some(())?;
        Some(Ids { vendor: hex16(vendor)?, device: hex16(device)? })
    })
}

fn read_header(body: &str, function: &mut Function, verbose: bool) {
    let bus = |key: &str| {
        let digits = after(body, key)?.get(..2)?;
        u8::from_str_radix(digits, 16).ok()
    };
    let buses = after(body, "Bus: primary=")
        .and_then(|_| Some((bus("primary=")?, bus("secondary=")?, bus("subordinate=")?)));
    function.header = match (buses, function.class) {
        (Some((primary, secondary, subordinate)), class) => {
            Header::Bridge { primary, secondary, subordinate, cardbus: class == Some(0x0607) }
        }
        (None, Some(0x0604 | 0x0607)) if !verbose => Header::BridgeUnseen,
        (None, Some(0x0604)) => Header::BridgeUnseen,
        _ => Header::Endpoint,
    };
}

fn read_capability(title: &str, function: &mut Function) {
    if let Some(rest) = title.strip_prefix("Express ") {
        if !matches!(function.express, Fact::Present(_)) {
            function.express = express(rest);
        }
    } else if title.starts_with("Access Control Services") {
        function.acs = Fact::Present(Acs {
            capability: acs_bits(title, "ACSCap: "),
            control: acs_bits(title, "ACSCtl: "),
            next_word: None,
            egress: None,
        });
    } else if title.starts_with("Alternative Routing-ID Interpretation") {
        let next = number(title, "Next Function: ", 10).and_then(|next| u8::try_from(next).ok());
        let enabled = flag(after(title, "ARICtl: ").unwrap_or(""), "ACS") == Some(true);
        let group = number(title, "Function Group: ", 10).and_then(|group| u8::try_from(group).ok());
        function.ari = Fact::Present(Ari { next, acs_group: group.filter(|_| enabled) });
    } else if title.starts_with("Single Root I/O Virtualization") {
        let short = |key, radix| number(title, key, radix).and_then(|n| u16::try_from(n).ok());
        function.sriov = Fact::Present(SrIov {
            enabled: flag(after(title, "IOVCtl: ").unwrap_or(""), "Enable").unwrap_or(false),
            ari_hierarchy: flag(after(title, "IOVCtl: ").unwrap_or(""), "ARIHierarchy").unwrap_or(false),
            total: short("Total VFs: ", 10).unwrap_or(0),
            count: short("Number of VFs: ", 10).unwrap_or(0),
            offset: short("VF offset: ", 10).unwrap_or(0),
            stride: short("stride: ", 10).unwrap_or(0),
            device: short("Device ID: ", 16).unwrap_or(0),
        });
    } else if title.starts_with("Address Translation Service") {
        let depth = number(title, "Invalidate Queue Depth: ", 16).map(|depth| match depth & 0x1f {
            0 => 32,
            depth => depth as u8,
        });
        let enabled = flag(after(title, "ATSCtl: ").unwrap_or(""), "Enable").unwrap_or(false);
        let unit = number(title, "Smallest Translation Unit: ", 16).map(|unit| (unit & 0x1f) as u8);
        function.ats = Fact::Present(Ats {
            enabled,
            queue_depth: depth,
            smallest_unit: unit,
            page_aligned: None,
            global_invalidate: None,
        });
    } else if title.starts_with("Page Request Interface") {
        function.pri = Fact::Present(Pri {
            enabled: flag(after(title, "PRICtl: ").unwrap_or(""), "Enable").unwrap_or(false),
            stopped: flag(after(title, "PRISta: ").unwrap_or(""), "Stopped"),
            capacity: number(title, "Page Request Capacity: ", 16),
            allocation: number(title, "Page Request Allocation: ", 16),
            needs_pasid: flag(after(title, "PRISta: ").unwrap_or(""), "PASID").unwrap_or(false),
        });
    } else if title.starts_with("Vendor Specific Information: ID=1234 ")
        && function.ids.is_some_and(|ids| ids.vendor == 0x8086)
    {
        function.thunderbolt = Fact::Present(());
    } else if title.starts_with("Process Address Space ID") {
        let capability = after(title, "PASIDCap: ").unwrap_or("");
        let control = after(title, "PASIDCtl: ").unwrap_or("");
        function.pasid = Fact::Present(PasidCap {
            bits: number(title, "Max PASID Width: ", 16).map(|bits| bits.min(20) as u8),
            enabled: flag(control, "Enable").unwrap_or(false),
            execute: flag(capability, "Exec").unwrap_or(false),
            privileged: flag(capability, "Priv").unwrap_or(false),
            execute_enabled: flag(control, "Exec").unwrap_or(false),
            privileged_enabled: flag(control, "Priv").unwrap_or(false),
        });
    }
}

/// `(v2) Root Port (Slot+), MSI 00 DevCap: …`
fn express(text: &str) -> Fact<Express> {
    const KINDS: [(&str, PortType); 10] = [
        ("Root Port", PortType::RootPort),
        ("Upstream Port", PortType::UpstreamPort),
        ("Downstream Port", PortType::DownstreamPort),
        ("PCI-Express to PCI/PCI-X Bridge", PortType::ToConventional),
        ("PCI/PCI-X to PCI-Express Bridge", PortType::FromConventional),
        ("Root Complex Integrated Endpoint", PortType::IntegratedEndpoint),
        ("Root Complex Event Collector", PortType::EventCollector),
        ("Legacy Endpoint", PortType::LegacyEndpoint),
        ("Endpoint", PortType::Endpoint),
        ("Unknown type", PortType::Reserved(2)),
    ];
    let kind = match text.strip_prefix("(v").and_then(|rest| rest.split_once(") ")) {
        Some((_, kind)) => kind,
        None => text,
    };
    let Some(&(_, kind)) = KINDS.iter().find(|(name, _)| kind.starts_with(name)) else { return Fact::Unseen };
    // Each register's words end where the next register's begin.
    let part = |from: &str, to: &str| {
        let rest = after(text, from)?;
        Some(rest.find(to).map_or(rest, |end| &rest[..end]))
    };
    let mask = part("DevCap: ", "DevSta:").and_then(|part| number(part, "PhantFunc ", 10)).unwrap_or(0);
    let title = text.split(" DevCap: ").next().unwrap_or(text);
    Fact::Present(Express {
        kind,
        slot: title.find("(Slot").and_then(|at| match title.as_bytes().get(at + 5) {
            Some(b'+') => Some(true),
            Some(b'-') => Some(false),
            _ => None,
        }),
        port_number: part("LnkCap: ", "LnkCtl:")
            .and_then(|part| number(part, "Port #", 10))
            .and_then(|port| u8::try_from(port).ok()),
        phantom_bits: (mask.min(7) + 1).ilog2() as u8,
        phantom_enabled: part("DevCtl: ", "DevSta:")
            .and_then(|part| flag(part, "PhantFunc"))
            .unwrap_or(false),
        ari_capable: part("DevCap2: ", "DevCtl2:").and_then(|part| flag(part, "ARIFwd")),
        ari_forwarding: part("DevCtl2: ", "LnkCap2:").and_then(|part| flag(part, "ARIFwd")),
    })
}

/// The text after the first occurrence of `key`.
fn after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.find(key).map(|at| &text[at + key.len()..])
}

/// `Name+` or `Name-` among the words.
fn flag(text: &str, name: &str) -> Option<bool> {
    text.split([' ', ',']).find_map(|word| match word.strip_prefix(name)? {
        "+" => Some(true),
        "-" => Some(false),
        _ => None,
    })
}

fn number(text: &str, key: &str, radix: u32) -> Option<u32> {
    let rest = after(text, key)?;
    let end = rest.find(|c: char| !c.is_digit(radix)).unwrap_or(rest.len());
    u32::from_str_radix(&rest[..end], radix).ok()
}

/// All seven flags after `key`; none where one is missing.
fn acs_bits(text: &str, key: &str) -> Option<AcsBits> {
    // Up to the next register's name.
    let rest = after(text, key)?;
    let rest = rest.find(':').map_or(rest, |end| &rest[..end]);
    let mut bits = AcsBits::NONE;
    for (bit, name) in acs::NAMES {
        if flag(rest, name)? {
            bits = bits | bit;
        }
    }
    Some(bits)
}
