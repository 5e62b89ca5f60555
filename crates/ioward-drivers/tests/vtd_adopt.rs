//! Taking a VT-d unit over from whoever left it translating: what goes on, what does not, and what is owed for it.
#![cfg(feature = "vtd")]

#[path = "support/put.rs"]
mod put;
mod vtd_bench;

use ioward_core::driver::{Claim, Driver, InterruptFrom, Refused, RemapInterrupts};
use ioward_drivers::vtd::{Adopted, BringUp, BringUpError, Config, Interrupts, VtD};
use ioward_types::{PhysAddr, Platform, SourceId, describe};
use vtd_bench::{Bench, GSTS, IRTA, RTADDR, Registers, UNIT};

// ND 0: 16 domains; SAGAW 39 and 48, MGAW 47, FRO 0x22, SSLPS, PSI, MAMV 18, DWD, DRD.
const CAP: u64 = 0x00d2_008c_222f_0600;
// IRO 0x10, QI, IR, EIM, PT, C, MHMV 15.
const ECAP: u64 = 0x00f0_105b;
const SCALABLE: u64 = ECAP | 1 << 43 | 1 << 46 | 1 << 47 | 1 << 48 | 1 << 40 | 19 << 35;
const PAGE: u64 = !0xfff;
const TRANSLATING: u64 = 1 << 31 | 1 << 30;

type Unit = VtD<&'static Registers, Bench>;

struct Left {
    bench: Bench,
    registers: &'static Registers,
    root: u64,
}

impl Left {
    /// A unit that translates with an empty root table.
    fn new(ecap: u64, mode: u64) -> Self {
        let bench = Bench::new();
        let registers: &'static Registers = Box::leak(Box::new(Registers::new(&bench, CAP, ecap)));
        let root = page(&bench);
        registers.poke(RTADDR, root | mode);
        registers.poke(GSTS, TRANSLATING);
        registers.stick(1 << 31);
        Self { bench, registers, root }
    }

    /// The context table of a bus, in legacy mode or in the half of scalable mode.
    fn table(&self, bus: u64, half: u64) -> u64 {
        let at = self.root + bus * 16 + half * 8;
        if self.bench.load(at) == 0 {
            self.bench.store(at, page(&self.bench) | 1);
        }
        self.bench.load(at) & PAGE
    }

    fn legacy(&self, source: u64, words: [u64; 2]) {
        let at = self.table(source >> 8, 0) + (source & 0xff) * 16;
        self.bench.store(at, words[0]);
        self.bench.store(at + 8, words[1]);
    }

    /// A scalable entry with one PASID table entry behind it.
    fn scalable(&self, source: u64, pasid: u64, piece: [u64; 2]) -> u64 {
        let at = self.table(source >> 8, source >> 7 & 1) + (source & 0x7f) * 32;
        if self.bench.load(at) == 0 {
            self.bench.store(at, page(&self.bench) | 1);
        }
        let link = (self.bench.load(at) & PAGE) + (pasid >> 6) * 8;
        if self.bench.load(link) == 0 {
            self.bench.store(link, page(&self.bench) | 1);
        }
        let entry = (self.bench.load(link) & PAGE) + (pasid & 0x3f) * 64;
        self.bench.store(entry, piece[0]);
        self.bench.store(entry + 8, piece[1]);
        at
    }

    fn adopt(&self, config: Config) -> Result<Unit, BringUpError> {
        let memory = self.bench.snapshot();
        let end = page(&self.bench);
        let read = move |at: PhysAddr| (0x10_0000..end).contains(&at.0).then(|| memory.load(at.0));
        VtD::bring_up(UNIT, self.registers, config, &self.bench, BringUp::Adopt(&read))
    }

    /// The first pair of a source's entry now.
    fn now(&self, source: u64, scalable: bool) -> [u64; 2] {
        let root = self.registers.peek(RTADDR) & PAGE;
        let (half, offset) = match scalable {
            true => (source >> 7 & 1, (source & 0x7f) * 32),
            false => (0, (source & 0xff) * 16),
        };
        match self.bench.load(root + (source >> 8) * 16 + half * 8) & PAGE {
            0 => [0; 2],
            table => [self.bench.load(table + offset), self.bench.load(table + offset + 8)],
        }
    }
}

fn page(bench: &Bench) -> u64 {
    bench.frames(4096, 4096, PhysAddr(u64::MAX)).unwrap().0
}

fn config() -> Config {
    Config::new(describe::VtD { host_bits: 46, interrupt_remapping: true, ..describe::VtD::default() })
}

fn claim(driver: &Unit, source: u32) {
    let what = Claim { source: SourceId(source), pasid_bits: 0, ats: false };
    let _slot = driver.claim(&what).unwrap();
}

#[test]
fn legacy_entries_go_on_until_they_are_claimed() {
    let left = Left::new(ECAP, 0);
    let good = [0x12_3456_7001, 0x302];
    left.legacy(0x18, good);
    left.legacy(0xff18, [0x12_3456_8001, 0x502]);
    let wrong = [
        ("passes requests through", [0x9, 0x102]),
        ("five levels of four", [0x12_3456_7001, 0x303]),
        ("a reserved type", [0x12_3456_700d, 0x302]),
        ("device TLBs where there are none", [0x12_3456_7005, 0x302]),
        ("a reserved bit", [0x12_3456_7011, 0x302]),
        ("a table that cannot be reached", [1 << 46 | 1, 0x302]),
    ];
    for (n, (_, words)) in wrong.iter().enumerate() {
        left.legacy(0x200 + n as u64, *words);
    }
    let driver = left.adopt(config()).unwrap();
    assert_eq!(driver.adopted(), Adopted { entries: 2, stopped: 6, interrupts: 0 });
    assert_ne!(left.registers.peek(RTADDR) & PAGE, left.root);
    assert_eq!(left.now(0x18, false), good);
    for (n, (why, _)) in wrong.iter().enumerate() {
        assert_eq!(left.now(0x200 + n as u64, false)[0] & 1, 0, "{why}");
    }
    // Its domain is never given out.
    let plan = driver.plan(&Default::default()).unwrap();
    let mut tags = Vec::new();
    while let Ok(tag) = driver.tag(&plan) {
        tags.push(tag.0);
    }
    assert!(!tags.contains(&3) && !tags.contains(&5) && !tags.contains(&0));
    assert_eq!(tags.len(), 16 - 4, "and one is identity's");
    left.registers.take_descriptors();
    claim(&driver, 0x18);
    assert_eq!(left.now(0x18, false)[0] & 1, 0);
    // Context cache by source and domain, then the domain's translations.
    assert_eq!(left.registers.take_descriptors(), [[0x18_0003_0031, 0], [0x3_00e2, 0]]);
    claim(&driver, 0x19);
    assert!(left.registers.take_descriptors().is_empty(), "nothing was there");
}

#[test]
fn scalable_entries_go_on_with_all_that_is_behind_them() {
    let left = Left::new(SCALABLE, 1 << 10);
    left.scalable(0x1a0, 0, [0x12_3456_7089, 7]);
    left.scalable(0x1a0, 70, [0x41, 8]);
    let passes = left.scalable(0x18, 0, [0x109, 1]);
    let odd = left.scalable(0x20, 0, [0x12_3456_7089, 7]);
    left.bench.store(odd, left.bench.load(odd) | 1 << 5);
    let driver = left.adopt(config()).unwrap();
    assert!(driver.is_scalable());
    assert_eq!(driver.adopted(), Adopted { entries: 1, stopped: 2, interrupts: 0 });
    assert_eq!(left.now(0x1a0, true)[0] & 1, 1);
    assert_eq!(left.bench.load(passes) & 1, 1, "what others made is left as it is");
    assert_eq!((left.now(0x18, true)[0], left.now(0x20, true)[0]), (0, 0));
    left.registers.take_descriptors();
    claim(&driver, 0x1a0);
    assert_eq!(left.now(0x1a0, true)[0] & 1, 0);
    let told = left.registers.take_descriptors();
    assert_eq!(told, [[0x1a0_0000_0031, 0], [0x37, 0], [0x7_00e2, 0], [0x46_0008_0026, 0]]);
}

#[test]
fn what_cannot_be_read_is_not_adopted_and_nothing_is_changed() {
    let left = Left::new(ECAP, 0);
    let unreadable = |_| None;
    let refused = VtD::bring_up(UNIT, left.registers, config(), &left.bench, BringUp::Adopt(&unreadable));
    assert!(matches!(refused.err(), Some(BringUpError::Adopt(_))));
    left.registers.poke(RTADDR, 0);
    assert!(matches!(left.adopt(config()).err(), Some(BringUpError::Adopt(_))));
    assert_eq!(left.registers.peek(GSTS), TRANSLATING);
    // A context table outside of memory is one that is not there.
    left.registers.poke(RTADDR, left.root);
    left.bench.store(left.root + 16, 0x4000_0000_0001);
    assert_eq!(left.adopt(config()).unwrap().adopted(), Adopted::default());
}

#[test]
fn every_domain_may_be_in_use() {
    let left = Left::new(ECAP, 0);
    for domain in 1..16 {
        left.legacy(domain, [0x12_3456_7001, domain << 8 | 2]);
    }
    assert!(matches!(left.adopt(config()).err(), Some(BringUpError::Adopt(_))));
    assert_eq!(left.registers.peek(RTADDR), left.root, "nothing was changed");
}

#[test]
fn abort_stops_everything() {
    let left = Left::new(ECAP, 0);
    left.legacy(0x18, [0x12_3456_7001, 0x302]);
    let driver = VtD::bring_up(UNIT, left.registers, config(), &left.bench, BringUp::Abort).unwrap();
    assert_eq!(left.now(0x18, false), [0; 2]);
    assert_eq!(driver.adopted(), Adopted::default());
}

#[test]
fn interrupts_go_on_too_and_their_entries_are_nobody_elses() {
    let left = Left::new(ECAP, 0);
    let table = page(&left.bench);
    let entry = |index: u64, words: [u64; 2]| {
        left.bench.store(table + index * 16, words[0]);
        left.bench.store(table + index * 16 + 8, words[1]);
    };
    let good = [0x1_0031_0001, 0x4_0018];
    entry(0, good);
    entry(3, [0x1_0031_0001, 0x18]);
    entry(4, [0x1_0031_8001, 0x4_0018]);
    left.registers.poke(IRTA, table | 1 << 11 | 3);
    left.registers.poke(GSTS, TRANSLATING | 1 << 25);
    let remap = Interrupts::Remap { entries_log2: 2, x2apic: true };
    let driver = left.adopt(Config { interrupts: remap, ..config() }).unwrap();
    assert_eq!(driver.adopted().interrupts, 1);
    let new = left.registers.peek(IRTA) & PAGE;
    assert_ne!(new, table);
    assert_eq!([left.bench.load(new), left.bench.load(new + 8)], good);
    assert_eq!((left.bench.load(new + 48), left.bench.load(new + 64)), (0, 0));
    let from = InterruptFrom::Source(SourceId(0x20));
    assert_eq!(driver.reserve(from, 2).unwrap().first, 2);
    assert!(matches!(driver.reserve(from, 2), Err(Refused::Interrupt { .. })));
    assert_eq!(driver.reserve(from, 1).unwrap().first, 1);
}

#[test]
fn a_device_that_cached_translations_of_pasids_is_told_to_forget_each() {
    let left = Left::new(SCALABLE | 4, 1 << 10);
    left.scalable(0x18, 0, [0x12_3456_7089, 7]);
    let entry = left.scalable(0x18, 70, [0x41, 8]);
    left.bench.store(entry, left.bench.load(entry) | 4);
    let driver = left.adopt(config()).unwrap();
    assert_eq!(driver.adopted().entries, 1);
    left.registers.take_descriptors();
    let _slot = driver.claim(&Claim { source: SourceId(0x18), pasid_bits: 20, ats: true }).unwrap();
    let told = left.registers.take_descriptors();
    let without = told.iter().any(|words| words[0] & 0xf == 3 && words[0] >> 32 & 0xffff == 0x18);
    let with = |pasid: u64| {
        told.iter().any(|words| words[0] & 0xffff_000f == 0x18_0008 && words[0] >> 32 & 0xf_ffff == pasid)
    };
    assert!(without && with(70), "{told:x?}");
}

#[test]
fn a_domain_that_no_invalidation_can_name_is_not_adopted() {
    // ND 0: four bits.
    let left = Left::new(ECAP, 0);
    left.legacy(0x18, [0x12_3456_7001, 0x1002]);
    left.legacy(0x20, [0x12_3456_7001, 0x0f02]);
    assert_eq!(left.adopt(config()).unwrap().adopted(), Adopted { entries: 1, stopped: 1, interrupts: 0 });
    let left = Left::new(SCALABLE, 1 << 10);
    left.scalable(0x18, 0, [0x12_3456_7089, 16]);
    assert_eq!(left.adopt(config()).unwrap().adopted(), Adopted { entries: 0, stopped: 1, interrupts: 0 });
}
