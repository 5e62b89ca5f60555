//! What holds whatever the bytes: shared by the tests here and the fuzz targets.
#![allow(dead_code)]

use ioward_pci::{
    AcsBits, Bdf, ConfigAccess, Edit, Topology, caps, config,
    enable::enable_acs,
    enumerate::{Space, Window, assign_bars, assign_virtual_bars, number_buses},
    groups::{Fabric, Linux, Policy},
    joins::Joins,
    lspci, regs,
};
use ioward_types::PhysAddr;
use std::{cell::RefCell, collections::BTreeMap};

/// Groups are a partition, reasons are of their groups, and everything can be said in words.
pub fn hold_topology(topology: &Topology) {
    assert!(topology.functions().windows(2).all(|pair| pair[0].at < pair[1].at));
    for finding in topology.findings() {
        assert!(!finding.to_string().is_empty());
    }
    for policy in [&Linux as &dyn Policy, &Fabric::default()] {
        let grouping = policy.groups(topology);
        let members: usize = grouping.groups.iter().map(|group| group.members.len()).sum();
        assert_eq!(members + grouping.without.len(), topology.functions().len());
        for group in &grouping.groups {
            assert!(!group.members.is_empty());
            assert_eq!(group.reasons.len() + 1, group.members.len());
            for reason in &group.reasons {
                assert!(grouping.together(reason.member, reason.with));
                assert!(reason.member != reason.with && !reason.causes.is_empty());
                assert!(reason.to_string().contains(&reason.member.to_string()));
            }
        }
        let joins = Joins::of(topology, &grouping);
        assert!(joins.functions.iter().all(|joined| !joined.requesters.is_empty()));
    }
}

/// A text of `lspci` is read without a word of complaint but those in the listing.
pub fn hold_text(text: &str) {
    let mut listing = lspci::parse(text);
    lspci::add_ids(&mut listing.functions, text);
    for degraded in &listing.degraded {
        assert!(!degraded.to_string().is_empty());
    }
    let topology = listing.into_topology();
    hold_topology(&topology);
    hold_edits(&topology, text.len() as u64);
}

/// Bytes as one function's configuration space.
pub fn hold_config(bytes: &[u8]) {
    let mut findings = Vec::new();
    let function = config::read(bytes, Bdf::new(0, 1, 0, 0), &mut findings);
    let mut count = 0;
    let _ = caps::conventional(bytes, regs::CAPABILITIES, |_| count += 1);
    let _ = caps::extended(bytes, |_| count += 1);
    assert!(count <= 48 + 960);
    if let Some(function) = function {
        hold_topology(&Topology::new(vec![function], findings));
    }
}

/// Bytes as a whole bus: few functions, whose configuration spaces are pieces of the bytes, and which take some writes.
pub struct Garbage<'a> {
    bytes: &'a [u8],
    written: RefCell<BTreeMap<(Bdf, u16), u32>>,
}

impl<'a> Garbage<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, written: RefCell::default() }
    }

    fn byte(&self, at: usize) -> u8 {
        if self.bytes.is_empty() { 0xff } else { self.bytes[at % self.bytes.len()] }
    }

    fn word(&self, function: Bdf, offset: u16) -> u32 {
        // Each function sees the bytes from elsewhere, at a multiple of 4.
        let start = (usize::from(function.bus) * 131 + usize::from(function.devfn) * 17) * 4;
        let at = start + usize::from(offset);
        u32::from_le_bytes([0, 1, 2, 3].map(|more| self.byte(at + more)))
    }
}

impl ConfigAccess for Garbage<'_> {
    fn read32(&self, function: Bdf, offset: u16) -> u32 {
        let there = function.bus < 12 && function.devfn % 9 < 3 && function.devfn < 40;
        if function.segment != 0 || offset >= 4096 || !there {
            return u32::MAX;
        }
        let written = self.written.borrow().get(&(function, offset)).copied();
        written.unwrap_or_else(|| self.word(function, offset))
    }
    fn write32(&self, function: Bdf, offset: u16, value: u32) {
        // Every other word of a function can be written, in half of its bits.
        let word = self.word(function, offset);
        if offset == regs::BUSES || (u32::from(offset) / 4).wrapping_add(word) & 1 == 0 {
            let mask = if offset == regs::BUSES { u32::MAX } else { word.rotate_left(7) | 0xffff_0000 };
            let value = value & mask | word & !mask;
            self.written.borrow_mut().insert((function, offset), value);
        }
    }
}

/// Bytes as a bus: numbered, assigned, turned on, read, grouped.
pub fn hold_bus(bytes: &[u8]) {
    let garbage = Garbage::new(bytes);
    hold_topology(&Topology::scan(&garbage, 0, 0, 15, &[0]));
    let numbering = number_buses(&garbage, 0, 0, 15);
    assert!(numbering.buses.len() <= 16);
    let memory = |bus: u64, bytes| Window { space: Space::Memory, bus, cpu: PhysAddr(bus), bytes };
    let windows = [
        Window { space: Space::Io, bus: 0, cpu: PhysAddr(0x3eff_0000), bytes: 0x1_0000 },
        memory(0x1000_0000, 0x2eff_0000),
        memory(0x80_0000_0000, 0x80_0000_0000),
        memory(u64::MAX - 0xfff, 0x1000),
    ];
    let assigned = assign_bars(&garbage, &numbering, &windows);
    let mut spans: Vec<(Space, u64, u64)> = Vec::new();
    for bar in &assigned.bars {
        let bytes = bar.bytes * u64::from(bar.virtual_functions.max(1));
        spans.push((bar.space, bar.bus, bar.bus + (bytes - 1)));
        assert_eq!(bar.bus & (bar.bytes - 1), 0);
    }
    spans.sort_unstable();
    assert!(spans.windows(2).all(|two| two[0].0 != two[1].0 || two[0].2 < two[1].1), "registers overlap");
    for bus in &numbering.buses {
        let Some(bridge) = bus.bridge else { continue };
        for function in numbering.functions.iter().filter(|function| function.bus == bus.number) {
            for bar in assign_virtual_bars(&garbage, bridge, *function).bars {
                let bytes = u128::from(bar.bytes) * u128::from(bar.virtual_functions);
                assert!(bar.bus & (bar.bytes - 1) == 0 && u128::from(bar.bus) + bytes <= 1 << 64);
            }
        }
    }
    let topology = Topology::scan(&garbage, 0, 0, 15, &[0]);
    enable_acs(&garbage, &topology);
    let topology = Topology::scan(&garbage, 0, 0, 15, &[]);
    hold_topology(&topology);
    hold_edits(&topology, bytes.iter().fold(7, |seed, &byte| seed * 31 % 0xffff_ffff + u64::from(byte)));
}

/// Every edit of a few is made or refused in words, and leaves a machine of which the same holds.
pub fn hold_edits(topology: &Topology, seed: u64) {
    let count = topology.functions().len() as u64;
    if count == 0 {
        return;
    }
    let mut state = seed | 1;
    let mut below = |limit: u64| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) % limit
    };
    let mut edits = Vec::new();
    for _ in 0..3 {
        let mut function = || topology.functions()[below(count) as usize].at;
        let (one, other) = (function(), function());
        edits.push(match below(4) {
            0 => Edit::SetAcs {
                function: one,
                set: AcsBits(below(1 << 13) as u16),
                clear: AcsBits(below(4) as u16),
            },
            1 => Edit::Remove { device: one },
            _ => Edit::Move { device: one, below: other },
        });
    }
    // The longest beginning of the list that can be made.
    for length in (1..=edits.len()).rev() {
        match topology.edit(&edits[..length]) {
            Ok(edited) => {
                let functions = edited.topology.functions();
                let kept = topology.functions().iter().filter_map(|f| edited.now(f.at)).count();
                assert_eq!(kept, functions.len());
                assert_eq!(kept + edited.removed(topology).count(), topology.functions().len());
                for function in functions {
                    let before = edited.before(function.at).expect("it was there before");
                    assert_eq!(edited.now(before), Some(function.at));
                }
                hold_topology(&edited.topology);
                return;
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
