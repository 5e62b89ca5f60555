//! Numbering and assignment over fake buses, sound and not.

mod common;

use common::{Config, Fabric};
use ioward_pci::{
    Bdf, ConfigAccess, Finding, FunctionSpace, Problem, caps,
    enumerate::{Assigned, Bar, Space, Window, assign_bars, assign_virtual_bars, number_buses},
    regs,
};
use ioward_types::PhysAddr;
use std::cell::Cell;

const MIB: u64 = 1 << 20;

fn windows() -> [Window; 3] {
    [
        Window { space: Space::Io, bus: 0, cpu: PhysAddr(0x3eff_0000), bytes: 0x1_0000 },
        Window { space: Space::Memory, bus: 0x1000_0000, cpu: PhysAddr(0x1000_0000), bytes: 0x2eff_0000 },
        Window {
            space: Space::Memory,
            bus: 0x80_0000_0000,
            cpu: PhysAddr(0x80_0000_0000),
            bytes: 0x80_0000_0000,
        },
    ]
}

fn at(bus: u8, devfn: u8) -> Bdf {
    Bdf { segment: 0, bus, devfn }
}

/// A root port over a switch with two endpoints, another root port with one, and two functions on the root bus.
fn tree() -> Fabric {
    let disk = Config::endpoint().express(0).memory(0, 0x4000, true, false).memory(2, 8 * MIB, true, true);
    let card = Config::endpoint().express(0).memory(0, 1 << 28, true, true).ports(2, 0x20);
    let switch = Config::bridge()
        .express(5)
        .with(0x00, Config::bridge().express(6).with(0, disk.clone()))
        .with(0x08, Config::bridge().express(6).with(0, card));
    Fabric::new([
        (0x00, Config::new(0x1b36, 8, 0x06_0000)),
        (0x08, Config::root_port().with(0, switch)),
        (0x10, Config::endpoint().memory(0, 0x1000, false, false).ports(1, 0x80)),
        (0x18, Config::root_port().with(0, disk).with(0x08, Config::endpoint())),
    ])
}

/// Every register lies in the windows of all bridges above it, and no two overlap.
fn check(fabric: &Fabric, assigned: &Assigned) {
    let mut spans: Vec<(Space, u64, u64)> = Vec::new();
    for bar in &assigned.bars {
        let bytes = bar.bytes * u64::from(bar.virtual_functions.max(1));
        assert_eq!(bar.bus % bar.bytes, 0, "{bar:x?} is not aligned");
        let last = bar.bus + bytes - 1;
        assert!(
            windows().iter().any(|w| w.space == bar.space
                && w.bus <= bar.bus
                && last < w.bus + w.bytes
                && bar.cpu.0 - w.cpu.0 == bar.bus - w.bus),
            "{bar:x?} is outside the host's windows"
        );
        spans.push((bar.space, bar.bus, last));
        if bar.virtual_functions == 0 {
            let low = fabric.read32(bar.function, regs::BAR + u16::from(bar.index) * 4);
            assert_eq!(low & !0xf, bar.bus as u32 & !0xf, "{bar:x?} was not written");
            let answer = if bar.space == Space::Io { regs::COMMAND_IO } else { regs::COMMAND_MEMORY };
            assert_ne!(fabric.read32(bar.function, regs::COMMAND) & answer, 0, "{bar:x?} does not answer");
        }
        let mut bus = bar.function.bus;
        while bus != 0 {
            let bridge = (0..=255u8)
                .flat_map(|b| (0..=255).map(move |f| at(b, f)))
                .find(|&f| {
                    fabric.read32(f, regs::HEADER) >> 16 & 0x7f == 1
                        && fabric.read32(f, regs::BUSES) >> 8 & 0xff == u32::from(bus)
                })
                .expect("a bridge leads to every bus");
            let read = |offset| u64::from(fabric.read32(bridge, offset));
            let (memory, prefetch, io) =
                (read(regs::MEMORY_WINDOW), read(regs::PREFETCH_WINDOW), read(regs::IO_WINDOW));
            let inside = match bar.space {
                Space::Io => (io & 0xf0) << 8 <= bar.bus && last <= (io & 0xf000) | 0xfff,
                Space::Memory => {
                    let low = (memory & 0xfff0) << 16 <= bar.bus && last <= memory & 0xfff0_0000 | 0xf_ffff;
                    let base = read(regs::PREFETCH_BASE_UPPER) << 32 | (prefetch & 0xfff0) << 16;
                    let limit = read(regs::PREFETCH_LIMIT_UPPER) << 32 | prefetch & 0xfff0_0000 | 0xf_ffff;
                    low || (base <= bar.bus && last <= limit)
                }
            };
            assert!(inside, "{bar:x?} is outside the windows of {bridge}");
            assert_eq!(fabric.read32(bridge, regs::COMMAND) & 7, 7, "{bridge} does not forward");
            bus = bridge.bus;
        }
    }
    spans.sort();
    for pair in spans.windows(2) {
        assert!(pair[0].0 != pair[1].0 || pair[0].2 < pair[1].1, "{pair:x?} overlap");
    }
}

#[test]
fn buses_are_numbered_depth_first() {
    let fabric = tree();
    let numbering = number_buses(&fabric, 0, 0, 255);
    assert_eq!(numbering.findings, []);
    let buses: Vec<_> = numbering.buses.iter().map(|bus| (bus.number, bus.last, bus.bridge)).collect();
    assert_eq!(
        buses,
        [
            (0, 5, None),
            (1, 4, Some(at(0, 0x08))),
            (2, 4, Some(at(1, 0))),
            (3, 3, Some(at(2, 0))),
            (4, 4, Some(at(2, 0x08))),
            (5, 5, Some(at(0, 0x18))),
        ]
    );
    // What answers as device 1 behind a root port is no function: a link has one device.
    assert!(!numbering.functions.contains(&at(5, 0x08)));
    assert_eq!(numbering.functions.len(), 10);
    assert_eq!(fabric.read32(at(1, 0), regs::BUSES) & 0xff_ffff, 0x04_0201);
}

#[test]
fn registers_are_assigned_inside_every_window_above_them() {
    let fabric = tree();
    let numbering = number_buses(&fabric, 0, 0, 255);
    let assigned = assign_bars(&fabric, &numbering, &windows());
    assert_eq!(assigned.findings, []);
    assert_eq!(assigned.bars.len(), 8);
    check(&fabric, &assigned);
    assert!(assigned.bar(at(4, 0), 0).unwrap().bus >= 1 << 32, "64-bit prefetchable goes above 4 GiB");
    assert!(assigned.bar(at(5, 0), 0).unwrap().bus < 1 << 32, "what is not prefetchable stays below");
    assert_eq!(fabric.read32(at(4, 0), regs::COMMAND) & regs::COMMAND_MASTER, 0, "endpoints do no DMA yet");
}

#[test]
fn what_does_not_fit_is_reported_and_leaves_the_rest_alone() {
    let greedy = Config::endpoint().memory(0, 1 << 31, false, false).memory(1, 0x1000, false, false);
    let fabric = Fabric::new([
        (0x08, Config::root_port().with(0, greedy)),
        (0x10, Config::endpoint().memory(0, 0x1000, false, false)),
    ]);
    let numbering = number_buses(&fabric, 0, 0, 255);
    let assigned = assign_bars(&fabric, &numbering, &windows());
    check_some(&fabric, &assigned, 2);
    let problems: Vec<_> = assigned.findings.iter().map(|f| (f.function, f.problem)).collect();
    assert_eq!(problems, [(at(1, 0), Problem::BarNoRoom { index: 0, bytes: 1 << 31 })]);
    // Its other register has an address, but answering would let the first answer too.
    assert_eq!(fabric.read32(at(1, 0), regs::COMMAND) & regs::COMMAND_MEMORY, 0);
}

fn check_some(fabric: &Fabric, assigned: &Assigned, bars: usize) {
    assert_eq!(assigned.bars.len(), bars);
    for bar in &assigned.bars {
        assert_eq!(fabric.read32(bar.function, regs::BAR + u16::from(bar.index) * 4) & !0xf, bar.bus as u32);
    }
}

#[test]
fn virtual_functions_get_buses_and_room() {
    let card = Config::endpoint().express(0).memory(0, 0x4000, true, true).ari(0).sriov(64, 0x80, 4, 0x4000);
    let fabric = Fabric::new([
        (0x08, Config::root_port().with(0, card)),
        (0x10, Config::root_port().with(0, Config::endpoint())),
    ]);
    let numbering = number_buses(&fabric, 0, 0, 255);
    assert_eq!(numbering.findings, []);
    // The last of 64 is 0100h + 80h + 63 * 4 = 027Ch, on bus 2.
    let buses: Vec<_> = numbering.buses.iter().map(|bus| (bus.number, bus.last)).collect();
    assert_eq!(buses, [(0, 3), (1, 2), (3, 3)]);
    let assigned = assign_bars(&fabric, &numbering, &windows());
    assert_eq!(assigned.findings, []);
    check(&fabric, &assigned);
    assert!(assigned.bars.iter().any(|bar| bar.virtual_functions == 64 && bar.bytes == 0x4000));
}

/// A port as PC firmware leaves it: all registers assigned but those of virtual functions.
fn as_firmware_leaves_it(fabric: &Fabric) -> Assigned {
    let numbering = number_buses(fabric, 0, 0, 255);
    let mut assigned = assign_bars(fabric, &numbering, &windows());
    for bar in assigned.bars.iter().filter(|bar| bar.virtual_functions != 0) {
        let sriov =
            caps::find_extended(&FunctionSpace { access: fabric, function: bar.function }, regs::EXT_SRIOV);
        fabric.write32(bar.function, sriov.unwrap() + regs::SRIOV_BAR + u16::from(bar.index) * 4, 0);
    }
    assigned.bars.retain(|bar| bar.virtual_functions == 0);
    assigned
}

#[test]
fn virtual_functions_get_what_firmware_left_of_the_windows() {
    let card = || {
        Config::endpoint()
            .express(0)
            .multifunction()
            .memory(0, 0x4000, false, false)
            .memory(2, 0x2_0000, false, false)
    };
    let fabric = Fabric::new([(
        0x08,
        Config::root_port()
            .with(0, card().sriov(8, 0x80, 2, 0x4000))
            .with(1, card().sriov(8, 0x80, 2, 0x1000)),
    )]);
    let mut assigned = as_firmware_leaves_it(&fabric);
    let held = |bar: &Bar| fabric.read32(bar.function, regs::BAR + u16::from(bar.index) * 4);
    let before: Vec<u32> = assigned.bars.iter().map(held).collect();
    for function in [at(1, 0), at(1, 1)] {
        let late = assign_virtual_bars(&fabric, at(0, 8), function);
        assert_eq!(late.findings, []);
        assert_eq!((late.bars.len(), late.bars[0].virtual_functions), (1, 8));
        assigned.bars.extend(late.bars);
    }
    check(&fabric, &assigned);
    assert_eq!(
        assigned.bars[..before.len()].iter().map(held).collect::<Vec<_>>(),
        before,
        "others are as they were"
    );
    let again = assign_virtual_bars(&fabric, at(0, 8), at(1, 0));
    assert_eq!(again, Assigned::default(), "what holds something is left alone");
}

#[test]
fn virtual_functions_that_find_no_room_are_reported_and_in_nobodys_way() {
    let card = Config::endpoint().express(0).memory(0, 0x10_0000, false, false).sriov(8, 0x80, 2, 0x4000);
    let fabric = Fabric::new([(0x08, Config::root_port().with(0, card))]);
    as_firmware_leaves_it(&fabric);
    // Firmware that knows nothing of virtual functions opens the window for the one MiB of the card alone.
    let window = fabric.read32(at(0, 8), regs::MEMORY_WINDOW);
    let base = fabric.read32(at(1, 0), regs::BAR) >> 16;
    fabric.write32(at(0, 8), regs::MEMORY_WINDOW, base << 16 | base);
    let late = assign_virtual_bars(&fabric, at(0, 8), at(1, 0));
    assert_eq!(late.bars, []);
    let problem = Problem::BarNoRoom { index: 0, bytes: 0x4000 };
    assert_eq!(late.findings, [Finding { function: at(1, 0), problem }]);
    // Enabled ones are not moved.
    fabric.write32(at(0, 8), regs::MEMORY_WINDOW, window);
    let sriov = caps::find_extended(&FunctionSpace { access: &fabric, function: at(1, 0) }, regs::EXT_SRIOV);
    fabric.write32(at(1, 0), sriov.unwrap() + regs::SRIOV_CONTROL, regs::SRIOV_VF_ENABLE);
    assert_eq!(assign_virtual_bars(&fabric, at(0, 8), at(1, 0)), Assigned::default());
}

#[test]
fn ari_functions_are_found_beyond_eight() {
    let fabric = Fabric::new([(
        0x08,
        Config::root_port()
            .with(0, Config::endpoint().express(0).ari(0x09))
            .with(0x09, Config::endpoint().express(0).ari(0x40))
            .with(0x40, Config::endpoint().express(0).ari(0)),
    )]);
    let numbering = number_buses(&fabric, 0, 0, 255);
    assert_eq!(numbering.functions, [at(0, 8), at(1, 0), at(1, 9), at(1, 0x40)]);
}

#[test]
fn a_chain_of_bridges_ends_with_the_numbers() {
    // Bridges all the way down, deeper than there are buses.
    let mut bridge = Config::bridge();
    for _ in 0..300 {
        bridge = Config::bridge().with(0, bridge);
    }
    let fabric = Fabric::new([(0, bridge)]);
    let numbering = number_buses(&fabric, 0, 0, 255);
    assert_eq!(numbering.buses.len(), 256);
    assert_eq!(numbering.findings.last().map(|f| f.problem), Some(Problem::NoBusLeft));
}

/// Answers from a formula, whoever is asked, and counts the questions.
struct Garbage<F: Fn(Bdf, u16) -> u32>(F, Cell<u64>);
impl<F: Fn(Bdf, u16) -> u32> ConfigAccess for Garbage<F> {
    fn read32(&self, function: Bdf, offset: u16) -> u32 {
        self.1.set(self.1.get() + 1);
        (self.0)(function, offset)
    }
    fn write32(&self, _: Bdf, _: u16, _: u32) {}
}

#[test]
fn all_ones_is_an_empty_bus() {
    let numbering = number_buses(&Garbage(|_, _| u32::MAX, Cell::new(0)), 0, 0, 255);
    assert!(numbering.functions.is_empty() && numbering.findings.is_empty());
    assert_eq!(numbering.buses.len(), 1);
}

#[test]
fn garbage_ends() {
    // Each word is the same mixture everywhere; bridges that hold no number, registers that hold no address.
    for seed in 0..64u32 {
        let garbage = Garbage(
            |function, offset| {
                let x = seed
                    ^ u32::from(offset).wrapping_mul(0x9e37_79b9)
                    ^ u32::from(function.devfn) << (seed % 24);
                x.wrapping_mul(0x85eb_ca6b) ^ x >> 13
            },
            Cell::new(0),
        );
        let numbering = number_buses(&garbage, 0, 0, 255);
        assign_bars(&garbage, &numbering, &windows());
        assert!(garbage.1.get() < 10_000_000);
    }
}

/// A bus whose every function on every bus is a bridge that takes its numbers.
#[test]
fn a_hall_of_mirrors_ends() {
    struct Mirrors(std::cell::RefCell<std::collections::BTreeMap<Bdf, u32>>);
    impl ConfigAccess for Mirrors {
        fn read32(&self, function: Bdf, offset: u16) -> u32 {
            match offset {
                regs::ID => 0x1111_1234,
                regs::HEADER => 0x0081_0000,
                regs::BUSES => self.0.borrow().get(&function).copied().unwrap_or(0),
                _ => 0,
            }
        }
        fn write32(&self, function: Bdf, offset: u16, value: u32) {
            if offset == regs::BUSES {
                self.0.borrow_mut().insert(function, value);
            }
        }
    }
    let numbering = number_buses(&Mirrors(Default::default()), 0, 0, 255);
    assert_eq!(numbering.buses.len(), 256);
    assert_eq!(numbering.functions.len(), 65536);
}

#[test]
fn windows_side_by_side_are_aligned_for_what_is_in_them() {
    // Nine mebibytes below each port: the second window must not begin where the first one's room ends.
    let card =
        || Config::endpoint().express(0).memory(0, 8 * MIB, false, false).memory(1, 0x4000, false, false);
    let port = || Config::bridge().express(6).with(0, card());
    let switch = Config::bridge().express(5).with(0x00, port()).with(0x08, port()).with(0x10, port());
    let fabric = Fabric::new([(0x08, Config::root_port().with(0, switch))]);
    let numbering = number_buses(&fabric, 0, 0, 255);
    let assigned = assign_bars(&fabric, &numbering, &windows());
    assert_eq!(assigned.findings, []);
    assert_eq!(assigned.bars.len(), 6);
    check(&fabric, &assigned);
}
