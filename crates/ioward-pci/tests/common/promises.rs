//! What holds whatever the bytes: shared by the tests here and the fuzz targets.
#![allow(dead_code)]

use ioward_pci::{
    AcsBits, Bdf, ConfigAccess, Ecam, Edit, Topology, caps, config,
    enable::enable_acs,
    enumerate::{Space, Window, assign_bars, assign_virtual_bars, number_buses},
    groups::{
        Fabric, Linux, Policy,
        acs_override::{AcsOverride, acs_override},
        remedy::advise,
    },
    joins::Joins,
    lspci, regs,
};
use ioward_types::{Mmio, PhysAddr};
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

/// A machine described by bytes, twelve a function: plausible capabilities with any values in them.
pub struct Described(BTreeMap<(u8, u8), Vec<u32>>);

impl Described {
    const BYTES: usize = 12;
    /// More say nothing new, and take long.
    const MOST: usize = 48;

    pub fn new(bytes: &[u8]) -> Self {
        let functions = bytes.chunks_exact(Self::BYTES).take(Self::MOST);
        // Most links have one device: most functions are of device 0.
        let devfn = |b: &[u8]| match b[1] >> 6 {
            0 => b[1] & 0x18,
            1 => b[1] & 0x1b,
            _ => b[1] & 1,
        };
        Self(functions.map(|b| ((b[0] % 8, devfn(b)), Self::space(b))).collect())
    }

    fn space(b: &[u8]) -> Vec<u32> {
        let mut words = vec![0; 1024];
        let mut set = |at: usize, word: u32| words[at / 4] = word;
        let [kind, flags, secondary, acs, control, vector, more] = [b[2], b[3], b[4], b[5], b[6], b[7], b[8]];
        let bridge = matches!(kind & 0xf, 4..=8) || flags & 1 != 0;
        // Vendors and devices with rows of quirks, and nobody's.
        let ids = [0x8086_1af4, 0x9230_1b4b, 0xa110_8086, 0x87b0_10b5, 0x9a0b_8086, 0x8534_11f8, 0x1c10_8086];
        set(0x00, ids[usize::from(b[9]) % ids.len()]);
        set(0x04, 0x0010_0006);
        set(0x08, if b[9] == 0xff { 0x0806_0000 } else { 0x0680_0000 });
        set(0x0c, u32::from(flags >> 1 & 1) << 23 | u32::from(bridge) << 16);
        set(0x10, u32::from(flags >> 2 & 1) << 20);
        if bridge {
            set(
                0x18,
                u32::from(secondary >> 4) << 16 | u32::from(secondary & 0xf) << 8 | u32::from(b[0] % 8),
            );
        }
        set(0x34, if flags & 8 != 0 { 0 } else { 0x40 });
        set(0x40, u32::from(kind & 0xf | 0x10) << 20 | 0x2_0010);
        set(0x44, u32::from(more & 3) << 3);
        set(0x48, u32::from(more >> 2 & 1) << 9);
        set(0x4c, u32::from(b[1]) << 24);
        set(0x68, u32::from(more >> 3 & 1) << 5);
        if flags & 16 != 0 {
            set(0x100, 0x1201_000d);
            set(0x104, u32::from(control) << 16 | u32::from(b[10]) << 24 | 0x0800 | u32::from(acs));
            set(0x108, u32::from(vector));
            set(0x120, 0x1401_001b);
            set(0x124, u32::from(more) << 8);
        }
        if flags & 32 != 0 {
            let at = if flags & 16 != 0 { 0x140 } else { 0x100 };
            set(at, 0x0001_0010);
            set(at + 0x08, u32::from(more >> 4 & 1));
            set(at + 0x10, u32::from(b[11] >> 4));
            set(at + 0x14, u32::from(b[11] & 7) << 16 | u32::from(b[10]));
        }
        words
    }
}

impl Mmio for Described {
    fn read32(&self, at: usize) -> u32 {
        let (bus, devfn, offset) = ((at >> 20) as u8, (at >> 12) as u8, at & 0xfff);
        self.0.get(&(bus, devfn)).map_or(u32::MAX, |words| words[offset / 4])
    }
    fn write32(&self, _: usize, _: u32) {}
    fn read64(&self, at: usize) -> u64 {
        u64::from(self.read32(at)) | u64::from(self.read32(at + 4)) << 32
    }
    fn write64(&self, _: usize, _: u64) {}
}

/// A whole machine through its enhanced configuration space: both policies, every reason, edits, advice and an override.
/// Tells how many functions and how many groups of several the machine has.
pub fn hold_machine(bytes: &[u8]) -> (usize, usize) {
    let access = Ecam::new(Described::new(bytes), 0, 0, 15);
    let topology = Topology::scan(&access, 0, 0, 15, &[]);
    hold_topology(&topology);
    hold_edits(&topology, bytes.iter().fold(11, |seed, &byte| seed * 31 % 0xffff_ffff + u64::from(byte)));
    for policy in [&Linux as &dyn Policy, &Fabric::default()] {
        let grouping = policy.groups(&topology);
        for reason in grouping.groups.iter().flat_map(|group| &group.reasons) {
            let split = policy.groups(&topology.without(&reason.causes));
            assert!(!split.together(reason.member, reason.with), "{}: {reason}", policy.name());
        }
        for function in topology.functions().iter().step_by(topology.functions().len() / 2 + 1) {
            let Some(advice) = advise(policy, &topology, function.at) else { continue };
            let others = advice.with.len() + advice.own.len();
            for remedy in &advice.remedies {
                assert!(remedy.left.len() + remedy.own.len() < others && !remedy.steps.is_empty());
                assert!(!remedy.to_string().is_empty());
            }
        }
    }
    let effect = acs_override(&topology, &AcsOverride::usual(), &Fabric::default());
    assert!(effect.splits.len() <= topology.functions().len());
    assert!(effect.believed.is_empty() <= effect.splits.is_empty());
    let several = Fabric::default().groups(&topology).groups;
    (topology.functions().len(), several.iter().filter(|group| group.members.len() > 1).count())
}
