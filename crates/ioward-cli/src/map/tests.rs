//! The page as a whole: whatever the machine, everything is in it, and nothing of a name becomes part of it.

use super::*;
use ioward::pci::{
    Acs, AcsBits, Bdf, Fact, Function, PortType,
    function::{Express, Header, SrIov},
    groups::{Fabric, Linux, Policy},
};
use ioward_host::Machine;
use std::{collections::BTreeSet, path::Path};

/// Draws with the names that the functions have.
fn with<R>(topology: &Topology, draw: impl FnOnce(&Subject<'_>) -> R) -> R {
    let (linux, fabric) = (Linux.groups(topology), Fabric::default().groups(topology));
    let words = |index: Index| {
        let function = &topology.functions()[index];
        let driver = function.driver.clone().unwrap_or_default();
        Words { name: function.name.clone(), class: String::new(), driver }
    };
    draw(&Subject {
        title: "a machine".to_owned(),
        topology,
        views: [View { name: "linux", grouping: &linux }, View { name: "fabric", grouping: &fabric }],
        words: &words,
        iommus: Vec::new(),
        served: BTreeMap::new(),
        notes: Vec::new(),
    })
}

pub fn function(at: Bdf, kind: PortType) -> Function {
    Function { express: Fact::Present(Express::of(kind)), ..Function::bare(at) }
}

pub fn port(at: Bdf, kind: PortType, secondary: u8, subordinate: u8, on: AcsBits) -> Function {
    let acs = Acs { capability: Some(AcsBits::ISOLATION), control: Some(on), ..Acs::default() };
    let header = Header::Bridge { primary: at.bus, secondary, subordinate, cardbus: false };
    Function { header, acs: Fact::Present(acs), class: Some(0x0604), ..function(at, kind) }
}

fn at(text: &str) -> Bdf {
    text.parse().unwrap()
}

/// Every element that is opened is closed, in order; gives how many there are of each name.
fn elements(page: &str) -> BTreeMap<String, usize> {
    const VOID: [&str; 5] = ["meta", "link", "input", "!DOCTYPE", "path"];
    let (mut open, mut count) = (Vec::new(), BTreeMap::new());
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let end = rest.find('>').expect("a tag ends");
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closes what is open: {tag}");
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap_or_default().to_owned();
        *count.entry(name.clone()).or_default() += 1;
        if name == "script" || name == "style" {
            // Their content is text up to the next end tag.
            rest = &rest[rest.find(&format!("</{name}>")).expect("it ends")..];
            open.push(name);
        } else if !tag.ends_with('/') && !VOID.contains(&&*name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?} stay open");
    count
}

/// Both ways in which a reason and a member show.
fn assert_complete(topology: &Topology, page: &str) {
    let (linux, fabric) = (Linux.groups(topology), Fabric::default().groups(topology));
    for (name, grouping) in [("linux", &linux), ("fabric", &fabric)] {
        let start = page.find(&format!("<section class=\"why {name}\"")).expect("the policy's groups");
        let part = &page[start..];
        let part = &part[..part[1..].find("<section class=\"why").map_or(part.len(), |end| end + 1)];
        for group in &grouping.groups {
            let id = format!("id=\"{name}-{}\"", group.id);
            let from = part.find(&id).unwrap_or_else(|| panic!("{id}"));
            // Up to the next group of many, or the list of those alone.
            let body = &part[from..];
            let body = &body[..body[1..].find(" id=\"").map_or(body.len(), |end| end + 1)];
            for member in &group.members {
                assert!(body.contains(&format!("<a href=\"#{member}\">{member}</a>")), "{id}: {member}");
            }
            for reason in &group.reasons {
                let text = escape::Text(&reason.to_string()).to_string();
                assert!(body.contains(&text), "{id}: {reason}");
            }
        }
    }
    for function in topology.functions() {
        assert!(page.contains(&format!("<section class=\"entry\" id=\"{}\">", function.at)));
        // Drawn in both views: as a node, or within a folded one.
        let (node, within) =
            (format!("<a href=\"#{}\" role=\"treeitem\"", function.at), function.at.to_string());
        let nodes = page.matches(&node).count();
        let folded = page.lines().filter(|line| line.contains("data-more=")).filter(|line| {
            let more = line.split("data-more=\"").nth(1).and_then(|more| more.split('"').next());
            more.is_some_and(|more| more.split(' ').any(|one| one == within))
        });
        assert_eq!(nodes + folded.count(), 2, "{} is drawn once a view", function.at);
    }
}

#[test]
fn a_machine_without_functions_is_a_page_too() {
    let topology = Topology::new(Vec::new(), Vec::new());
    let page = with(&topology, page);
    elements(&page);
    assert!(page.contains("no PCI functions"));
}

#[test]
fn names_never_become_markup() {
    let hostile =
        "</text></svg><script>alert(1)</script><img src=x onerror=alert(2)>\"' onload='alert(3) \u{202e}";
    let mut functions = vec![
        port(at("00:01.0"), PortType::RootPort, 1, 1, AcsBits::NONE),
        function(at("01:00.0"), PortType::Endpoint),
        function(at("01:00.1"), PortType::Endpoint),
    ];
    let plain = with(&Topology::new(functions.clone(), Vec::new()), page);
    for function in &mut functions {
        function.name = hostile.to_owned();
        function.driver = Some(hostile.to_owned());
    }
    let topology = Topology::new(functions, Vec::new());
    let page = with(&topology, |subject| {
        page(&Subject {
            title: hostile.to_owned(),
            topology: subject.topology,
            views: subject.views,
            words: subject.words,
            iommus: vec![hostile.to_owned()],
            served: BTreeMap::from([(0, 0)]),
            notes: vec![hostile.to_owned()],
        })
    });
    let (before, after) = (elements(&plain), elements(&page));
    assert_eq!(after["script"], 1);
    assert_eq!(before.get("img"), after.get("img"));
    assert!(!page.contains('\u{202e}') && !page.contains("<img") && page.matches("<script").count() == 1);
    assert_complete(&topology, &page);
}

#[test]
fn nothing_in_a_page_asks_a_network_for_anything() {
    let topology = Topology::new(vec![function(at("00:02.0"), PortType::IntegratedEndpoint)], Vec::new());
    let page = with(&topology, page);
    for outside in
        ["http:", "https:", "//cdn", "@import", "src=", "fetch(", "XMLHttp", "WebSocket", "import("]
    {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn many_virtual_functions_are_one_node() {
    let mut physical = function(at("01:00.0"), PortType::Endpoint);
    physical.sriov = Fact::Present(SrIov {
        enabled: true,
        total: 64,
        count: 64,
        offset: 16,
        stride: 1,
        device: 1,
        ari_hierarchy: false,
    });
    let mut functions = vec![port(at("00:01.0"), PortType::RootPort, 1, 1, AcsBits::ISOLATION), physical];
    functions
        .extend((0..64).map(|n| function(Bdf { segment: 0, bus: 1, devfn: 16 + n }, PortType::Endpoint)));
    let topology = Topology::new(functions, Vec::new());
    with(&topology, |subject| {
        let roots = scene::roots(subject);
        assert_eq!(roots[0].nodes[0].below.len(), 1);
        let virtuals = &roots[0].nodes[0].below[0].virtuals;
        assert_eq!(virtuals.len(), 1);
        assert_eq!(virtuals[0].functions.len(), 64);
        let page = page(subject);
        assert!(page.contains(">×64<") && page.contains(">64 functions<"));
        elements(&page);
        assert_complete(&topology, &page);
    });
}

#[test]
fn what_ports_lack_is_said() {
    let topology = Topology::new(
        vec![
            port(at("00:01.0"), PortType::RootPort, 1, 4, AcsBits::ISOLATION),
            port(at("01:00.0"), PortType::UpstreamPort, 2, 4, AcsBits::ISOLATION),
            port(at("02:00.0"), PortType::DownstreamPort, 3, 3, AcsBits::SV),
            port(at("02:01.0"), PortType::DownstreamPort, 4, 4, AcsBits::ISOLATION),
            function(at("03:00.0"), PortType::Endpoint),
            function(at("04:00.0"), PortType::Endpoint),
        ],
        Vec::new(),
    );
    let page = with(&topology, page);
    assert!(page.contains(">RR CR UF off<"), "the bits by their letters");
    assert!(page.contains("linux splits what fabric keeps together"), "a hole is a finding");
    assert!(page.contains("class=\"badge\""), "and is marked");
    assert_complete(&topology, &page);
}

/// Real machines, where they lie beside the repository.
#[test]
fn every_member_and_every_reason_of_real_machines_is_on_their_pages() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/pci");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("SKIPPED: no corpus at {}", folder.display());
        return;
    };
    let mut drawn = 0;
    for entry in entries {
        let machine = Machine::open(&entry.unwrap().path()).unwrap();
        let page = with(&machine.topology, page);
        elements(&page);
        assert_complete(&machine.topology, &page);
        drawn += 1;
    }
    assert!(drawn >= 16, "{drawn} machines");
}

/// Segments of 8 root ports, each over a switch of 29 ports with a device of three functions.
fn large(segments: u32) -> Topology {
    let mut functions = Vec::new();
    for number in 0..segments {
        let mut first = 1;
        for root in 0..8 {
            let kind = PortType::RootPort;
            functions.push(port(
                Bdf::new(number, 0, root + 1, 0),
                kind,
                first,
                first + 30,
                AcsBits::ISOLATION,
            ));
            let kind = PortType::UpstreamPort;
            functions.push(port(
                Bdf::new(number, first, 0, 0),
                kind,
                first + 1,
                first + 30,
                AcsBits::ISOLATION,
            ));
            for down in 0..29 {
                let below = first + 2 + down;
                let on = if down % 5 == 0 { AcsBits::SV } else { AcsBits::ISOLATION };
                let kind = PortType::DownstreamPort;
                functions.push(port(Bdf::new(number, first + 1, down, 0), kind, below, below, on));
                for one in 0..3 {
                    let mut device = function(Bdf::new(number, below, 0, one), PortType::Endpoint);
                    device.multifunction = Some(true);
                    device.name = "A vendor's device with a name of some length".to_owned();
                    functions.push(device);
                }
            }
            first += 31;
        }
    }
    Topology::new(functions, Vec::new())
}

#[test]
fn ten_thousand_functions_make_a_page_of_bounded_size() {
    /// For each function, both drawings and all text.
    const MOST_BYTES: usize = 3072;
    let topology = large(11);
    let functions = topology.functions().len();
    assert!(functions > 10_000);
    let page = with(&topology, page);
    assert!(page.len() < functions * MOST_BYTES, "{} bytes for each", page.len() / functions);
    let entries = page.split("class=\"entry\" id=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let entries: BTreeSet<&str> = entries.collect();
    assert!(topology.functions().iter().all(|function| entries.contains(&*function.at.to_string())));
}

/// The contrast of two colours `#rgb` or `#rrggbb` (WCAG 2.2, "contrast ratio").
fn contrast(one: &str, other: &str) -> f64 {
    let luminance = |colour: &str| {
        let digits = colour.trim_start_matches('#');
        let wide: String = match digits.len() {
            3 => digits.chars().flat_map(|digit| [digit, digit]).collect(),
            _ => digits.to_owned(),
        };
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&wide[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
    };
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn text_can_be_read_on_every_colour_by_day_and_by_night() {
    let rules = svg::RULES;
    let night = rules.find("@media").expect("there are colours for the night");
    let value = |text: &str, name: &str| {
        let from = text.find(&format!("{name}: #")).unwrap_or_else(|| panic!("{name}")) + name.len() + 2;
        text[from..].split(';').next().unwrap().to_owned()
    };
    let tints = |text: &str| -> Vec<String> {
        let parts = text.split("--tint: ").skip(1).map(|rest| rest.split(';').next().unwrap().to_owned());
        parts.collect()
    };
    let all = tints(rules);
    assert_eq!(all.len(), 2 * usize::from(styles::COLOURS));
    for (part, tints) in [(rules, &all[..7]), (&rules[night..], &all[7..])] {
        let paper = value(part, "--paper");
        for ground in tints.iter().chain([&paper]) {
            for text in ["--ink", "--soft", "--bad"] {
                let ratio = contrast(&value(part, text), ground);
                assert!(ratio >= 4.5, "{text} on {ground}: {ratio:.2}");
            }
        }
        assert!(contrast(&value(part, "--find"), &paper) >= 4.5);
    }
}
