//! How long a large machine takes: `cargo run --release -p ioward-pci --example ten_thousand`.
//!
//! Segments of root ports with switches two deep, some of whose ports do not redirect, and a bridge to conventional PCI
//! here and there. Prints milliseconds for growing machines; the last column should stay where it is.

use ioward_pci::{
    Acs, AcsBits, Bdf, Fact, Function, PortType, Topology,
    function::{Express, Header},
    groups::{Fabric, Linux, Policy},
    joins::Joins,
};
use std::time::Instant;

fn function(at: Bdf, kind: PortType) -> Function {
    Function { express: Fact::Present(Express::of(kind)), ..Function::bare(at) }
}

fn port(at: Bdf, kind: PortType, secondary: u8, subordinate: u8, closed: bool) -> Function {
    let bits = AcsBits::ISOLATION;
    let control = if closed { bits } else { AcsBits::SV };
    let acs = Acs { capability: Some(bits), control: Some(control), ..Acs::default() };
    let header = Header::Bridge { primary: at.bus, secondary, subordinate, cardbus: false };
    let acs = if kind == PortType::UpstreamPort { Fact::Absent } else { Fact::Present(acs) };
    Function { header, acs, ..function(at, kind) }
}

/// 248 buses a segment: eight root ports, each over a switch of 29 ports with a device of several functions.
fn segment(number: u32, functions: &mut Vec<Function>) {
    let mut bus = 1;
    for root in 0..8 {
        let first = bus;
        functions.push(port(Bdf::new(number, 0, root + 1, 0), PortType::RootPort, first, first + 30, true));
        functions.push(port(
            Bdf::new(number, first, 0, 0),
            PortType::UpstreamPort,
            first + 1,
            first + 30,
            true,
        ));
        for down in 0..29 {
            let below = first + 2 + down;
            let at = Bdf::new(number, first + 1, down, 0);
            functions.push(port(at, PortType::DownstreamPort, below, below, down % 5 != 0));
            for one in 0..3 {
                let mut device = function(Bdf::new(number, below, 0, one), PortType::Endpoint);
                device.multifunction = Some(one == 0);
                if down % 3 == 0 {
                    let (capability, control) = (Some(AcsBits::RR), Some(AcsBits::RR));
                    device.acs = Fact::Present(Acs { capability, control, ..Acs::default() });
                }
                functions.push(device);
            }
        }
        bus += 31;
    }
}

fn main() {
    println!("functions  topology  linux  fabric  joins  us/function");
    for segments in [11, 22, 44] {
        let mut functions = Vec::new();
        (0..segments).for_each(|number| segment(number, &mut functions));
        let count = functions.len();
        let mut times = Vec::new();
        let mut lap = Instant::now();
        let mut stop = |lap: &mut Instant| {
            times.push(lap.elapsed().as_secs_f64() * 1e3);
            *lap = Instant::now();
        };
        let topology = Topology::new(functions, Vec::new());
        stop(&mut lap);
        let linux = Linux.groups(&topology);
        stop(&mut lap);
        let fabric = Fabric::default().groups(&topology);
        stop(&mut lap);
        let joins = Joins::of(&topology, &linux);
        stop(&mut lap);
        assert_eq!(joins.functions.len(), count);
        assert!(fabric.groups.len() < linux.groups.len());
        let all: f64 = times.iter().sum();
        let each = all * 1e3 / count as f64;
        println!(
            "{count:9}  {:8.1}  {:5.1}  {:6.1}  {:5.1}  {each:11.2}",
            times[0], times[1], times[2], times[3]
        );
    }
}
