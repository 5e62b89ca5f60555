//! An SMMU that firmware or a crashed kernel left translating.
#![cfg(feature = "smmuv3")]

#[path = "support/put.rs"]
mod put;
mod smmuv3_rig;

use ioward_core::driver::Translation;
use ioward_drivers::smmuv3::{Adopted, BringUp, BringUpError, Config, SmmuV3};
use ioward_models::{
    Access, DmaEngine, DmaError, IommuModel, Outcome, Request, Visibility, smmuv3::Features,
};
use ioward_types::{Iova, Mmio, Pasid, PhysAddr, SourceId, Tag};
use put::Put;
use smmuv3_rig::*;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

const AT: u64 = 0x12_3456_7000;
/// Not mapped by anybody: who reaches it bypasses.
const ROGUE: u64 = 0x8000_0000;

/// Sources of the former kernel: with a stage 2 table, with a stage 1 table, with PASIDs, with identity.
const SECOND: u32 = 0x18;
const FIRST: u32 = 0x219;
const PASIDS: u32 = 0x21a;
const IDENTITY: u32 = 0x3005;

struct Crashed {
    rig: Rig,
    devices: [DmaEngine; 4],
    tags: Vec<Tag>,
    page: PhysAddr,
}

/// A machine whose kernel has crashed while its devices do DMA.
fn crashed(features: Features) -> Crashed {
    let rig = Rig::new(features, Visibility::Held);
    let driver = rig.bring_up(BringUp::Cold).unwrap();
    let page = rig.page(7);
    let mut tags = Vec::new();
    let mut table = |bits| {
        let table = Table::new(&rig, &driver, bits);
        table.map(AT, page);
        tags.push(table.tag);
        table
    };
    let (second, first, pasids) = (table(0), table(1), table(4));
    for (source, bits, pasid, what) in [
        (SECOND, 0, None, second.translation()),
        (FIRST, 0, None, first.translation()),
        (PASIDS, 4, None, pasids.translation()),
        (PASIDS, 4, Some(Pasid(3)), pasids.translation()),
        (IDENTITY, 0, None, Translation::Identity),
    ] {
        let slot = match pasid {
            None => claim(&driver, source, bits, false),
            Some(_) => ioward_core::driver::Slot { iommu: IOMMU, source: SourceId(source), index: 2 },
        };
        // The kernel is gone; nobody gives anything back.
        driver.put(&slot, pasid, &what).unwrap();
    }
    let devices = [SECOND, FIRST, PASIDS, IDENTITY].map(|source| rig.device(source, false));
    ioward_types::DeviceControl::pasid(&devices[2], Some(4));
    std::mem::forget(driver);
    let crashed = Crashed { rig, devices, tags, page };
    assert_eq!(crashed.reached(), [true; 5]);
    crashed
}

impl Crashed {
    /// Which of the former kernel's translations work: stage 2, stage 1, with PASIDs, of a PASID, identity.
    fn reached(&self) -> [bool; 5] {
        let [second, first, pasids, identity] = &self.devices;
        [
            read(second, None, AT) == Ok(7),
            read(first, None, AT) == Ok(7),
            read(pasids, None, AT) == Ok(7),
            read(pasids, Some(3), AT) == Ok(7),
            read(identity, None, self.page.0) == Ok(7),
        ]
    }

    fn memory(&self) -> impl Fn(PhysAddr) -> Option<u64> {
        let memory = self.rig.memory.clone();
        move |at| memory.read64("crash reader", at, true).ok()
    }
}

#[test]
fn a_translating_smmu_is_not_taken_for_a_cold_one() {
    let crashed = crashed(Features::default());
    let error = crashed.rig.bring_up(BringUp::Cold).err();
    assert!(matches!(error, Some(BringUpError::Translating { .. })), "{error:?}");
    assert_eq!(crashed.reached(), [true; 5], "nothing was touched");
    crashed.rig.memory.violations().assert_none();
}

#[test]
fn abort_stops_all_dma() {
    let crashed = crashed(Features::default());
    let driver = crashed.rig.bring_up(BringUp::Abort).unwrap();
    assert_eq!(crashed.reached(), [false; 5]);
    assert_eq!(driver.adopted(), Adopted::default());
    crashed.rig.memory.violations().assert_none();
}

#[test]
fn adopt_keeps_dma_going_until_its_source_is_claimed() {
    for config in [config(), Config { source_bits: 10, ..config() }] {
        let crashed = crashed(Features::default());
        let memory = crashed.memory();
        let driver = crashed.rig.bring_up_as(&config, BringUp::Adopt(&memory)).unwrap();
        // Identity lets a device reach everything: it is not carried over.
        assert_eq!(crashed.reached(), [true, true, true, true, false]);
        assert_eq!(driver.adopted(), Adopted { entries: 3, stopped: 1 });
        let slot = claim(&driver, FIRST, 0, false);
        assert_eq!(
            crashed.reached(),
            [true, false, true, true, false],
            "claimed is blocked, its neighbour not"
        );

        // Nothing that is new is mistaken for something old.
        let own = Table::new(&crashed.rig, &driver, 1);
        own.map(AT, crashed.rig.page(9));
        driver.put(&slot, None, &own.translation()).unwrap();
        assert_eq!(read(&crashed.devices[1], None, AT), Ok(9));
        assert_eq!(crashed.reached(), [true, false, true, true, false]);
        let other = claim(&driver, 0x21b, 0, false);
        for _ in 0..8 {
            let table = Table::new(&crashed.rig, &driver, 0);
            assert!(!crashed.tags.contains(&table.tag), "a VMID that is still in use");
            table.map(AT, crashed.rig.page(8));
            driver.put(&other, None, &table.translation()).unwrap();
            assert_eq!(read(&crashed.rig.device(0x21b, false), None, AT), Ok(8));
        }
        assert_eq!(crashed.reached(), [true, false, true, true, false]);
        crashed.rig.memory.violations().assert_none();
    }
}

#[test]
fn without_stage_2_asids_keep_old_and_new_apart() {
    let features = Features { stage2: false, ..Features::default() };
    let crashed = crashed(features);
    let memory = crashed.memory();
    let driver = crashed.rig.bring_up(BringUp::Adopt(&memory)).unwrap();
    assert_eq!(crashed.reached(), [true, true, true, true, false]);
    for _ in 0..8 {
        let table = Table::new(&crashed.rig, &driver, 0);
        assert!(!crashed.tags.contains(&table.tag), "an ASID that is still in use");
    }
    crashed.rig.memory.violations().assert_none();
}

#[test]
fn what_the_registers_and_the_table_say_is_not_trusted() {
    // Each of them: a register or a word of the old table, and nonsense for it.
    let nonsense = [0, 1, 0x7ff, u64::MAX, 0x5555_5555_5555_5555, 0x8000_0000, 0x0000_ffff_ffff_ffc0];
    for at in [0x80, 0x88] {
        for value in nonsense {
            let crashed = crashed(Features::default());
            crashed.rig.model.preset(at, value);
            let memory = crashed.memory();
            let result = crashed.rig.bring_up(BringUp::Adopt(&memory));
            assert!(
                matches!(
                    result,
                    Ok(_) | Err(BringUpError::Contradiction { register: "STRTAB_BASE_CFG", .. })
                ),
                "{at:#x} {value:#x}: {:?}",
                result.err()
            );
        }
    }
    for value in nonsense {
        let crashed = crashed(Features::default());
        let inside = crashed.memory();
        let base = crashed.rig.model.read64(0x80) & 0x00ff_ffff_ffff_ffc0;
        let memory = move |at: PhysAddr| if at.0 & !0x3f == base { Some(value) } else { inside(at) };
        let driver = crashed.rig.bring_up(BringUp::Adopt(&memory)).unwrap();
        assert!(driver.adopted().entries <= 4096);
        assert!(read(&crashed.devices[3], None, crashed.page.0).is_err(), "bypass is never carried over");
    }
}

/// At no access of a bring-up does a device pass the SMMU untranslated, wherever the SMMU stops answering.
#[test]
fn nothing_bypasses_at_any_step_of_a_bring_up_nor_if_it_ends_there() {
    for adopt in [false, true] {
        for after in 0.. {
            let crashed = crashed(Features::default());
            let memory = crashed.memory();
            let state = if adopt { BringUp::Adopt(&memory) } else { BringUp::Abort };
            let bypassed = Arc::new(AtomicBool::new(false));
            let (model, seen) = (crashed.rig.model.clone(), bypassed.clone());
            let registers = Cut::new(&crashed.rig.model, after, move || {
                for source in [SECOND, FIRST, PASIDS, 0x777] {
                    let (at, access) = (Iova(ROGUE), Access::Read);
                    let request =
                        Request { source: SourceId(source), pasid: None, at, access, privileged: false };
                    if matches!(model.request(&request), Outcome::To { .. }) {
                        seen.store(true, Ordering::Relaxed);
                    }
                }
            });
            let config = Config { bound: ioward_types::Nanos(100_000), ..config() };
            let result = SmmuV3::bring_up(IOMMU, registers, &config, &crashed.rig.platform, state);
            assert!(!bypassed.load(Ordering::Relaxed), "adopt {adopt}, after {after}");
            match result {
                Ok(_) => break,
                Err(error) => assert!(matches!(error, BringUpError::Hung(_)), "{error}"),
            }
            assert!(after < 200, "it ends");
            for device in &crashed.devices[..3] {
                assert_eq!(read(device, None, ROGUE), Err(DmaError::Aborted(Iova(ROGUE))));
            }
        }
    }
}
