//! The `fabric` policy against topologies worked out by hand.
//!
//! Each row claims which function reaches which, and why; functions that share a requester ID; and which ports belong to
//! what they fail to separate. The groups that follow from the claims, and no others, are what the policy must say.

mod common;

use common::build::*;
use ioward_pci::{
    AcsBits, Bdf, Function,
    groups::{Assume, Fabric, Linux, Policy, RootPorts, differences},
};
use std::collections::{BTreeMap, BTreeSet};

struct Row {
    name: &'static str,
    policy: Fabric,
    functions: Vec<Function>,
    /// From, to, and the way.
    reaches: &'static [(&'static str, &'static str, &'static str)],
    /// Functions that share a requester ID.
    shares: &'static [(&'static str, &'static str)],
    /// Ports, and a function of the group that each makes.
    ports: &'static [(&'static str, &'static str)],
}

fn row(name: &'static str, functions: impl IntoIterator<Item = Function>) -> Row {
    Row {
        name,
        policy: Fabric::default(),
        functions: functions.into_iter().collect(),
        reaches: &[],
        shares: &[],
        ports: &[],
    }
}

fn switch(first: AcsBits, second: AcsBits) -> Vec<Function> {
    vec![
        root_port("00:01.0", 1, 4).acs(ALL, ALL),
        upstream("01:00.0", 2, 4),
        downstream("02:00.0", 3, 3).acs(ALL, first),
        downstream("02:01.0", 4, 4).acs(ALL, second),
        endpoint("03:00.0"),
        endpoint("04:00.0"),
    ]
}

const NOT_RR: AcsBits = AcsBits(ALL.0 & !AcsBits::RR.0);
const NOT_SV: AcsBits = AcsBits(ALL.0 & !AcsBits::SV.0);

fn rows() -> Vec<Row> {
    let mut rows = vec![
        row(
            "two root ports that redirect",
            [
                root_port("00:01.0", 1, 1).acs(ALL, ALL),
                root_port("00:02.0", 2, 2).acs(ALL, ALL),
                endpoint("01:00.0"),
                endpoint("02:00.0"),
            ],
        ),
        row("a switch whose downstream ports redirect", switch(ALL, ALL)),
        Row {
            reaches: &[("03:00.0", "04:00.0", "02:00.0 sends it across the switch")],
            ports: &[("02:00.0", "03:00.0")],
            ..row("one open downstream port is enough", switch(NOT_RR, ALL))
        },
        Row {
            reaches: &[
                ("03:00.0", "04:00.0", "02:00.0 sends it across the switch"),
                ("04:00.0", "03:00.0", "02:01.0 sends it across the switch"),
            ],
            ports: &[("02:00.0", "03:00.0"), ("02:01.0", "04:00.0")],
            ..row("two open downstream ports", switch(NOT_RR, NOT_RR))
        },
        row("an open downstream port with nothing below it", {
            let mut functions = switch(NOT_RR, ALL);
            functions.remove(4);
            functions
        }),
        Row {
            reaches: &[
                (
                    "05:00.0",
                    "07:00.0",
                    "02:00.0 sends it across the upper switch before it meets the root port",
                ),
                ("06:00.0", "07:00.0", "likewise; 04:01.0, which is closed, only sent it up to 02:00.0"),
                ("03:00.0", "07:00.0", "a port is a function too, and this one is below 02:00.0"),
                ("04:00.0", "07:00.0", "likewise"),
                ("04:01.0", "07:00.0", "likewise"),
            ],
            ports: &[("02:00.0", "05:00.0")],
            ..row("an open port above closed ones", two_deep(NOT_RR, ALL))
        },
        Row {
            reaches: &[("05:00.0", "06:00.0", "04:00.0 sends it across the lower switch")],
            ports: &[("04:00.0", "05:00.0")],
            ..row("an open port below closed ones", two_deep(ALL, NOT_RR))
        },
        Row {
            reaches: &[(
                "03:00.0",
                "04:00.0",
                "02:00.0 has no ACS capability and sends it across the switch",
            )],
            shares: &[("03:00.0", "04:00.0")],
            ports: &[("02:00.0", "03:00.0")],
            ..row("a downstream port without a capability", {
                let mut functions = switch(ALL, ALL);
                functions[2] = downstream("02:00.0", 3, 3);
                functions
            })
        },
        Row {
            shares: &[("03:00.0", "04:00.0")],
            ports: &[("02:00.0", "03:00.0")],
            ..row(
                "a port that does not validate lets what is below it pass for its neighbour",
                switch(NOT_SV, ALL),
            )
        },
        Row {
            policy: Fabric { forgery: false, ..Fabric::default() },
            ..row("the same, where forgery is not feared", switch(NOT_SV, ALL))
        },
        row(
            "redirection that the capability does not offer is not needed: there are no peers",
            [
                root_port("00:01.0", 1, 1).acs(AcsBits::SV, AcsBits::SV),
                root_port("00:02.0", 2, 2).acs(AcsBits::SV, AcsBits::SV),
                endpoint("01:00.0"),
                endpoint("02:00.0"),
            ],
        ),
        Row {
            reaches: &[(
                "01:00.0",
                "02:00.0",
                "00:01.0 could redirect and does not: it knows the way to 00:02.0",
            )],
            ports: &[("00:01.0", "01:00.0")],
            ..row(
                "a root port that could redirect and does not",
                [
                    root_port("00:01.0", 1, 1).acs(ALL, NOT_RR),
                    root_port("00:02.0", 2, 2).acs(ALL, ALL),
                    endpoint("01:00.0"),
                    endpoint("02:00.0"),
                ],
            )
        },
        Row {
            reaches: &[("01:00.0", "01:00.1", "the device itself")],
            ..row(
                "functions of a device: one that does not redirect reaches one that does",
                [
                    root_port("00:01.0", 1, 1).acs(ALL, ALL),
                    endpoint("01:00.0").multi(),
                    endpoint("01:00.1").acs(ALL, ALL),
                ],
            )
        },
        row(
            "functions of a device that all redirect",
            [
                root_port("00:01.0", 1, 1).acs(ALL, ALL),
                endpoint("01:00.0").multi().acs(AcsBits::RR | AcsBits::CR, AcsBits::RR | AcsBits::CR),
                endpoint("01:00.1").acs(AcsBits::NONE, AcsBits::NONE),
            ],
        ),
        Row {
            policy: Fabric { functions: Assume::Isolated, ..Fabric::default() },
            ..row(
                "functions without a capability, taken to be apart",
                [root_port("00:01.0", 1, 1).acs(ALL, ALL), endpoint("01:00.0").multi(), endpoint("01:00.1")],
            )
        },
        Row {
            policy: Fabric { functions: Assume::Isolated, ..Fabric::default() },
            reaches: &[("01:00.0", "01:00.1", "its capability says that it could redirect, and it does not")],
            ..row(
                "a bit that is off is no assumption",
                [
                    root_port("00:01.0", 1, 1).acs(ALL, ALL),
                    endpoint("01:00.0").multi().acs(AcsBits::RR, AcsBits::NONE),
                    endpoint("01:00.1"),
                ],
            )
        },
        Row {
            reaches: &[
                ("01:00.1", "03:00.0", "inside the upstream component, then down the switch"),
                ("03:00.0", "01:00.1", "the upstream port 01:00.0 does not redirect either"),
                ("01:00.1", "01:00.0", "inside the upstream component"),
                ("04:00.0", "01:00.1", "as 03:00.0"),
            ],
            ports: &[("02:00.0", "03:00.0"), ("02:01.0", "04:00.0")],
            ..row("a DMA engine beside an upstream port", {
                let mut functions = switch(ALL, ALL);
                functions[1] = upstream("01:00.0", 2, 4).multi();
                functions.push(endpoint("01:00.1"));
                functions
            })
        },
        Row {
            shares: &[("02:01.0", "02:02.0"), ("02:01.0", "01:00.0")],
            ..row(
                "a bridge to conventional PCI",
                [
                    root_port("00:01.0", 1, 2).acs(ALL, ALL),
                    root_port("00:02.0", 3, 3).acs(ALL, ALL),
                    to_conventional("01:00.0", 2, 2),
                    plain("02:01.0"),
                    plain("02:02.0"),
                    endpoint("03:00.0"),
                ],
            )
        },
        Row {
            shares: &[("00:1e.0", "05:00.0"), ("05:00.0", "05:01.0")],
            ..row(
                "a conventional bridge on the root bus",
                [conventional_bridge("00:1e.0", 5, 5), plain("05:00.0"), plain("05:01.0"), plain("00:1d.0")],
            )
        },
        Row {
            shares: &[("01:00.0", "01:00.1")],
            ..row(
                "a Marvell controller that speaks as function 1",
                [
                    root_port("00:01.0", 1, 1).acs(ALL, ALL),
                    endpoint("01:00.0").ids(0x1b4b, 0x9230).multi().acs(ALL, ALL),
                    endpoint("01:00.1").acs(ALL, ALL),
                ],
            )
        },
        Row {
            shares: &[("01:00.0", "01:00.4")],
            ..row(
                "phantom functions that are not phantoms",
                [
                    root_port("00:01.0", 1, 1).acs(ALL, ALL),
                    endpoint("01:00.0").multi().acs(ALL, ALL).phantoms(1),
                    endpoint("01:00.4").acs(ALL, ALL),
                ],
            )
        },
        Row {
            reaches: &[(
                "01:00.0",
                "02:00.0",
                "what Linux assumes: root ports of one device reach each other",
            )],
            ports: &[("00:01.0", "01:00.0"), ("00:01.1", "02:00.0")],
            ..row(
                "root ports without a capability: functions of one device",
                [
                    root_port("00:01.0", 1, 1).multi(),
                    root_port("00:01.1", 2, 2),
                    root_port("00:02.0", 3, 3),
                    endpoint("01:00.0"),
                    endpoint("02:00.0"),
                ],
            )
        },
        Row {
            reaches: &[("01:00.0", "00:01.0", "what Linux assumes, of functions that are no ports too")],
            ports: &[("00:01.1", "01:00.0")],
            ..row(
                "a root port without a capability, beside a host bridge",
                [plain("00:01.0").multi(), root_port("00:01.1", 1, 1), endpoint("01:00.0")],
            )
        },
        Row {
            policy: Fabric { root_ports: RootPorts::Isolated, ..Fabric::default() },
            ..row(
                "root ports without a capability, taken to be apart",
                [
                    root_port("00:01.0", 1, 1).multi(),
                    root_port("00:01.1", 2, 2),
                    endpoint("01:00.0"),
                    endpoint("02:00.0"),
                ],
            )
        },
        Row {
            policy: Fabric { root_ports: RootPorts::All, ..Fabric::default() },
            reaches: &[("01:00.0", "02:00.0", "the worst that a root complex may do")],
            ports: &[("00:01.0", "01:00.0"), ("00:02.0", "02:00.0")],
            ..row(
                "root ports without a capability, taken to reach each other",
                [
                    root_port("00:01.0", 1, 1),
                    root_port("00:02.0", 2, 2),
                    endpoint("01:00.0"),
                    endpoint("02:00.0"),
                ],
            )
        },
        Row {
            reaches: &[("03:00.0", "04:00.0", "the egress vector of 02:00.0 lets some peers through")],
            ports: &[("02:00.0", "03:00.0")],
            ..row("egress control opens what redirection closes", {
                let mut functions = switch(ALL, ALL);
                let bits = ALL | AcsBits::EC;
                functions[2] = downstream("02:00.0", 3, 3).acs(bits, bits).egress(false);
                functions
            })
        },
        row("an egress vector that lets nobody through", {
            let mut functions = switch(ALL, ALL);
            let bits = ALL | AcsBits::EC;
            functions[2] = downstream("02:00.0", 3, 3).acs(bits, bits).egress(true);
            functions
        }),
        Row {
            reaches: &[("01:00.0", "01:10.0", "a virtual function is a function of the same device")],
            ..row(
                "virtual functions of a device that does not redirect",
                [
                    root_port("00:01.0", 1, 1).acs(ALL, ALL),
                    endpoint("01:00.0").acs(AcsBits::RR, AcsBits::NONE).multi().sriov(1, 0x80, 1),
                    endpoint("01:10.0"),
                ],
            )
        },
        row(
            "virtual functions of a device that does",
            [
                root_port("00:01.0", 1, 1).acs(ALL, ALL),
                endpoint("01:00.0").acs(AcsBits::RR, AcsBits::RR).multi().sriov(2, 0x80, 1),
                endpoint("01:10.0"),
                endpoint("01:10.1"),
            ],
        ),
    ];
    rows.extend(more_rows());
    // A VMD controller issues the requests of its whole segment.
    rows.push(Row {
        shares: &[("00:0e.0", "10000:e0:06.0"), ("00:0e.0", "10000:e1:00.0")],
        ..row(
            "a VMD controller",
            [
                integrated("00:0e.0").ids(0x8086, 0x9a0b),
                root_port("10000:e0:06.0", 0xe1, 0xe1).acs(ALL, ALL),
                endpoint("10000:e1:00.0"),
            ],
        )
    });
    // Segments count from the first controller on.
    rows.push(Row {
        shares: &[("00:0e.0", "10000:e0:06.0"), ("80:0e.0", "10001:e0:06.0")],
        ..row(
            "two VMD controllers",
            [
                integrated("00:0e.0").ids(0x8086, 0x28c0),
                integrated("80:0e.0").ids(0x8086, 0x28c0),
                root_port("10000:e0:06.0", 0xe1, 0xe1).acs(ALL, ALL),
                root_port("10001:e0:06.0", 0xe1, 0xe1).acs(ALL, ALL),
            ],
        )
    });
    rows
}

const EC: AcsBits = AcsBits(ALL.0 | AcsBits::EC.0);
const NOT_UF: AcsBits = AcsBits(ALL.0 & !AcsBits::UF.0);
const ENHANCED: AcsBits = AcsBits(ALL.0 | AcsBits::ENHANCED.0);

/// A switch with three ports that have numbers 1 to 3, a device below each, and bits and a vector of the first port.
fn three(bits: AcsBits, vector: u8) -> Vec<Function> {
    let mut functions = vec![root_port("00:01.0", 1, 5).acs(ALL, ALL), upstream("01:00.0", 2, 5).port(0)];
    for number in 1..4 {
        let below = 2 + number;
        let port = downstream(&format!("02:0{number}.0"), below, below).port(number).acs(EC, ALL);
        functions.push(if number == 1 { port.acs(EC, bits).vector(vector) } else { port.vector(0) });
        functions.push(endpoint(&format!("0{below}:00.0")));
    }
    functions
}

/// A switch below a switch: 05:00.0 and 06:00.0 are below both, 07:00.0 is below the upper one.
fn two_deep(upper: AcsBits, lower: AcsBits) -> Vec<Function> {
    vec![
        root_port("00:01.0", 1, 7).acs(ALL, ALL),
        upstream("01:00.0", 2, 7),
        downstream("02:00.0", 3, 6).acs(ALL, upper),
        downstream("02:01.0", 7, 7).acs(ALL, ALL),
        upstream("03:00.0", 4, 6),
        downstream("04:00.0", 5, 5).acs(ALL, lower),
        downstream("04:01.0", 6, 6).acs(ALL, ALL),
        endpoint("05:00.0"),
        endpoint("06:00.0"),
        endpoint("07:00.0"),
    ]
}

/// A switch whose ports redirect everything; the upstream port has registers in memory.
fn with_registers(control: AcsBits) -> Vec<Function> {
    let mut functions = switch(ALL, ALL);
    functions[1] = upstream("01:00.0", 2, 4).memory();
    functions[2] = downstream("02:00.0", 3, 3).acs(ENHANCED, control);
    functions[3] = downstream("02:01.0", 4, 4).acs(ENHANCED, control);
    functions
}

fn more_rows() -> Vec<Row> {
    let closed = || [root_port("00:01.0", 1, 1).acs(ALL, ALL), root_port("00:02.0", 2, 2).acs(ALL, ALL)];
    let redirecting = |name: &str| endpoint(name).acs(AcsBits::RR, AcsBits::RR);
    vec![
        Row {
            reaches: &[("03:00.0", "04:00.0", "the vector of 02:01.0 is off for port 2")],
            ports: &[("02:01.0", "03:00.0")],
            ..row("egress control opens the way to one peer of two", three(EC, 0b1000))
        },
        row("egress control stops what redirection would let through", three(EC & !AcsBits::RR, 0b1100)),
        Row {
            reaches: &[("03:00.0", "05:00.0", "the vector is off for port 3, redirection is off as well")],
            ports: &[("02:01.0", "03:00.0")],
            ..row(
                "egress control without redirection stops one peer of two",
                three(EC & !AcsBits::RR, 0b0100),
            )
        },
        row("a vector counts for nothing while egress control is off", three(ALL, 0)),
        Row {
            reaches: &[("01:00.0", "01:00.2", "its vector is off for function 2")],
            ..row(
                "egress control inside a device counts functions",
                [
                    root_port("00:01.0", 1, 1).acs(ALL, ALL),
                    endpoint("01:00.0").multi().acs(EC, EC).vector(0b1010),
                    redirecting("01:00.1"),
                    redirecting("01:00.2"),
                    redirecting("01:00.3"),
                ],
            )
        },
        Row {
            reaches: &[("01:00.0", "01:00.2", "its vector is off for group 1")],
            ..row(
                "egress control inside a device counts groups of functions where there are some",
                [
                    root_port("00:01.0", 1, 1).acs(ALL, ALL).forwards_ari(),
                    endpoint("01:00.0").multi().acs(EC, EC).vector(0b0101).acs_group(0),
                    redirecting("01:00.1").acs_group(2),
                    redirecting("01:00.2").acs_group(1),
                ],
            )
        },
        Row {
            reaches: &[(
                "01:00.0",
                "01:00.1",
                "it redirects, and 00:01.0 sends back down what was redirected to it",
            )],
            ports: &[("00:01.0", "01:00.0")],
            ..row(
                "a root port that could forward upstream and does not",
                [
                    root_port("00:01.0", 1, 1).acs(ALL, NOT_UF),
                    root_port("00:02.0", 2, 2).acs(ALL, ALL),
                    redirecting("01:00.0").multi(),
                    redirecting("01:00.1"),
                    endpoint("02:00.0"),
                ],
            )
        },
        Row {
            reaches: &[
                ("03:00.0", "04:00.0", "both ports redirect, and 00:01.0 sends it back down"),
                ("01:00.0", "03:00.0", "whatever is below 00:01.0"),
                ("02:00.0", "03:00.0", "likewise"),
                ("02:01.0", "03:00.0", "likewise"),
            ],
            ports: &[("00:01.0", "03:00.0")],
            ..row("a closed switch below a port that sends back down", {
                let mut functions = switch(ALL, ALL);
                functions[0] = root_port("00:01.0", 1, 4).acs(ALL, NOT_UF);
                functions
            })
        },
        row("a port that sends back down what only one function below it can send up", {
            let mut functions: Vec<Function> = closed().into();
            functions[0] = root_port("00:01.0", 1, 1).acs(ALL, NOT_UF);
            functions.extend([endpoint("01:00.0"), endpoint("02:00.0")]);
            functions
        }),
        Row {
            reaches: &[
                ("02:1f.0", "03:00.0", "no port stands between it and the others' memory"),
                ("02:1f.0", "04:00.0", "likewise"),
            ],
            ..row("a function among the ports of a closed switch", {
                let mut functions = switch(ALL, ALL);
                functions.push(endpoint("02:1f.0"));
                functions
            })
        },
        row("a function among the ports of a closed switch, that redirects", {
            let mut functions = switch(ALL, ALL);
            functions.push(redirecting("02:1f.0").multi());
            functions
        }),
        row("upstream forwarding that is not offered is not needed", {
            let mut functions = switch(ALL, ALL);
            functions[0] = root_port("00:01.0", 1, 4).acs(NOT_UF, NOT_UF);
            functions
        }),
        Row {
            policy: Fabric { turned_back: Assume::Isolated, ..Fabric::default() },
            ..row("the same port, taken to refuse what it does not forward", {
                let mut functions = switch(ALL, ALL);
                functions[0] = root_port("00:01.0", 1, 4).acs(ALL, NOT_UF);
                functions
            })
        },
        Row {
            reaches: &[
                ("03:00.0", "01:00.0", "redirection does not cover the registers of the upstream port"),
                ("04:00.0", "01:00.0", "likewise"),
            ],
            ports: &[("02:00.0", "03:00.0"), ("02:01.0", "04:00.0")],
            ..row("a closed switch with registers in memory", with_registers(ALL))
        },
        row(
            "registers of the upstream port behind the enhanced bits",
            with_registers(ALL | AcsBits::USP_REDIRECT),
        ),
        row("the same, blocked", with_registers(ALL | AcsBits::USP_BLOCK)),
        Row {
            reaches: &[
                ("03:00.0", "01:00.0", "the bits for downstream ports do not cover the upstream port"),
                ("04:00.0", "01:00.0", "likewise"),
            ],
            ports: &[("02:00.0", "03:00.0"), ("02:01.0", "04:00.0")],
            ..row("the wrong enhanced bits", with_registers(ALL | AcsBits::DSP_REDIRECT))
        },
        Row {
            policy: Fabric { port_memory: Assume::Isolated, ..Fabric::default() },
            ..row("registers of ports, taken not to count", with_registers(ALL))
        },
        Row {
            reaches: &[("03:00.0", "02:01.0", "02:00.0 lets it through to the registers of 02:01.0")],
            ports: &[("02:00.0", "03:00.0")],
            ..row("registers of a downstream port, behind one open door", {
                let mut functions = switch(ALL, ALL);
                functions[2] = downstream("02:00.0", 3, 3).acs(ENHANCED, ALL);
                functions[3] =
                    downstream("02:01.0", 4, 4).acs(ENHANCED, ALL | AcsBits::DSP_REDIRECT).memory();
                functions
            })
        },
        Row {
            shares: &[("04:01.0", "04:02.0"), ("04:01.0", "03:00.0")],
            reaches: &[("04:01.0", "05:00.0", "02:00.0 sends it across the switch")],
            ports: &[("02:00.0", "03:00.0")],
            ..row(
                "a bridge to conventional PCI below an open switch port",
                [
                    root_port("00:01.0", 1, 5).acs(ALL, ALL),
                    upstream("01:00.0", 2, 5),
                    downstream("02:00.0", 3, 4).acs(ALL, NOT_RR),
                    downstream("02:01.0", 5, 5).acs(ALL, ALL),
                    to_conventional("03:00.0", 4, 4),
                    plain("04:01.0"),
                    plain("04:02.0"),
                    endpoint("05:00.0"),
                ],
            )
        },
        Row {
            shares: &[
                ("01:00.0", "02:04.0"),
                ("02:04.0", "02:05.0"),
                ("02:05.0", "03:00.0"),
                ("03:00.0", "03:01.0"),
            ],
            ..row(
                "conventional bridges nested",
                [
                    root_port("00:01.0", 1, 3).acs(ALL, ALL),
                    root_port("00:02.0", 4, 4).acs(ALL, ALL),
                    to_conventional("01:00.0", 2, 3),
                    plain("02:04.0"),
                    conventional_bridge("02:05.0", 3, 3),
                    plain("03:00.0"),
                    plain("03:01.0"),
                    endpoint("04:00.0"),
                ],
            )
        },
        Row {
            reaches: &[
                ("01:00.1", "01:00.0", "it does not redirect; that the other does protects nobody"),
                ("01:00.1", "01:00.2", "likewise"),
            ],
            ..row(
                "three functions of which one does not redirect",
                [
                    root_port("00:01.0", 1, 1).acs(ALL, ALL),
                    redirecting("01:00.0").multi(),
                    endpoint("01:00.1").acs(AcsBits::RR, AcsBits::NONE),
                    redirecting("01:00.2"),
                ],
            )
        },
        row(
            "virtual functions on a bus of their own, of a device that redirects",
            [
                root_port("00:01.0", 1, 2).acs(ALL, ALL),
                redirecting("01:00.0").sriov(2, 0x100, 1),
                redirecting("02:00.0"),
                redirecting("02:00.1"),
            ],
        ),
        Row {
            reaches: &[
                ("01:00.0", "02:00.0", "a virtual function of it, on whatever bus"),
                ("02:00.0", "02:00.1", "as its physical function does not redirect either"),
            ],
            ..row("virtual functions on a bus of their own, of a device that does not", {
                let mut physical = endpoint("01:00.0").acs(AcsBits::RR, AcsBits::NONE).sriov(2, 0x100, 1);
                physical.multifunction = Some(false);
                [
                    root_port("00:01.0", 1, 2).acs(ALL, ALL),
                    physical.multi(),
                    endpoint("02:00.0"),
                    endpoint("02:00.1"),
                ]
            })
        },
        Row {
            reaches: &[("11:00.0", "12:00.0", "10:01.0 does not redirect, and knows 10:02.0")],
            ports: &[("10:01.0", "11:00.0")],
            ..row(
                "root ports reach those of their own root bus only",
                [
                    root_port("00:01.0", 1, 1).acs(ALL, ALL),
                    endpoint("01:00.0"),
                    root_port("10:01.0", 0x11, 0x11).acs(ALL, NOT_RR),
                    root_port("10:02.0", 0x12, 0x12).acs(ALL, ALL),
                    endpoint("11:00.0"),
                    endpoint("12:00.0"),
                ],
            )
        },
        row(
            "the same numbers in two segments are two machines",
            ["0000", "0001"].into_iter().flat_map(|segment| {
                let name = |rest: &str| format!("{segment}:{rest}");
                [
                    root_port(&name("00:01.0"), 1, 1).acs(ALL, ALL),
                    root_port(&name("00:02.0"), 2, 2).acs(ALL, ALL),
                    endpoint(&name("01:00.0")),
                    endpoint(&name("02:00.0")),
                ]
            }),
        ),
        row(
            "endpoints of the root complex, taken to be apart",
            [plain("00:00.0"), integrated("00:02.0"), plain("00:14.0"), plain("00:1b.0")],
        ),
        Row {
            policy: Fabric { integrated: Assume::Reach, ..Fabric::default() },
            reaches: &[
                ("00:02.0", "00:14.0", "the worst that a root complex may do"),
                ("00:14.0", "01:00.0", "likewise, down a root port"),
                ("00:14.0", "00:00.0", "likewise"),
            ],
            ports: &[("00:01.0", "00:14.0")],
            ..row(
                "endpoints of the root complex, taken to reach everything",
                [
                    plain("00:00.0"),
                    root_port("00:01.0", 1, 1).acs(ALL, ALL),
                    integrated("00:02.0"),
                    plain("00:14.0"),
                    endpoint("01:00.0"),
                    root_port("10:01.0", 0x11, 0x11).acs(ALL, ALL),
                    endpoint("11:00.0"),
                ],
            )
        },
        Row {
            policy: Fabric { root_ports: RootPorts::Isolated, ..Fabric::default() },
            reaches: &[("01:00.0", "02:00.0", "00:01.0 could redirect, and does not")],
            ports: &[("00:01.0", "01:00.0")],
            ..row(
                "a bit that is off is no assumption of root ports either",
                [
                    root_port("00:01.0", 1, 1).acs(ALL, NOT_RR),
                    root_port("00:02.0", 2, 2),
                    endpoint("01:00.0"),
                    endpoint("02:00.0"),
                ],
            )
        },
        Row {
            shares: &[("05:00.0", "07:00.0"), ("05:00.0", "06:00.0")],
            ports: &[("04:00.0", "05:00.0"), ("02:00.0", "05:00.0")],
            ..row("who passes for another gets past two ports that do not check", two_deep(NOT_SV, NOT_SV))
        },
        Row {
            shares: &[("05:00.0", "06:00.0")],
            ports: &[("04:00.0", "05:00.0")],
            ..row("who passes for another is stopped by the next port that checks", two_deep(ALL, NOT_SV))
        },
    ]
}

fn expected(row: &Row) -> BTreeSet<BTreeSet<Bdf>> {
    let mut set_of: BTreeMap<Bdf, usize> =
        row.functions.iter().enumerate().map(|(index, function)| (function.at, index)).collect();
    let pairs = row.reaches.iter().map(|&(one, other, _)| (one, other));
    for (one, other) in pairs.chain(row.shares.iter().copied()).chain(row.ports.iter().copied()) {
        let (one, other) = (set_of[&at(one)], set_of[&at(other)]);
        set_of.values_mut().filter(|set| **set == one).for_each(|set| *set = other);
    }
    let mut sets: BTreeMap<usize, BTreeSet<Bdf>> = BTreeMap::new();
    for (function, set) in set_of {
        sets.entry(set).or_default().insert(function);
    }
    sets.into_values().collect()
}

#[test]
fn groups_are_what_the_claims_make() {
    for row in rows() {
        let topology = topology(row.functions.clone());
        let grouping = row.policy.groups(&topology);
        let groups: BTreeSet<BTreeSet<Bdf>> =
            grouping.groups.iter().map(|group| group.members.iter().copied().collect()).collect();
        assert_eq!(groups, expected(&row), "{}", row.name);
    }
}

#[test]
fn every_reason_survives_its_removal() {
    for row in rows() {
        let topology = topology(row.functions.clone());
        for group in row.policy.groups(&topology).groups {
            assert_eq!(group.reasons.len() + 1, group.members.len());
            for reason in group.reasons {
                let split = row.policy.groups(&topology.without(&reason.causes));
                assert!(!split.together(reason.member, reason.with), "{}: {reason}", row.name);
            }
        }
    }
}

#[test]
fn linux_splits_what_an_open_switch_joins() {
    let topology = topology(switch(NOT_RR, ALL));
    let (linux, fabric) = (Linux.groups(&topology), Fabric::default().groups(&topology));
    // To Linux 03:00.0 is alone with its open port, while 04:00.0 is behind a closed one.
    assert!(!linux.together(at("03:00.0"), at("04:00.0")));
    assert!(fabric.together(at("03:00.0"), at("04:00.0")));
    let found = differences(&linux, &fabric);
    assert!(found.iter().any(|pair| pair.joined == at("04:00.0") || pair.with == at("04:00.0")), "{found:?}");
}

#[test]
fn functions_of_an_ari_device_are_several_beyond_seven_too() {
    // Function 8 has the number of device 1, function 0, and says nothing of others in its header.
    let functions = [
        root_port("00:01.0", 1, 1).acs(ALL, ALL).forwards_ari(),
        endpoint("01:00.0").multi().ari(),
        endpoint("01:01.0").ari(),
        endpoint("01:01.1").ari(),
    ];
    let ari = topology(functions.clone());
    assert!(Linux.groups(&ari).together(at("01:01.0"), at("01:01.1")));
    // Linux compares device numbers, so that it takes function 0 to be apart from them. The fabric does not.
    assert!(!Linux.groups(&ari).together(at("01:00.0"), at("01:01.0")));
    assert!(Fabric::default().groups(&ari).together(at("01:00.0"), at("01:01.0")));
}

#[test]
fn sentences_name_the_port_and_the_bits() {
    let topology = topology(switch(NOT_RR, ALL));
    let grouping = Fabric::default().groups(&topology);
    let group = grouping.group_of(at("03:00.0")).unwrap();
    let text = group.reasons[0].to_string();
    assert!(text.contains("downstream port 0000:02:00.0 could set the ACS bits ReqRedir"), "{text}");
}
