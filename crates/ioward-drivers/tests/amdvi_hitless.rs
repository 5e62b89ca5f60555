//! Changing a device table entry is hitless: what hardware can see at any instant is the old entry, the new one, or
//! blocked.
//!
//! Hardware is taken to read an entry as two halves of 128 bits, at any two instants, in either order, and the guest CR3
//! entries that it leads to not before it; 48882 §2.2.2 promises a single read of 256 bits, of which nothing here makes use. Stores
//! are seen in the order of the barriers between them, those without a barrier between them in any order. A read that
//! began before an INVALIDATE_DEVTAB_ENTRY has ended when the COMPLETION_WAIT after it has.
//!
//! The decoder is written here, from Table 7 of the specification, and shares nothing with the driver.
#![cfg(feature = "amdvi")]

mod amdvi_bench;
#[path = "support/put.rs"]
mod put;

use amdvi_bench::{Bench, Memory, Record, Registers, UNIT};
use ioward_core::driver::{Claim, Driver, Plan, Requirements, Slot, Translation};
use ioward_drivers::amdvi::{AmdVi, BringUp, Config};
use ioward_types::{Format, Pasid, PhysAddr, Root, SourceId, TableConfig, Tag, describe};
use put::Put;
use std::collections::{BTreeMap, BTreeSet};

const SOURCE: SourceId = SourceId(0x18);
const PASID: Pasid = Pasid(5);
// Five-level guest tables, two levels of guest CR3 table, 16 PASID bits, GIoSup, IASup, GTSup, HATS 2.
const EFR: u64 = 0x0001_000f_0000_5850;

/// What one kind of request meets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Meets {
    Blocked,
    Identity,
    Host {
        root: u64,
        levels: u8,
        domain: u16,
    },
    Guest {
        root: u64,
        five: bool,
    },
    /// The entry is illegal or lets everything through: never to be seen.
    Wrong(&'static str),
}

/// What requests without PASID and requests with [`PASID`] meet.
type Seen = (Meets, Meets);

/// What an entry means, given the guest CR3 tables in `memory`.
fn decode(dte: [u64; 4], memory: &Memory) -> Seen {
    let both = |meets| (meets, meets);
    if dte[0] & 1 == 0 {
        return both(Meets::Wrong("V clear"));
    }
    if dte[0] & 2 == 0 {
        return both(Meets::Wrong("TV clear"));
    }
    let mode = (dte[0] >> 9 & 7) as u8;
    let rights = dte[0] >> 61 & 3;
    let (gv, giov) = (dte[0] >> 55 & 1 == 1, dte[0] >> 54 & 1 == 1);
    let host = match (rights, mode) {
        (0, _) => Meets::Blocked,
        (3, 0) => Meets::Identity,
        (3, 7) => Meets::Wrong("Mode 7"),
        (3, levels) => {
            let root = dte[0] & 0x000f_ffff_ffff_f000;
            Meets::Host { root, levels, domain: dte[1] as u16 }
        }
        _ => Meets::Wrong("half the rights"),
    };
    if !gv {
        // Requests with a PASID are refused where there is no guest translation.
        return (host, Meets::Blocked);
    }
    if host != Meets::Identity {
        return both(Meets::Wrong("guest translation nested in something"));
    }
    let root = (dte[0] >> 58 & 7) << 12 | (dte[1] >> 16 & 0xffff) << 15 | (dte[1] >> 43) << 31;
    let five = match dte[2] >> 54 & 3 {
        0 => false,
        1 => true,
        _ => return both(Meets::Wrong("guest paging mode")),
    };
    let glx = dte[0] >> 56 & 3;
    let guest = |pasid: u64| {
        let mut table = root;
        for level in (0..=glx).rev() {
            let entry = memory.load(table + (pasid >> (9 * level) & 0x1ff) * 8);
            if entry & 1 == 0 {
                return Meets::Blocked;
            }
            table = entry & 0x000f_ffff_ffff_f000;
        }
        Meets::Guest { root: table, five }
    };
    (if giov { guest(0) } else { Meets::Identity }, guest(PASID.0.into()))
}

fn entry_at(table: u64, memory: &Memory) -> [u64; 4] {
    std::array::from_fn(|n| memory.load(table + u64::from(SOURCE.0) * 32 + n as u64 * 8))
}

/// Every state of memory that the stores of one stretch without settling can show, from `memory` on, with the number of
/// barriers before it. Leaves the last one in `memory`.
fn states(memory: &mut Memory, stretch: &[Record]) -> Vec<(usize, Memory)> {
    let mut all = vec![(0, memory.clone())];
    for (barriers, epoch) in stretch.split(|record| *record == Record::Barrier).enumerate() {
        let stores: Vec<_> = epoch
            .iter()
            .filter_map(|record| match *record {
                Record::Store { at, bytes, new } => Some((at, bytes, new)),
                _ => None,
            })
            .collect();
        assert!(stores.len() < 12, "too many stores without a barrier to enumerate");
        for subset in 0u32..1 << stores.len() {
            let mut state = memory.clone();
            let mut skipped = BTreeSet::new();
            let mut possible = true;
            for (n, (at, bytes, new)) in stores.iter().enumerate() {
                if subset & 1 << n == 0 {
                    skipped.insert(*at);
                } else if skipped.contains(at) {
                    // A later store to the same place is not seen before an earlier one.
                    possible = false;
                } else {
                    state.apply(*at, *bytes, *new);
                }
            }
            if possible {
                all.push((barriers, state));
            }
        }
        for (at, bytes, new) in stores {
            memory.apply(at, bytes, new);
        }
    }
    all
}

/// Everything that hardware can see while `log` happens.
fn observations(table: u64, before: &Memory, log: &[Record]) -> BTreeSet<Seen> {
    let mut memory = before.clone();
    let mut seen = BTreeSet::new();
    for stretch in log.split(|record| *record == Record::Settled(SOURCE.0 as u16)) {
        let states = states(&mut memory, stretch);
        // The same entry may be there after some barriers more; the earliest allows most of what follows.
        let mut entries = BTreeMap::new();
        for (barriers, state) in &states {
            entries.entry(entry_at(table, state)).or_insert(*barriers);
        }
        for (low, since) in &entries {
            for (high, and_since) in &entries {
                for (_, state) in states.iter().filter(|(barriers, _)| barriers >= since.max(and_since)) {
                    seen.insert(decode([low[0], low[1], high[2], high[3]], state));
                }
            }
        }
    }
    seen
}

/// What a source is put on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Blocked,
    Identity,
    HostA,
    HostB,
    /// A foreign v1 table of other depth.
    HostForeign,
    GuestA,
    GuestB,
    /// A foreign v2 table of five levels.
    GuestFive,
}

use Kind::*;
const KINDS: [Kind; 8] = [Blocked, Identity, HostA, HostB, HostForeign, GuestA, GuestB, GuestFive];

struct Rig {
    bench: Bench,
    registers: &'static Registers,
    driver: AmdVi<&'static Registers, Bench>,
    slot: Slot,
    host: TableConfig,
    guest: TableConfig,
    tags: [Tag; 6],
}

impl Rig {
    fn new() -> Self {
        let bench = Bench::new();
        let config = Config::new(describe::AmdVi::default(), 0x7f);
        let registers: &'static Registers = Box::leak(Box::new(Registers::new(&bench, EFR)));
        let driver = AmdVi::bring_up(UNIT, registers, config, &bench, BringUp::Cold).unwrap();
        let slot = driver.claim(&Claim { source: SOURCE, pasid_bits: 16, ats: false }).unwrap();
        let planned = |pasid_bits| match driver
            .plan(&Requirements { pasid_bits, ..Requirements::default() })
            .unwrap()
        {
            Plan::Tables(config) => config,
            Plan::Requests { .. } => panic!("AMD-Vi has tables"),
        };
        let (host, guest) = (planned(0), planned(16));
        let tags =
            [host, host, host, guest, guest, guest].map(|config| driver.tag(&Plan::Tables(config)).unwrap());
        Self { bench, registers, driver, slot, host, guest, tags }
    }

    /// The place in [`Rig::tags`], the root, and whether it is a guest table.
    fn parts(kind: Kind) -> (usize, Root, Format) {
        let root = |at, levels| Root { at: PhysAddr(at), levels };
        match kind {
            HostA => (0, root(0x00a0_0000_0000, 4), Format::AmdV1),
            HostB => (1, root(0x00b0_0000_1000, 4), Format::AmdV1),
            HostForeign => (2, root(0x00c0_0000_2000, 3), Format::AmdV1),
            GuestA => (3, root(0x00d0_0000_3000, 4), Format::AmdV2),
            GuestB => (4, root(0x00e0_0000_4000, 4), Format::AmdV2),
            GuestFive => (5, root(0x00f0_0000_5000, 5), Format::AmdV2),
            Blocked | Identity => unreachable!("no table"),
        }
    }

    fn put(&self, pasid: Option<Pasid>, kind: Kind) -> Result<(), ioward_core::driver::Refused> {
        match kind {
            Blocked => {
                assert_eq!(self.driver.block(&self.slot, pasid), ioward_core::driver::Blocked::Confirmed);
                Ok(())
            }
            Identity => self.driver.put(&self.slot, pasid, &Translation::Identity),
            kind => {
                let (n, root, format) = Self::parts(kind);
                let config = if format == Format::AmdV1 { &self.host } else { &self.guest };
                let tag = self.tags[n];
                let what = if matches!(kind, HostForeign | GuestFive) {
                    Translation::Foreign { root, config, tag }
                } else {
                    Translation::Table { root, config, tag }
                };
                self.driver.put(&self.slot, pasid, &what)
            }
        }
    }

    fn table(&self) -> u64 {
        self.registers.peek(0) & 0x000f_ffff_ffff_f000
    }

    /// What the source meets now.
    fn now(&self) -> Seen {
        let memory = self.bench.snapshot();
        decode(entry_at(self.table(), &memory), &memory)
    }

    /// Does something and tells all that hardware could see meanwhile.
    fn watch(&self, act: impl FnOnce(&Self)) -> BTreeSet<Seen> {
        let before = self.bench.snapshot();
        self.bench.take_log();
        act(self);
        // Frames that were handed out meanwhile are zero until they are stored to.
        let before = before.grown(&self.bench.snapshot());
        // Commands are no part of what an entry leads to.
        let ring = self.registers.peek(0x8);
        let ring =
            (ring & 0x000f_ffff_ffff_f000)..(ring & 0x000f_ffff_ffff_f000) + (16 << (ring >> 56 & 0xf));
        let mut log = self.bench.take_log();
        log.retain(|record| !matches!(record, Record::Store { at, .. } if ring.contains(at)));
        observations(self.table(), &before, &log)
    }

    /// Does something and checks that nothing but old, new and blocked was to be seen, and new in the end.
    fn check(&self, why: &str, new: Seen, act: impl FnOnce(&Self)) {
        let old = self.now();
        let seen = self.watch(act);
        for (rid, pasid) in &seen {
            assert!(
                [old.0, new.0, Meets::Blocked].contains(rid),
                "{why}: {rid:?} is seen between {old:?} and {new:?}"
            );
            assert!(
                [old.1, new.1, Meets::Blocked].contains(pasid),
                "{why}: PASID: {pasid:?} between {old:?} and {new:?}"
            );
        }
        assert_eq!(self.now(), new, "{why}");
        assert!(seen.contains(&new), "{why}: the new entry was never to be seen");
    }
}

/// What a kind must look like.
fn expected(kind: Kind, tags: &[Tag; 6]) -> Meets {
    match kind {
        Blocked => Meets::Blocked,
        Identity => Meets::Identity,
        kind => match Rig::parts(kind) {
            (n, root, Format::AmdV1) => {
                Meets::Host { root: root.at.0, levels: root.levels, domain: tags[n].0 as u16 }
            }
            (_, root, _) => Meets::Guest { root: root.at.0, five: root.levels == 5 },
        },
    }
}

#[test]
fn every_change_of_a_source_shows_old_new_or_blocked() {
    for old in KINDS {
        for new in KINDS {
            let rig = Rig::new();
            rig.put(None, old).unwrap();
            assert_eq!(rig.now().0, expected(old, &rig.tags));
            // Requests with a PASID, of which none is attached, meet nothing whatever the RID is on.
            let after = (expected(new, &rig.tags), Meets::Blocked);
            rig.check(&format!("{old:?} to {new:?}"), after, |rig| rig.put(None, new).unwrap());
        }
    }
}

#[test]
fn changes_that_need_not_block_do_not() {
    for old in [Identity, HostA, GuestA] {
        for new in [Identity, HostB, GuestB] {
            let rig = Rig::new();
            rig.put(None, old).unwrap();
            let seen = rig.watch(|rig| rig.put(None, new).unwrap());
            let blocked = seen.iter().any(|(rid, _)| *rid == Meets::Blocked);
            assert!(!blocked, "{old:?} to {new:?} goes through blocked");
        }
    }
}

#[test]
fn beside_a_pasid_the_source_changes_as_cleanly() {
    for old in [Blocked, Identity, GuestA, GuestB] {
        for new in [Identity, GuestA, GuestB] {
            let rig = Rig::new();
            rig.put(None, old).unwrap();
            rig.put(Some(PASID), GuestA).unwrap();
            let pasid = expected(GuestA, &rig.tags);
            assert_eq!(rig.now(), (expected(old, &rig.tags), pasid));
            let after = (expected(new, &rig.tags), pasid);
            rig.check(&format!("{old:?} to {new:?} beside a PASID"), after, |rig| {
                rig.put(None, new).unwrap()
            });
        }
        let rig = Rig::new();
        rig.put(None, old).unwrap();
        rig.put(Some(PASID), GuestA).unwrap();
        let after = (Meets::Blocked, Meets::Blocked);
        rig.check("blocked beside a PASID", after, |rig| rig.put(None, Blocked).unwrap());
    }
}

#[test]
fn a_pasid_comes_changes_and_goes() {
    for (rid, first, second) in [
        (Blocked, GuestA, GuestB),
        (Identity, GuestA, GuestB),
        (GuestA, GuestA, GuestB),
        (GuestB, GuestA, GuestB),
        (Blocked, GuestFive, GuestFive),
        (GuestFive, GuestFive, GuestFive),
    ] {
        let rig = Rig::new();
        rig.put(None, rid).unwrap();
        let source = expected(rid, &rig.tags);
        for (what, kind) in [("comes", first), ("changes", second), ("goes", Blocked)] {
            let after = (source, expected(kind, &rig.tags));
            rig.check(&format!("on {rid:?} a PASID {what}"), after, |rig| {
                rig.put(Some(PASID), kind).unwrap()
            });
        }
    }
}

#[test]
fn the_check_sees_an_entry_that_is_written_in_words() {
    let rig = Rig::new();
    rig.put(None, HostA).unwrap();
    let (memory, table) = (rig.bench.snapshot(), rig.table());
    let at = table + u64::from(SOURCE.0) * 32;
    let old = expected(HostA, &rig.tags);
    let Meets::Host { root, levels, .. } = expected(HostB, &rig.tags) else { panic!("a v1 table") };
    // The new root with the old domain ID is neither.
    let word = entry_at(table, &memory)[0] & !0x000f_ffff_ffff_f000 | root;
    let log = [
        Record::Store { at, bytes: 8, new: word.into() },
        Record::Barrier,
        Record::Store { at: at + 8, bytes: 8, new: rig.tags[1].0.into() },
    ];
    let seen = observations(table, &memory, &log);
    let torn = Meets::Host { root, levels, domain: rig.tags[0].0 as u16 };
    assert!(seen.iter().any(|(rid, _)| *rid == torn) && torn != old);
}

#[test]
fn the_check_sees_halves_that_do_not_belong_together() {
    let rig = Rig::new();
    rig.put(None, GuestA).unwrap();
    let (memory, table) = (rig.bench.snapshot(), rig.table());
    let at = table + u64::from(SOURCE.0) * 32;
    let old = entry_at(table, &memory);
    let low = u128::from(old[0]) | u128::from(old[1]) << 64;
    let blocked = Record::Store { at, bytes: 16, new: 0x203 };
    let five = Record::Store { at: at + 16, bytes: 16, new: 1 << 54 };
    let back = Record::Store { at, bytes: 16, new: low };
    let settled = Record::Settled(SOURCE.0 as u16);
    let mixed = |log: &[Record]| {
        let seen = observations(table, &memory, log);
        // The old entry's own tables, walked with five levels, before the new entry is there.
        let Meets::Guest { root, .. } = expected(GuestA, &rig.tags) else { panic!("a v2 table") };
        seen.iter().any(|(rid, _)| *rid == Meets::Guest { root, five: true })
    };
    // Without waiting in between, a read may pair the old lower half with the new upper one.
    assert!(mixed(&[blocked, Record::Barrier, five]));
    assert!(!mixed(&[blocked, Record::Barrier, settled, five]));
    assert!(mixed(&[blocked, Record::Barrier, settled, five, settled, back]));
}
