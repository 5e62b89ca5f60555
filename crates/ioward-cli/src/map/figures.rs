//! The figures of `docs/groups.md`, drawn by what draws the page. They lie in `docs/figures/`; a test draws them again and
//! compares, so that they show what the policies say today. `IOWARD_DRAW=1 cargo test -p ioward-cli figures` writes them.

use super::{
    Subject, View, Words, figure,
    tests::{function, port},
};
use ioward::pci::{
    AcsBits, Bdf, Fact, Function, PortType, Topology,
    function::{Express, Header},
    groups::{Fabric, Linux, Policy},
    topology::Index,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const ON: AcsBits = AcsBits::ISOLATION;
const OFF: AcsBits = AcsBits::NONE;

fn at(text: &str) -> Bdf {
    text.parse().unwrap()
}

fn named(name: &str, function: Function) -> Function {
    Function { name: name.to_owned(), ..function }
}

fn endpoint(place: &str, name: &str) -> Function {
    named(name, function(at(place), PortType::Endpoint))
}

fn switch(ports: [AcsBits; 2]) -> Vec<Function> {
    vec![
        port(at("00:01.0"), PortType::RootPort, 1, 4, ON),
        Function { acs: Fact::Absent, ..port(at("01:00.0"), PortType::UpstreamPort, 2, 4, OFF) },
        port(at("02:00.0"), PortType::DownstreamPort, 3, 3, ports[0]),
        port(at("02:01.0"), PortType::DownstreamPort, 4, 4, ports[1]),
        endpoint("03:00.0", "A network card"),
        endpoint("04:00.0", "A disk"),
    ]
}

/// Each figure: its file's name, what it shows, and the machine.
fn figures() -> Vec<(&'static str, &'static str, Vec<Function>)> {
    let without_acs = |function: Function| Function { acs: Fact::Absent, ..function };
    let several = |function: Function| Function { multifunction: Some(true), ..function };
    vec![
        (
            "switch-half-open",
            "A switch of which one port does not redirect: linux splits what the fabric cannot keep apart",
            switch([OFF, ON]),
        ),
        (
            "root-port-without-acs",
            "A root port without ACS, with a card of two functions below it",
            vec![
                without_acs(port(at("00:01.0"), PortType::RootPort, 1, 1, OFF)),
                port(at("00:1c.0"), PortType::RootPort, 2, 2, ON),
                several(endpoint("01:00.0", "A graphics card")),
                endpoint("01:00.1", "Its sound"),
                endpoint("02:00.0", "A network card"),
            ],
        ),
        (
            "conventional",
            "A bridge to conventional PCI: one requester ID for all below it",
            vec![
                port(at("00:1c.0"), PortType::RootPort, 1, 2, ON),
                Function {
                    header: Header::Bridge { primary: 1, secondary: 2, subordinate: 2, cardbus: false },
                    class: Some(0x0604),
                    express: Fact::Present(Express::of(PortType::ToConventional)),
                    ..Function::bare(at("01:00.0"))
                },
                named("A sound card", Function::bare(at("02:00.0"))),
                named("A serial card", Function::bare(at("02:01.0"))),
            ],
        ),
    ]
}

fn draw(title: &str, functions: Vec<Function>) -> String {
    let topology = Topology::new(functions, Vec::new());
    assert_eq!(topology.findings(), [], "{title}");
    let (linux, fabric) = (Linux.groups(&topology), Fabric::default().groups(&topology));
    let words = |index: Index| Words { name: topology.functions()[index].name.clone(), ..Words::default() };
    figure(&Subject {
        title: title.to_owned(),
        topology: &topology,
        views: [View { name: "linux", grouping: &linux }, View { name: "fabric", grouping: &fabric }],
        words: &words,
        iommus: Vec::new(),
        served: BTreeMap::new(),
        notes: Vec::new(),
    })
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/figures")
}

#[test]
fn figures_show_what_the_policies_say() {
    let drawn = figures().into_iter().map(|(name, title, functions)| (name, draw(title, functions)));
    let (mut names, mut stale) = (BTreeSet::new(), Vec::new());
    for (name, svg) in drawn {
        let file = format!("{name}.svg");
        let path = folder().join(&file);
        if std::env::var_os("IOWARD_DRAW").is_some() {
            fs::create_dir_all(folder()).unwrap();
            fs::write(&path, &svg).unwrap();
        }
        if fs::read_to_string(&path).is_ok_and(|kept| kept == svg) {
            names.insert(file);
        } else {
            stale.push(file);
        }
    }
    assert!(stale.is_empty(), "not as they are drawn now: {stale:?}; IOWARD_DRAW=1 writes them");
    let kept = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // Those are drawn of what was measured, by `cargo xtask grow`.
    let kept: BTreeSet<_> = kept.filter(|name| !name.starts_with("growth-")).collect();
    assert_eq!(kept, names, "nobody draws the others");
}
