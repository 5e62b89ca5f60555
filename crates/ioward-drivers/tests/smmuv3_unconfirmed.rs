//! What was not confirmed stays so until it is: no later call confirms it because memory says already what it should.
#![cfg(feature = "smmuv3")]

#[path = "support/put.rs"]
mod put;
mod smmuv3_rig;

use ioward_core::driver::{Blocked, Claim, Driver, Refused};
use ioward_drivers::smmuv3::BringUp;
use ioward_models::{Visibility, smmuv3::Features};
use ioward_types::{DeviceControl, PhysAddr, SourceId};
use put::Put;
use smmuv3_rig::*;

const SOURCE: u32 = 0x18;
const AT: u64 = 0x12_3456_7000;

fn table(rig: &Rig, driver: &Driven, byte: u8) -> Table {
    let table = Table::new(rig, driver, 0);
    table.map(AT, rig.page(byte));
    table
}

#[test]
fn a_change_that_hung_on_its_way_through_blocked_is_not_confirmed_as_blocked() {
    // A linear table: between two stage 2 tables the entry goes through blocked.
    let features = Features { two_level_streams: false, sid_bits: 8, ..Features::default() };
    for ats in [false, true] {
        let rig = Rig::new(features, Visibility::Held);
        let driver = rig.bring_up(BringUp::Cold).unwrap();
        let device = rig.device(SOURCE, ats);
        let slot = claim(&driver, SOURCE, 0, ats);
        let (old, new) = (table(&rig, &driver, 1), table(&rig, &driver, 2));
        driver.put(&slot, None, &old.translation()).unwrap();
        device.ats(Some(12));
        assert_eq!(read(&device, None, AT), Ok(1));
        rig.model.set_hung(true);
        assert!(matches!(driver.put(&slot, None, &new.translation()), Err(Refused::Hung(_))));
        assert!(matches!(driver.block(&slot, None), Blocked::Unconfirmed(_)), "ats {ats}: nothing was asked");
        rig.model.set_hung(false);
        assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
        assert!(read(&device, None, AT).is_err());
        driver.put(&slot, None, &new.translation()).unwrap();
        assert_eq!(read(&device, None, AT), Ok(2), "ats {ats}: nothing old is left");
    }
}

#[test]
fn what_a_device_cached_before_a_claim_or_release_that_hung_is_forgotten_by_the_next_claim() {
    let what = Claim { source: SourceId(SOURCE), pasid_bits: 0, ats: true };
    for adopted in [true, false] {
        let rig = Rig::large();
        let before = rig.bring_up(BringUp::Cold).unwrap();
        let device = rig.device(SOURCE, true);
        let slot = claim(&before, SOURCE, 0, true);
        before.put(&slot, None, &table(&rig, &before, 1).translation()).unwrap();
        device.ats(Some(12));
        assert_eq!(read(&device, None, AT), Ok(1));
        let driver = if adopted {
            let memory = rig.memory.clone();
            let reads = move |at: PhysAddr| memory.read64("test", at, true).ok();
            let driver = rig.bring_up(BringUp::Adopt(&reads)).unwrap();
            assert_eq!(read(&device, None, AT), Ok(1));
            rig.model.set_hung(true);
            assert!(matches!(driver.claim(&what), Err(Refused::Hung(_))));
            driver
        } else {
            rig.model.set_hung(true);
            assert!(matches!(before.release(slot, false), Blocked::Unconfirmed(_)));
            before
        };
        rig.model.set_hung(false);
        let slot = driver.claim(&what).unwrap();
        assert!(read(&device, None, AT).is_err(), "what is claimed is blocked");
        driver.put(&slot, None, &table(&rig, &driver, 2).translation()).unwrap();
        assert_eq!(read(&device, None, AT), Ok(2), "adopted {adopted}: what the device had cached is gone");
    }
}
