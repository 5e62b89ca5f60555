//! Taking a RISC-V IOMMU over from firmware or a crashed kernel, with DMA running.
#![cfg(feature = "riscv")]

#[path = "support/put.rs"]
mod put;
mod riscv_rig;

use ioward_core::driver::{Blocked, Driver, Translation};
use ioward_drivers::riscv::{BringUp, BringUpError, Config, RiscVIommu};
use ioward_models::{Visibility, riscv::Features};
use ioward_types::{DeviceControl, Mmio, Pasid, PhysAddr, Platform};
use put::Put;
use riscv_rig::*;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

const SOURCE: u32 = 0x18;
const AT: u64 = 0x12_3456_7000;
const DDTP: usize = 0x10;

/// Reads memory as a kernel that takes over would.
fn memory(rig: &Rig) -> impl Fn(PhysAddr) -> Option<u64> + use<> {
    let memory = rig.memory.clone();
    move |at| {
        let mut bytes = [0; 8];
        memory.dma_read("kernel", at, &mut bytes).ok()?;
        Some(u64::from_le_bytes(bytes))
    }
}

fn features() -> [(&'static str, Features, u32); 4] {
    let large = Features::default();
    let base = Features { msi_flat: false, msi_mrif: false, ..large };
    [
        ("extended", large, 0xff_ffff),
        ("base", base, 0xffff),
        ("one level", Features { levels: [true, false, false], ..large }, 0x3f),
        ("one stage", Features { second_bits: 0, ..large }, 0x7fff),
    ]
}

#[test]
fn what_translates_goes_on_until_its_source_is_claimed() {
    for (name, features, last_source) in features() {
        let rig = Rig::new(features, Visibility::Held);
        let config = Config { last_source, ..rig.config() };
        let before = rig.bring_up_as(&config, BringUp::Cold).unwrap();
        let sources = [SOURCE, SOURCE + 1, SOURCE + 2];
        let devices = sources.map(|source| rig.device(source, false));
        devices[1].pasid(Some(8));
        let slots = [0, 8, 0].map(|bits| bits).into_iter().zip(sources);
        let slots: Vec<_> = slots.map(|(bits, source)| claim(&before, source, bits, false)).collect();
        let tables: Vec<_> = [0, 8, 8]
            .into_iter()
            .zip(1..)
            .map(|(bits, byte)| {
                let table = Table::new(&rig, &before, bits);
                table.map(AT, rig.page(byte));
                table
            })
            .collect();
        before.put(&slots[0], None, &tables[0].translation()).unwrap();
        before.put(&slots[1], None, &tables[1].translation()).unwrap();
        before.put(&slots[1], Some(Pasid(200)), &tables[2].translation()).unwrap();
        before.put(&slots[2], None, &Translation::Identity).unwrap();
        let all =
            || [(0, None), (1, None), (1, Some(200))].map(|(n, pasid)| read(&devices[n], pasid, AT).ok());
        assert_eq!(all(), [Some(1), Some(2), Some(3)], "{name}");
        // It crashes here.
        let read_memory = memory(&rig);
        let driver = rig.bring_up_as(&config, BringUp::Adopt(&read_memory)).expect(name);
        assert_eq!((driver.adopted().contexts, driver.adopted().stopped), (2, 1), "{name}");
        assert_eq!(all(), [Some(1), Some(2), Some(3)], "{name}: it goes on");
        let page = rig.page(9);
        assert!(read(&devices[2], None, page.0).is_err(), "{name}: identity does not");
        // No identifier of what goes on is given out.
        let own = Table::new(&rig, &driver, 0);
        let other = Table::new(&rig, &driver, 8);
        for old in &tables {
            assert!(old.tag != own.tag && old.tag != other.tag, "{name}");
        }
        own.map(AT, rig.page(7));
        let slot = claim(&driver, SOURCE, 0, false);
        assert_eq!(all(), [None, Some(2), Some(3)], "{name}: a claim ends it");
        driver.put(&slot, None, &own.translation()).unwrap();
        assert_eq!(all(), [Some(7), Some(2), Some(3)]);
        let second = claim(&driver, SOURCE + 1, 0, false);
        assert_eq!(all(), [Some(7), None, None]);
        assert_eq!(driver.release(slot, false), Blocked::Confirmed);
        assert_eq!(driver.release(second, false), Blocked::Confirmed);
        rig.settled(name);
    }
}

#[test]
fn abort_stops_what_is_let_through_and_cold_refuses() {
    for (name, features, last_source) in features() {
        let rig = Rig::new(features, Visibility::Held);
        let config = Config { last_source, ..rig.config() };
        let before = rig.bring_up_as(&config, BringUp::Cold).unwrap();
        let device = rig.device(SOURCE, false);
        let slot = claim(&before, SOURCE, 0, false);
        let table = Table::new(&rig, &before, 0);
        table.map(AT, rig.page(1));
        before.put(&slot, None, &table.translation()).unwrap();
        assert_eq!(read(&device, None, AT), Ok(1));
        let ddtp = rig.model.read64(DDTP);
        let error = rig.bring_up_as(&config, BringUp::Cold).err();
        assert_eq!(error, Some(BringUpError::Translating { ddtp }), "{name}");
        assert_eq!(read(&device, None, AT), Ok(1), "{name}: nothing was changed");
        let driver = rig.bring_up_as(&config, BringUp::Abort).expect(name);
        assert!(read(&device, None, AT).is_err(), "{name}");
        let slot = claim(&driver, SOURCE, 0, false);
        let own = Table::new(&rig, &driver, 0);
        own.map(AT, rig.page(2));
        driver.put(&slot, None, &own.translation()).unwrap();
        assert_eq!(read(&device, None, AT), Ok(2), "{name}");
        rig.settled(name);
    }
}

/// Whatever mode it is found in, with queues that run or hold garbage: what it ends as is the same, and at no instant does a
/// request pass untranslated once the first register has been written.
#[test]
fn any_mode_that_it_is_found_in_ends_translating_or_refused() {
    for mode in 0..16u64 {
        for state in ["cold", "abort", "adopt"] {
            let rig = Rig::large();
            let root = rig.platform.frames(0x1000, 0x1000, NOWHERE).unwrap();
            rig.model.preset(DDTP, root.0 >> 12 << 10 | mode);
            // Queues that are on, over memory that is not there.
            for (base, csr) in [(0x18, 0x48), (0x28, 0x4c), (0x38, 0x50)] {
                rig.model.preset(base, 0x7fff_ffff_fc05);
                rig.model.preset(csr, 1);
            }
            let device = Arc::new(rig.device(SOURCE, false));
            let page = rig.page(5);
            let written = Arc::new(AtomicBool::new(false));
            let (passed, looked, watched) =
                (Arc::new(AtomicBool::new(false)), device.clone(), written.clone());
            let (seen, model) = (passed.clone(), rig.model.clone());
            let watch = move || {
                // While busy, what it was may go on (5.5).
                if model.read64(DDTP) & 0x1f != mode && model.read64(DDTP) & 0x10 == 0 {
                    watched.store(true, Ordering::Relaxed);
                }
                if watched.load(Ordering::Relaxed) && read(&looked, None, page.0).is_ok() {
                    seen.store(true, Ordering::Relaxed);
                }
            };
            let registers = Cut::new(&rig.model, -1, watch);
            let read_memory = memory(&rig);
            let how = match state {
                "cold" => BringUp::Cold,
                "abort" => BringUp::Abort,
                _ => BringUp::Adopt(&read_memory),
            };
            let result = RiscVIommu::bring_up(IOMMU, registers, &rig.config(), &rig.platform, how);
            match (mode, state, result) {
                (0 | 1, _, Ok(_)) | (2..=4, "abort" | "adopt", Ok(_)) => {
                    assert_eq!(rig.model.read64(DDTP) & 0xf, 4);
                    assert!(read(&device, None, page.0).is_err());
                }
                (2..=4, "cold", Err(BringUpError::Translating { .. })) => {}
                (5.., _, Err(BringUpError::Contradiction { register: "ddtp", .. })) => {}
                (_, _, other) => panic!("mode {mode}, {state}: {:?}", other.err()),
            }
            assert!(!passed.load(Ordering::Relaxed), "mode {mode}, {state}: a request passed untranslated");
        }
    }
}

#[test]
fn garbage_is_not_carried_over() {
    let rig = Rig::large();
    let root = rig.platform.frames(0x1000, 0x1000, NOWHERE).unwrap();
    let read_memory = memory(&rig);
    let mut seed = 7u64;
    let mut random = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        seed ^ seed >> 31
    };
    for levels in 1..=3u64 {
        for round in 0..20 {
            for at in (0..0x1000).step_by(8) {
                // Half of them point back at the page itself, without end.
                let word = if round % 2 == 0 { root.0 >> 12 << 10 | 1 } else { random() };
                rig.memory.dma_write("test", PhysAddr(root.0 + at), &word.to_le_bytes()).unwrap();
            }
            rig.model.preset(DDTP, root.0 >> 12 << 10 | (levels + 1));
            let driver = rig.bring_up(BringUp::Adopt(&read_memory)).expect("it comes up");
            let adopted = driver.adopted();
            assert!(adopted.contexts <= 4096, "{adopted:?}");
            let slot = claim(&driver, SOURCE, 0, false);
            let table = Table::new(&rig, &driver, 0);
            table.map(AT, rig.page(1));
            driver.put(&slot, None, &table.translation()).unwrap();
            assert_eq!(read(&rig.device(SOURCE, false), None, AT), Ok(1));
        }
    }
}

#[test]
fn a_byte_order_that_is_fixed_is_refused_and_one_that_is_not_is_set() {
    let big = Features { both_endian: false, big_endian: true, ..Features::default() };
    let rig = Rig::new(big, Visibility::Held);
    let error = rig.bring_up(BringUp::Cold).err().expect("big-endian");
    assert!(matches!(error, BringUpError::Locked { register: "fctl", .. }), "{error}");
    let rig = Rig::new(Features { both_endian: true, ..big }, Visibility::Held);
    let driver = rig.bring_up(BringUp::Cold).expect("it can be told");
    let slot = claim(&driver, SOURCE, 0, false);
    let table = Table::new(&rig, &driver, 0);
    table.map(AT, rig.page(1));
    driver.put(&slot, None, &table.translation()).unwrap();
    assert_eq!(read(&rig.device(SOURCE, false), None, AT), Ok(1));
    rig.settled("byte order");
}

#[test]
fn a_version_or_width_that_cannot_be_driven_is_refused() {
    for features in [
        Features { version: 0x20, ..Features::default() },
        Features { version: 0x00, ..Features::default() },
        Features { first_bits: 0, second_bits: 0, pd: [false; 3], ..Features::default() },
    ] {
        let rig = Rig::new(features, Visibility::Held);
        let ddtp = rig.model.read64(DDTP);
        let error = rig.bring_up(BringUp::Cold).err().expect("refused");
        assert!(matches!(error, BringUpError::Unsupported { register: "capabilities", .. }), "{error}");
        assert_eq!(rig.model.read64(DDTP), ddtp);
    }
    let none = Features { levels: [false; 3], ..Features::default() };
    let error = Rig::new(none, Visibility::Held).bring_up(BringUp::Cold).err().expect("refused");
    assert!(matches!(error, BringUpError::Locked { register: "ddtp", .. }), "{error}");
    let rig = Rig::large();
    for config in [
        Config { last_source: 1 << 24, ..rig.config() },
        Config { command_queue: 0, ..rig.config() },
        Config { fault_queue: 17, ..rig.config() },
        Config { page_request_queue: Some(0), ..rig.config() },
    ] {
        let error = rig.bring_up_as(&config, BringUp::Cold).err().expect("refused");
        assert!(matches!(error, BringUpError::Config(_)), "{error}");
    }
}

/// Hung at any access of a bring-up, it ends with an error, in time.
#[test]
fn a_bring_up_that_is_cut_off_anywhere_ends() {
    for after in 0..400 {
        let rig = Rig::large();
        let registers = Cut::new(&rig.model, after, || {});
        let start = rig.platform.now().0;
        let result = RiscVIommu::bring_up(IOMMU, registers, &rig.config(), &rig.platform, BringUp::Cold);
        assert!(rig.platform.now().0 - start < 3 * config().bound.0, "{after}");
        match result {
            Err(BringUpError::Hung(_)) => {}
            Ok(_) if after > 20 => return,
            other => panic!("{after}: {:?}", other.err()),
        }
    }
    panic!("a bring-up takes fewer accesses");
}

#[test]
fn a_claim_that_was_not_confirmed_is_not_confirmed_by_the_next_without_asking() {
    let rig = Rig::large();
    let before = rig.bring_up(BringUp::Cold).unwrap();
    let device = rig.device(SOURCE, true);
    let slot = claim(&before, SOURCE, 0, true);
    let table = Table::new(&rig, &before, 0);
    table.map(AT, rig.page(1));
    before.put(&slot, None, &table.translation()).unwrap();
    device.ats(Some(12));
    let read_memory = memory(&rig);
    let driver = rig.bring_up(BringUp::Adopt(&read_memory)).unwrap();
    assert_eq!(read(&device, None, AT), Ok(1));
    let what =
        ioward_core::driver::Claim { source: ioward_types::SourceId(SOURCE), pasid_bits: 0, ats: true };
    let lost = Arc::new(AtomicBool::new(true));
    let now = lost.clone();
    rig.model.set_command_filter(Box::new(move |_| !now.load(Ordering::Relaxed)));
    assert!(matches!(driver.claim(&what), Err(ioward_core::driver::Refused::Hung(_))));
    lost.store(false, Ordering::Relaxed);
    let slot = driver.claim(&what).unwrap();
    assert!(read(&device, None, AT).is_err(), "what is claimed is blocked");
    let own = Table::new(&rig, &driver, 0);
    own.map(AT, rig.page(2));
    driver.put(&slot, None, &own.translation()).unwrap();
    assert_eq!(read(&device, None, AT), Ok(2), "and what the device had cached is gone");
    rig.settled("claimed twice");
}

/// A process directory of the other byte order (tc.SBE) cannot be looked through, so nobody knows what it lets pass.
#[test]
fn a_context_whose_process_directory_is_big_endian_is_not_carried_over() {
    let rig = Rig::large();
    let before = rig.bring_up(BringUp::Cold).unwrap();
    let slot = claim(&before, SOURCE, 8, false);
    let table = Table::new(&rig, &before, 8);
    before.put(&slot, None, &table.translation()).unwrap();
    let read_memory = memory(&rig);
    // V, PDTV and DPE; SBE is added.
    let turned = |at| read_memory(at).map(|word| if word == 0x221 { word | 1 << 10 } else { word });
    let driver = rig.bring_up(BringUp::Adopt(&turned)).unwrap();
    assert_eq!((driver.adopted().contexts, driver.adopted().stopped), (0, 1));
}
