//! What the unit remembers, and which command makes it forget.

use super::bench::*;
use crate::{Access, DmaEngine, IommuModel, Visibility, amdvi::AmdViConfig};
use ioward_types::{DeviceControl, Frames, Iova, Mmio, PhysAddr, Platform, SourceId};

const PAGE: [u64; 2] = [0x3000_0005_0000_0000, 0x5000];
const ALL_OF_DOMAIN: [u64; 2] = [0x3000_0005_0000_0000, 0x7fff_ffff_ffff_f003];
const DEVICE_ENTRY: [u64; 2] = [0x2000_0000_0000_0008, 0];
const EVERYTHING: [u64; 2] = [0x8000_0000_0000_0000, 0];

fn mapped() -> Bench {
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench
}

#[test]
fn an_unmapped_page_stays_reachable_until_its_invalidation_completes() {
    let bench = mapped();
    bench.put(0x0110_2028, 0);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000), "stale");
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000), "a wait alone forgets nothing");
    bench.command(PAGE);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000), "issued is not completed");
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), None);
    bench.memory.violations().assert_none();
}

#[test]
fn an_eager_unit_forgets_at_once() {
    let bench = Bench::new(AmdViConfig { lazy: false, ..AmdViConfig::default() });
    three_levels(&bench);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.put(0x0110_2028, 0);
    bench.command(PAGE);
    assert_eq!(bench.read(0x5000), None);
}

#[test]
fn eviction_may_hide_a_missing_invalidation_and_is_not_the_default() {
    let bench = mapped();
    bench.put(0x0110_2028, 0);
    bench.model.evict();
    assert_eq!(bench.read(0x5000), None);
    bench.memory.violations().assert_none();
}

#[test]
fn only_the_right_invalidation_helps() {
    for (words, helps) in [
        ([0x3000_0006_0000_0000, 0x7fff_ffff_ffff_f003], false), // another domain
        ([0x3000_0005_0000_0000, 0x6000], false),                // another page
        ([0x3000_0005_0000_0000, 0x4001], true),                 // 8 KiB at 0x4000
        ([0x3000_0005_0000_0000, 0x6001], false),                // 8 KiB at 0x6000
        ([0x3000_0005_0000_0000, 0x3001], true),                 // 32 KiB at 0
        ([0x3000_0005_0000_0001, 0x5004], false),                // GN: PASID 1
        (DEVICE_ENTRY, false),
        ([0x5000_0000_0000_0008, 0], false),
        (ALL_OF_DOMAIN, true),
        (EVERYTHING, true),
    ] {
        let bench = mapped();
        bench.put(0x0110_2028, 0);
        bench.command(words);
        assert!(bench.wait());
        assert_eq!(bench.read(0x5000).is_none(), helps, "{words:#x?}");
        bench.memory.violations().assert_none();
    }
}

#[test]
fn directory_entries_are_forgotten_only_with_pde() {
    let bench = mapped();
    // The table of level 1 is replaced; its old contents stay in memory.
    bench.put(0x0110_3028, 0x6000_0000_0121_0001);
    bench.put(0x0110_1000, 0x6000_0000_0110_3201);
    bench.command(PAGE);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000), "through the old link");
    bench.model.audit(true);
    bench.violated(&["48882 §2.4.3"]);
    // Nor does another page's PDE.
    bench.command([0x3000_0005_0000_0000, 0x20_0002]);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.command([0x3000_0005_0000_0000, 0x5002]);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0121_0000));
    bench.model.audit(true);
    bench.memory.violations().assert_none();
}

#[test]
fn device_entries_are_forgotten_only_on_their_own_command() {
    let bench = mapped();
    bench.entry(DEVICE, [0x3, 0, 0, 0]);
    bench.command(ALL_OF_DOMAIN);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.model.audit(false);
    bench.violated(&["48882 §2.4.2"]);
    bench.command([0x2000_0000_0000_0009, 0]);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000), "another device");
    bench.command(DEVICE_ENTRY);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), None);
    bench.model.audit(false);
    bench.memory.violations().assert_none();
}

#[test]
fn invalidating_everything_reaches_device_entries_too() {
    let bench = mapped();
    bench.entry(DEVICE, [0x3, 0, 0, 0]);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.command(EVERYTHING);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), None);
    bench.memory.violations().assert_none();
}

#[test]
fn an_entry_that_passes_through_is_cached_too() {
    let bench = Bench::new(AmdViConfig::default());
    assert_eq!(bench.read(0x5000), Some(0x5000));
    three_levels(&bench);
    assert_eq!(bench.read(0x5000), Some(0x5000), "still");
    bench.command(DEVICE_ENTRY);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.clean();
}

#[test]
fn devices_of_one_domain_share_translations() {
    let bench = mapped();
    // The same domain with another table: the text forbids it, and hardware takes what it has.
    bench.put(0x0114_0028, 0x6000_0000_0121_0001);
    bench.entry(SourceId(9), [0x6000_0000_0114_0203, 0x5, 0, 0]);
    assert_eq!(reached(bench.request(SourceId(9), None, 0x5000, Access::Read)), Some(0x0120_0000));
    bench.model.audit(true);
    bench.violated(&["48882 §2.2.2.1"]);
    bench.entry(SourceId(10), [0x6000_0000_0114_0203, 0x6, 0, 0]);
    assert_eq!(reached(bench.request(SourceId(10), None, 0x5000, Access::Read)), Some(0x0121_0000));
}

#[test]
fn what_is_not_present_is_cached_only_with_np_cache() {
    for np_cache in [false, true] {
        let bench = Bench::new(AmdViConfig { np_cache, ..AmdViConfig::default() });
        three_levels(&bench);
        assert_eq!(bench.read(0x6000), None);
        bench.put(0x0110_2030, 0x6000_0000_0121_0001);
        assert_eq!(bench.read(0x6000).is_some(), !np_cache);
        bench.command([0x3000_0005_0000_0000, 0x6000]);
        assert!(bench.wait());
        assert_eq!(bench.read(0x6000), Some(0x0121_0000));
        bench.memory.violations().assert_none();
    }
}

#[test]
fn guest_entries_are_forgotten_by_pasid() {
    let bench = Bench::new(AmdViConfig::default());
    for pasid in [3u64, 7] {
        bench.put(0x0110_0000 + pasid * 8, 0x0111_0001);
    }
    for (at, value) in [(0x0111_0000, 0x0111_1007), (0x0111_1000, 0x0111_2007), (0x0111_2000, 0x0111_3007)] {
        bench.put(at, value);
    }
    bench.put(0x0111_3028, 0x0120_0067);
    bench.entry(DEVICE, [0x6080_0000_0000_0003, 0x0220_0005, 0, 0]);
    let of = |pasid| reached(bench.request(DEVICE, Some(pasid), 0x5000, Access::Read));
    assert_eq!((of(3), of(7)), (Some(0x0120_0000), Some(0x0120_0000)));
    bench.put(0x0111_3028, 0);
    bench.command([0x3000_0005_0000_0007, 0x5004]);
    assert!(bench.wait());
    assert_eq!((of(3), of(7)), (Some(0x0120_0000), None), "GN, PASID 7");
    // Guest physical: the page that PASID 3's translation leads to.
    bench.command([0x3000_0005_0000_0000, 0x5000]);
    assert!(bench.wait());
    assert_eq!(of(3), Some(0x0120_0000), "0x5000 is no guest physical address of it");
    bench.command([0x3000_0005_0000_0000, 0x0120_0000]);
    assert!(bench.wait());
    assert_eq!(of(3), None);
    // A guest CR3 entry.
    bench.put(0x0111_3028, 0x0120_0067);
    assert_eq!(of(7), Some(0x0120_0000));
    bench.put(0x0110_0038, 0);
    bench.command([0x3000_0005_0000_0007, 0x7fff_ffff_ffff_f005]);
    assert!(bench.wait());
    assert_eq!(of(7), Some(0x0120_0000), "without PDE the entry is kept");
    bench.command([0x3000_0005_0000_0007, 0x7fff_ffff_ffff_f007]);
    assert!(bench.wait());
    assert_eq!(of(7), None);
    bench.memory.violations().assert_none();
}

#[test]
fn poisoned_caches_lead_astray_until_they_are_invalidated() {
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    bench.model.poison();
    let astray = |what: &str| {
        assert_ne!(bench.read(0x5000), Some(0x0120_0000));
        let violations = bench.memory.violations().take();
        assert!(violations.len() == 1 && violations[0].what.contains(what), "{violations:?}");
    };
    astray("device table entry");
    bench.command(PAGE);
    assert!(bench.wait());
    astray("device table entry");
    bench.command(DEVICE_ENTRY);
    assert!(bench.wait());
    // The page has been invalidated, but not the directory entries that lead to it.
    astray("translation");
    bench.command(ALL_OF_DOMAIN);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.clean();
    bench.entry(SourceId(9), [0x6000_0000_0110_0603, 0x6, 0, 0]);
    bench.command([0x2000_0000_0000_0009, 0]);
    assert!(bench.wait());
    bench.request(SourceId(9), None, 0x5000, Access::Read);
    bench.violated(&["48882 §2.4"]);
    bench.model.poison();
    bench.command(EVERYTHING);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.clean();
}

#[test]
fn a_table_freed_before_its_invalidation_is_noticed() {
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    let table = Frames::new(&bench.platform, 4096, 4096, PhysAddr(u64::MAX)).unwrap();
    table.store64(0x28, 0x6000_0000_0120_0001);
    bench.put(0x0110_1000, 0x6000_0000_0000_0201 | table.phys().0);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.put(0x0110_1000, 0);
    // SAFETY: the model is the only hardware, and noticing this is what it is for.
    unsafe { table.free() };
    bench.read(0x5000);
    bench.violated(&["48882 §2.4.3"]);
    // A walk through the cached link.
    bench.read(0x6000);
    bench.violated(&["use after free"]);
    bench.command(ALL_OF_DOMAIN);
    assert!(bench.wait());
    assert_eq!((bench.read(0x5000), bench.read(0x6000)), (None, None));
    bench.memory.violations().assert_none();
}

#[test]
fn a_store_without_its_barrier_is_not_seen() {
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    bench.memory.set_visibility(Visibility::Held);
    // SAFETY: the bench allocated the page and nothing else uses it.
    unsafe { ioward_types::hw::store64(&bench.platform, PhysAddr(0x0110_2030), 0x6000_0000_0121_0001) };
    assert_eq!(bench.read(0x6000), None);
    bench.platform.publish();
    assert_eq!(bench.read(0x6000), Some(0x0121_0000));
}

/// A device with a translation cache, told to use it, behind the table of [`three_levels`].
fn with_atc(bench: &Bench) -> DmaEngine {
    three_levels(bench);
    bench.entry(DEVICE, [0x6000_0000_0110_0603, 0x1_0000_0005, 0, 0]);
    let device = DmaEngine::new("nic", DEVICE, Some(bench.model.clone()), bench.memory.clone(), true);
    device.ats(Some(12));
    device.write(None, Iova(0x5000), b"one").unwrap();
    device
}

#[test]
fn the_devices_own_cache_is_reached_by_its_command() {
    let bench = Bench::new(AmdViConfig::default());
    let device = with_atc(&bench);
    bench.put(0x0110_2028, 0);
    bench.command(PAGE);
    assert!(bench.wait());
    device.write(None, Iova(0x5000), b"two").unwrap();
    assert_eq!(bench.get(0x0120_0000) & 0xff_ffff, 0x6f_7774, "from the device's cache");
    bench.command([0x4000_0008_2000_0008, 0x5000]);
    assert!(device.write(None, Iova(0x5000), b"any").is_ok(), "issued is not completed");
    assert!(bench.wait());
    assert!(device.write(None, Iova(0x5000), b"any").is_err());
    bench.memory.violations().assert_none();
}

#[test]
fn the_devices_cache_must_be_told_after_the_units() {
    let bench = Bench::new(AmdViConfig::default());
    let _device = with_atc(&bench);
    bench.put(0x0110_2028, 0);
    bench.command([0x4000_0008_2000_0008, 0x5000]);
    bench.command(PAGE);
    assert!(bench.wait());
    bench.violated(&["48882 §2.4.4"]);
    // In the right order, and twice for good measure.
    let bench = Bench::new(AmdViConfig::default());
    let _device = with_atc(&bench);
    bench.put(0x0110_2028, 0);
    for words in [PAGE, [0x4000_0008_2000_0008, 0x5000], PAGE, [0x4000_0008_2000_0008, 0x5000]] {
        bench.command(words);
    }
    assert!(bench.wait());
    bench.memory.violations().assert_none();
}

#[test]
fn a_device_that_does_not_answer_times_out_or_stalls() {
    let bench = Bench::new(AmdViConfig::default());
    let device = with_atc(&bench);
    device.set_deaf(true);
    bench.command([0x4000_0008_2000_0008, 0x5000]);
    assert!(bench.wait());
    assert_eq!(bench.event(), Some([0x7000_0000_0000_0008, COMMANDS]));
    // InvTimeOut zero: for ever.
    bench.model.write64(0x0018, 0x1_141d);
    bench.command([0x4000_0008_2000_0008, 0x5000]);
    assert!(!bench.wait());
    assert!(!bench.wait());
    assert_eq!(bench.model.read64(0x2020) & 0x10, 0x10, "it runs, and does not get on");
    bench.memory.violations().assert_none();
}

#[test]
fn a_unit_without_its_own_snooping_sees_what_was_cleaned() {
    let bench = Bench::off(AmdViConfig { coherent: false, ..AmdViConfig::default() });
    bench.memory.set_incoherent(true);
    let table = Frames::new(&bench.platform, 4096, 4096, PhysAddr(u64::MAX)).unwrap();
    table.clean(0, 4096);
    bench.entry(DEVICE, [0x6000_0000_0000_0203 | table.phys().0, 0x5, 0, 0]);
    bench.model.preset(&[(0x0000, 0x0100_0003), (0x0018, 0x401)]);
    table.store64(0x28, 0x6000_0000_0120_0001);
    assert_eq!(bench.read(0x5000), None);
    table.clean(0x28, 8);
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
}

#[test]
fn snoop_disable_makes_one_devices_walks_incoherent() {
    let bench = Bench::new(AmdViConfig::default());
    bench.memory.set_incoherent(true);
    let table = Frames::new(&bench.platform, 4096, 4096, PhysAddr(u64::MAX)).unwrap();
    table.clean(0, 4096);
    table.store64(0x28, 0x6000_0000_0120_0001);
    bench.entry(DEVICE, [0x6000_0000_0000_0203 | table.phys().0, 0x40_0000_0005, 0, 0]);
    bench.entry(SourceId(9), [0x6000_0000_0000_0203 | table.phys().0, 0x6, 0, 0]);
    assert_eq!(bench.read(0x5000), None, "SD");
    assert_eq!(reached(bench.request(SourceId(9), None, 0x5000, Access::Read)), Some(0x0120_0000));
}

#[test]
fn the_model_is_an_iommu_to_devices() {
    let bench = Bench::new(AmdViConfig::default());
    three_levels(&bench);
    let iommu: std::sync::Arc<dyn IommuModel> = bench.model.clone();
    let device = DmaEngine::new("disk", DEVICE, Some(iommu), bench.memory.clone(), false);
    device.write(None, Iova(0x5ffe), b"ab").unwrap();
    assert_eq!(bench.get(0x0120_0ff8) >> 48, 0x6261);
    assert!(device.write(None, Iova(0x5ffe), b"abc").is_err(), "the third byte is on the next page");
}
