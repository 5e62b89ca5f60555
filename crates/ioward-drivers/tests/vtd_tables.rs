//! Tables of the page-table engine behind the VT-d driver, on the model that judges both: what is planned is made, walked,
//! changed while devices run, and given back, in every mode and with every page size.
#![cfg(feature = "vtd")]

#[path = "support/put.rs"]
mod put;
mod vtd_machine;

use ioward_core::driver::{AtcTarget, Blocked, Driver, Flush, Plan, Requirements, Slot, Translation};
use ioward_models::{DmaEngine, SimPlatform, Visibility};
use ioward_pgtable::AnyTable;
use ioward_types::{
    Attributes, DeviceControl, Frames, Iova, Pasid, PhysAddr, Platform, Span, TableConfig, Tag,
};
use put::Put;
use vtd_machine::*;

struct Rig<'m> {
    machine: &'m Machine,
    driver: &'m Unit,
    config: TableConfig,
    table: AnyTable<SimPlatform>,
    tag: Tag,
    atc: Vec<AtcTarget>,
}

impl<'m> Rig<'m> {
    fn new(machine: &'m Machine, driver: &'m Unit, wish: &Requirements, atc: Vec<AtcTarget>) -> Self {
        let plan = driver.plan(wish).expect("a plan");
        let Plan::Tables(config) = plan else { panic!("VT-d has tables") };
        let table = AnyTable::new(machine.platform.clone(), &config).expect("a table of the planned shape");
        let tag = driver.tag(&plan).expect("a tag");
        Self { machine, driver, config, table, tag, atc }
    }

    fn install(&self, slot: &Slot, pasid: Option<Pasid>) {
        let what = Translation::Table { root: self.table.root(), config: &self.config, tag: self.tag };
        self.driver.put(slot, pasid, &what).expect("a table of ours");
    }

    fn flush(&self, span: Span<Iova>, tables_went: bool) {
        self.machine.platform.fence();
        let granule = self.config.granule();
        self.driver
            .flush(&[Flush { tag: self.tag, span, granule, tables_went, atc: &self.atc }])
            .expect("the unit answers");
    }

    fn map(&self, at: u64, to: PhysAddr, bytes: u64, how: Attributes) {
        let span = Span { start: to, bytes };
        // SAFETY: the device is a model, and what it reaches is the test's own.
        unsafe { self.table.map(Iova(at), span, how) }.expect("there is nothing yet");
        if self.driver.flush_after_map() {
            self.flush(Span { start: Iova(at), bytes }, false);
        } else {
            self.machine.platform.fence();
        }
    }

    fn unmap(&self, at: u64, bytes: u64) {
        let span = Span { start: Iova(at), bytes };
        let gone = self.table.unmap(span).expect("whole entries");
        let tables_went = gone.tables_went();
        self.flush(span, tables_went);
        // SAFETY: no walk is in the tables any more, confirmed so.
        unsafe { self.table.free(gone.detached) }
    }
}

/// A device writes at an address, and the byte arrives at another.
fn goes(machine: &Machine, device: &DmaEngine, pasid: Option<Pasid>, at: u64, to: u64, stamp: u8) {
    assert_eq!(device.write(pasid, Iova(at), &[stamp]), Ok(()), "{at:#x}");
    let mut byte = [0];
    machine.memory.dma_read("test", PhysAddr(to), &mut byte).expect("memory");
    assert_eq!(byte, [stamp], "{at:#x} does not go to {to:#x}");
}

fn life(machine: &Machine, driver: &Unit, wish: &Requirements, pasid: Option<Pasid>, ats: bool) {
    let nic = machine.device(NIC, ats);
    let atc = if ats { vec![AtcTarget { source: NIC, pasid }] } else { Vec::new() };
    let rig = Rig::new(machine, driver, wish, atc);
    let slot = claim(driver, NIC, wish.pasid_bits, ats);
    rig.install(&slot, pasid);
    if pasid.is_some() {
        nic.pasid(Some(wish.pasid_bits));
    }
    if ats {
        nic.ats(Some(12));
    }
    const MIB_2: u64 = 0x20_0000;
    let large = Frames::new(&machine.platform, MIB_2 as usize, MIB_2 as usize, PhysAddr(u64::MAX)).unwrap();
    let page = machine.page();
    let (large, page) = (large.phys(), page.phys());
    let top = (1u64 << rig.config.flat_bits()) - 0x1000;
    // The forbidden range above what MGAW reaches is no part of these modes.
    assert!(driver.forbidden().iter().all(|span| !span.contains(Iova(top))));
    for round in 0..3u8 {
        let stamp = |n: u8| round * 16 + n;
        // Lowest, highest, and one below a large page.
        for (n, at) in [0, 0x3fff_f000, top].into_iter().enumerate() {
            assert!(nic.write(pasid, Iova(at), &[0]).is_err(), "{at:#x}");
            rig.map(at, page, 0x1000, Attributes::READ_WRITE);
            goes(machine, &nic, pasid, at + 7, page.0 + 7, stamp(n as u8));
        }
        // One leaf where the unit has such, else 512.
        rig.map(0x4000_0000, large, MIB_2, Attributes::READ_WRITE);
        goes(machine, &nic, pasid, 0x4000_0000, large.0, stamp(5));
        goes(machine, &nic, pasid, 0x401f_ffff, large.0 + 0x1f_ffff, stamp(6));
        // Read-only is read-only.
        rig.map(0x5000_0000, page, 0x1000, Attributes::READ);
        assert!(nic.write(pasid, Iova(0x5000_0000), &[0]).is_err());
        assert_eq!(nic.read(pasid, Iova(0x5000_0000), &mut [0; 8]), Ok(()));
        // Taken away in two ways: leaves alone, and with the tables that the range covers.
        for (at, bytes) in
            [(0, 0x1000), (0x3fff_f000, 0x1000), (top, 0x1000), (0x4000_0000, MIB_2), (0x5000_0000, 0x1000)]
        {
            rig.unmap(at, bytes);
            assert!(nic.read(pasid, Iova(at), &mut [0; 8]).is_err(), "{at:#x}");
        }
        rig.unmap(0x4000_0000, 0x4000_0000);
        machine.settled();
    }
    // Pages come and go where tables have been, over and over.
    let mut seed = 7u64;
    let mut mapped = [false; 16];
    for _ in 0..200 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let n = (seed >> 40) as usize % mapped.len();
        let at = 0x0800_0000 * (n as u64 + 1) + (n as u64) * 0x1000;
        if mapped[n] {
            goes(machine, &nic, pasid, at, page.0, n as u8);
            match seed >> 60 & 1 {
                0 => rig.unmap(at, 0x1000),
                // The whole 2 MiB, and the table with it.
                _ => rig.unmap(at & !(MIB_2 - 1), MIB_2),
            }
        } else {
            rig.map(at, page, 0x1000, Attributes::READ_WRITE);
            goes(machine, &nic, pasid, at, page.0, n as u8 ^ 0xff);
        }
        mapped[n] = !mapped[n];
        let device = |at| nic.read(pasid, Iova(at), &mut [0; 1]).is_ok();
        assert_eq!(device(at), mapped[n]);
    }
    machine.settled();
    assert_eq!(driver.block(&slot, None), Blocked::Confirmed);
    nic.ats(None);
    assert_eq!(Driver::release(driver, slot, false), Blocked::Confirmed);
    driver.give_back(rig.tag).unwrap();
    drop(rig);
    machine.settled();
}

#[test]
fn tables_live_in_every_mode() {
    for (mode, config) in configs() {
        println!("{mode}");
        for visibility in [Visibility::Held, Visibility::Mixed(3)] {
            let machine = Machine::new(config.clone());
            machine.memory.set_visibility(visibility);
            let driver = machine.bring_up();
            life(&machine, &driver, &Requirements::default(), None, false);
        }
        let machine = Machine::new(config.clone());
        let driver = machine.bring_up();
        if config.device_tlb {
            life(&machine, &driver, &Requirements::default(), None, true);
        }
        if config.scalable {
            let wish = Requirements { pasid_bits: config.pasid_bits, ..Requirements::default() };
            for (pasid, ats) in [(None, false), (Some(Pasid(65)), false), (Some(Pasid(65)), true)] {
                life(&machine, &driver, &wish, pasid, ats);
            }
        }
    }
}

#[test]
fn narrow_members_and_dirty_tracking_get_tables_that_are_walked() {
    for (mode, config) in configs() {
        println!("{mode}");
        let machine = Machine::new(config);
        let driver = machine.bring_up();
        let narrow = Requirements { addr_bits: 32, ..Requirements::default() };
        life(&machine, &driver, &narrow, None, false);
        if driver.capabilities().dirty {
            let dirty = Requirements { dirty: true, ..Requirements::default() };
            life(&machine, &driver, &dirty, None, false);
        }
    }
}

#[test]
fn what_a_device_writes_is_dirty() {
    let machine = Machine::new(ioward_models::vtd::VtdConfig::default());
    let driver = machine.bring_up();
    let nic = machine.device(NIC, false);
    for wish in [
        Requirements { dirty: true, ..Requirements::default() },
        Requirements { dirty: true, pasid_bits: 20, ..Requirements::default() },
    ] {
        let rig = Rig::new(&machine, &driver, &wish, Vec::new());
        let slot = claim(&driver, NIC, wish.pasid_bits, false);
        rig.install(&slot, None);
        let page = machine.page().phys();
        rig.map(0x1000, page, 0x1000, Attributes::READ_WRITE);
        rig.map(0x2000, page, 0x1000, Attributes::READ_WRITE);
        assert_eq!(nic.write(None, Iova(0x1000), &[1]), Ok(()));
        assert_eq!(nic.read(None, Iova(0x2000), &mut [0]), Ok(()));
        let mut dirty = Vec::new();
        let span = Span { start: Iova(0x1000), bytes: 0x2000 };
        rig.table.harvest(span, |page, touched| dirty.push((page.start.0, touched.dirty))).unwrap();
        dirty.retain(|(_, dirty)| *dirty);
        assert_eq!(dirty, [(0x1000, true)], "{}", rig.config);
        assert_eq!(Driver::release(&driver, slot, false), Blocked::Confirmed);
        machine.settled();
    }
}
