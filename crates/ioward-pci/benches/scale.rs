//! How long large machines take: `cargo bench -p ioward-pci`.
//!
//! Four shapes of machine, each in growing sizes, and what is done to it: putting it together, both policies, and what the
//! subsystem is told. Each figure is the best of five runs, in milliseconds on one processor. The last column should stay where it is as a
//! machine grows; the goal is 100 ms for 10,000 functions of the usual shape with both policies together.

use ioward_pci::{
    Acs, AcsBits, Bdf, Fact, Function, PortType, Topology,
    function::{Express, Header, Ids, SrIov},
    groups::{Fabric, Linux, Policy},
    joins::Joins,
};
use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

/// How many of the ports have a capability, and what they set.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// Switches two deep, of whose ports every fifth does not redirect; devices of three functions.
    Usual,
    /// The same without any ACS capability.
    Bare,
    /// Cards with 61 virtual functions each, which redirect.
    Virtual,
    /// Bridges to conventional PCI with a full bus below each.
    Conventional,
}

fn function(at: Bdf, kind: PortType) -> Function {
    Function { express: Fact::Present(Express::of(kind)), ..Function::bare(at) }
}

fn port(at: Bdf, kind: PortType, secondary: u8, subordinate: u8, acs: Option<AcsBits>) -> Function {
    let capability = Some(AcsBits::ISOLATION);
    let acs = acs.map_or(Fact::Absent, |control| {
        Fact::Present(Acs { capability, control: Some(control), ..Acs::default() })
    });
    let header = Header::Bridge { primary: at.bus, secondary, subordinate, cardbus: false };
    Function { header, acs, ..function(at, kind) }
}

/// 248 buses a segment: eight root ports, each over a switch of 29 ports with something below each.
fn segment(shape: Shape, number: u32, functions: &mut Vec<Function>) {
    let closed = (shape != Shape::Bare).then_some(AcsBits::ISOLATION);
    let open = closed.map(|_| AcsBits::SV);
    for root in 0..8u8 {
        let first = 1 + root * 31;
        let above = Bdf::new(number, 0, root + 1, 0);
        functions.push(port(above, PortType::RootPort, first, first + 30, closed));
        let top = Bdf::new(number, first, 0, 0);
        functions.push(port(top, PortType::UpstreamPort, first + 1, first + 30, None));
        for down in 0..29 {
            let below = first + 2 + down;
            let at = Bdf::new(number, first + 1, down, 0);
            let control = if down % 5 == 0 { open } else { closed };
            functions.push(port(at, PortType::DownstreamPort, below, below, control));
            device(shape, Bdf::new(number, below, 0, 0), down, functions);
        }
    }
}

fn device(shape: Shape, at: Bdf, count: u8, functions: &mut Vec<Function>) {
    let redirecting = Acs { capability: Some(AcsBits::RR), control: Some(AcsBits::RR), ..Acs::default() };
    match shape {
        Shape::Usual | Shape::Bare => {
            for one in 0..3 {
                let mut device = function(Bdf { devfn: one, ..at }, PortType::Endpoint);
                device.multifunction = Some(one == 0);
                if shape == Shape::Usual && count.is_multiple_of(3) {
                    device.acs = Fact::Present(redirecting);
                }
                functions.push(device);
            }
        }
        Shape::Virtual => {
            let mut physical = function(at, PortType::Endpoint);
            physical.acs = Fact::Present(redirecting);
            let virtuals =
                SrIov { enabled: true, count: 61, total: 61, offset: 8, stride: 1, ..SrIov::default() };
            physical.sriov = Fact::Present(virtuals);
            functions.push(physical);
            functions.extend((8..69).map(|devfn| function(Bdf { devfn, ..at }, PortType::Endpoint)));
        }
        Shape::Conventional => {
            // Buses are scarce: the devices are on the link itself, as those of a bridge without a capability.
            functions.extend((0..32).map(|device| Function::bare(Bdf { devfn: device << 3, ..at })));
        }
    }
}

/// Time that this process has spent on a processor, where the system tells, so that a busy machine does not count. It is
/// brought up to date whenever the process gives the processor away.
fn now() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    std::thread::yield_now();
    let told = std::fs::read_to_string("/proc/self/schedstat").ok();
    let nanoseconds = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

/// What `run` takes at best, without making what it is given and without dropping what it makes.
fn best<I, O>(given: impl Fn() -> I, run: impl Fn(I) -> O) -> Duration {
    let times = (0..5).map(|_| {
        let given = given();
        let start = now();
        let made = run(given);
        let time = now().saturating_sub(start);
        drop(made);
        time
    });
    times.min().unwrap_or_default()
}

fn measure(shape: Shape, wanted: usize) {
    let mut functions = Vec::new();
    for number in 0.. {
        if functions.len() >= wanted {
            break;
        }
        segment(shape, number, &mut functions);
    }
    functions.truncate(wanted);
    // Quirks are looked up by IDs: one in seven is a vendor with many rows.
    for (index, function) in functions.iter_mut().enumerate() {
        let vendor = if index.is_multiple_of(7) { 0x8086 } else { 0x1af4 };
        function.ids = Some(Ids { vendor, device: 0x4000 + index as u16 % 0x1000 });
    }
    let machine = Topology::new(functions.clone(), Vec::new());
    let (linux, fabric) = (Linux.groups(&machine), Fabric::default().groups(&machine));
    assert!(fabric.groups.len() <= linux.groups.len(), "the fabric joins what Linux splits, not the reverse");
    let times = [
        best(|| functions.clone(), |functions| Topology::new(functions, Vec::new())),
        best(|| (), |()| Linux.groups(&machine)),
        best(|| (), |()| Fabric::default().groups(&machine)),
        best(|| (), |()| Joins::of(&machine, &linux)),
    ];
    let [topology, linux_ms, fabric_ms, joins] = times.map(|time| time.as_secs_f64() * 1e3);
    let both = topology + linux_ms + fabric_ms;
    let each = both * 1e3 / functions.len() as f64;
    println!(
        "{:9}  {topology:8.1}  {linux_ms:6.1}  {fabric_ms:6.1}  {joins:6.1}  {both:6.1}  {each:11.2}",
        functions.len()
    );
}

fn main() {
    // `cargo test` runs benchmarks once to see that they run; sizes that take a while are for `cargo bench`.
    let sizes: &[usize] = if std::env::args().any(|argument| argument == "--bench") {
        &[1_000, 2_500, 5_000, 10_000, 20_000]
    } else {
        &[1_000]
    };
    for (shape, what) in [
        (Shape::Usual, "usual: switches two deep, some ports open, devices of three functions"),
        (Shape::Bare, "no ACS capability anywhere"),
        (Shape::Virtual, "61 virtual functions a card"),
        (Shape::Conventional, "32 conventional devices a bus"),
    ] {
        println!("{what}\nfunctions  topology   linux  fabric   joins    both  us/function");
        sizes.iter().for_each(|&count| measure(shape, count));
        println!();
    }
}
