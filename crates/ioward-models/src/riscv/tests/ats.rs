//! ATS: translations ahead, translated requests, invalidations of devices (2.6, 3.1.4).

use super::rig::*;
use crate::{
    Access, AtcSink, AtcSpan, DmaEngine, IommuModel, Outcome,
    riscv::{Features, PageResponse},
};
use ioward_types::{DeviceControl, Iova, Mmio, Pasid, SourceId, Span};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

const EN_ATS: u64 = 1 << 1;
const T2GPA: u64 = 1 << 3;

fn ahead(rig: &Rig, at: u64, access: Access) -> Option<(u64, u64, bool)> {
    match rig.iommu.translate_ahead(&request(5, None, at, access)) {
        Outcome::To { at, page, writable } => Some((at.0, page, writable)),
        _ => None,
    }
}

fn translated(rig: &Rig, at: u64) -> Option<u64> {
    to(rig.iommu.translated(&request(5, None, at, Access::Write)))
}

#[test]
fn ats_needs_en_ats() {
    let rig = Rig::first(Features::default());
    assert_eq!(ahead(&rig, 0x1000, Access::Read), None);
    assert_eq!(rig.fault(), Some([5 << 40 | 8 << 34 | 260, 0, 0x1000, 0]));
    assert_eq!(translated(&rig, DATA), None);
    assert_eq!(rig.fault(), Some([5 << 40 | 7 << 34 | 260, 0, DATA, 0]));
}

#[test]
fn translations_ahead_tell_sizes_and_rights() {
    let rig = Rig::first(Features::default());
    rig.put(rig.context_word(0), &[1 | EN_ATS]);
    rig.put(TABLES + 0x2018, &[page(DATA) & !0x84, page(DATA) & !0x80]);
    rig.put(TABLES + 0x1008, &[page(0x8020_0000)]);
    assert_eq!(ahead(&rig, 0x1008, Access::Read), Some((DATA + 8, 0x1000, true)));
    assert_eq!(ahead(&rig, 0x20_1000, Access::Write), Some((0x8020_1000, 0x20_0000, true)));
    assert_eq!(ahead(&rig, 0x3000, Access::Write), Some((DATA, 0x1000, false)), "read-only");
    assert_eq!(ahead(&rig, 0x4000, Access::Read), Some((DATA, 0x1000, false)), "not dirty");
    // Nothing granted is no fault; a bad table is one.
    assert_eq!((ahead(&rig, 0x9000, Access::Read), rig.fault()), (None, None));
    rig.put(TABLES + 0x1010, &[link(0x1000)]);
    assert_eq!((ahead(&rig, 0x40_0000, Access::Read), rig.cause()), (None, Some(5)));
    assert_eq!(translated(&rig, 0x1234_5678), Some(0x1234_5678), "translated requests pass");
    // Hardware sets D for those who ask to write.
    rig.put(rig.context_word(0), &[1 | EN_ATS | 1 << 8]);
    rig.fenced([INVAL_DDT, 0]);
    rig.fenced([VMA, 0]);
    assert_eq!(ahead(&rig, 0x4000, Access::Read), Some((DATA, 0x1000, false)));
    assert_eq!(ahead(&rig, 0x4000, Access::Write), Some((DATA, 0x1000, true)));
    assert_eq!(rig.read(TABLES + 0x2020), page(DATA));
}

#[test]
fn a_bare_device_gets_large_translations() {
    let rig = Rig::enabled(Features::default());
    rig.context(5, &[1 | EN_ATS, 0, 0, 0]);
    assert_eq!(ahead(&rig, 0x8012_3456, Access::Write), Some((0x8012_3456, 0x20_0000, true)));
}

#[test]
fn t2gpa_gives_guest_addresses_and_takes_them_back() {
    let rig = Rig::both(Features::default());
    rig.put(rig.context_word(0), &[1 | EN_ATS | T2GPA]);
    assert_eq!(ahead(&rig, 0x7008, Access::Write), Some((0x1008, 0x1000, true)));
    assert_eq!(translated(&rig, 0x1008), Some(DATA + 8));
    assert_eq!(translated(&rig, 0x9000), None);
    assert_eq!(rig.fault(), Some([5 << 40 | 7 << 34 | 23, 0, 0x9000, 0x9000]));
    rig.put(rig.context_word(0), &[1 | EN_ATS]);
    rig.fenced([INVAL_DDT, 0]);
    assert_eq!(ahead(&rig, 0x7008, Access::Write), Some((DATA + 8, 0x1000, true)));
}

#[derive(Default)]
struct Sink {
    seen: Mutex<Vec<AtcSpan>>,
    deaf: AtomicBool,
}

impl AtcSink for Sink {
    fn invalidate(&self, what: AtcSpan) -> bool {
        self.seen.lock().unwrap().push(what);
        !self.deaf.load(Ordering::SeqCst)
    }
}

#[test]
fn invalidations_reach_the_device_they_name() {
    let rig = Rig::first(Features::default());
    let (sink, far) = (Arc::new(Sink::default()), Arc::new(Sink::default()));
    rig.iommu.connect(SourceId(5), sink.clone());
    rig.iommu.connect(SourceId(0x2_0005), far.clone());
    rig.put(rig.context_word(0), &[1 | EN_ATS]);
    rig.command([0x004 | 5 << 40, 0x1_2345_6000]);
    rig.command([0x004 | 5 << 40, 0x1_2345_7000 | 1 << 11]);
    rig.command([0x004 | 5 << 40 | 1 << 32 | 9 << 12, 0x7fff_ffff_ffff_f800]);
    rig.command([0x004 | 5 << 40 | 1 << 32 | 9 << 12, 1]);
    rig.fence();
    // Another segment's device, whose identifier this directory has no place for: its answer is not let in.
    rig.command([0x004 | 5 << 40 | 2 << 56 | 1 << 33, 0]);
    rig.command([FENCE, 0]);
    assert_eq!(rig.iommu.read32(0x48) & 0xf00, 0x200);
    rig.iommu.write32(0x48, 0x201);
    let page = |start, bytes| Some(Span { start: Iova(start), bytes });
    let plain = AtcSpan { pasid: None, global: false, span: page(0x1_2345_6000, 0x1000) };
    let expected = [
        plain,
        // The lowest zero is bit 15: 64 KiB.
        AtcSpan { span: page(0x1_2340_0000 | 0x5_0000, 0x1_0000), ..plain },
        AtcSpan { pasid: Some(Pasid(9)), span: None, ..plain },
        AtcSpan { pasid: Some(Pasid(9)), global: true, span: page(0, 0x1000) },
    ];
    assert_eq!(*sink.seen.lock().unwrap(), expected);
    assert_eq!(far.seen.lock().unwrap().len(), 1);
    rig.command([0x004 | 5 << 40, 1]);
    rig.fenced([0x004 | 5 << 40, 2]);
    assert_eq!(rig.sections(), ["3.1.4", "3.1.4"], "G without PASID, reserved bits");
}

#[test]
fn a_device_that_does_not_answer_stops_the_fence() {
    let rig = Rig::first(Features::default());
    let sink = Arc::new(Sink::default());
    sink.deaf.store(true, Ordering::SeqCst);
    rig.iommu.connect(SourceId(5), sink.clone());
    rig.goes(0x1000);
    rig.put(TABLES + 0x2008, &[0]);
    rig.command([VMA, 0]);
    rig.command([FENCE, 0]);
    rig.command([0x004 | 5 << 40, 0]);
    rig.command([INVAL_DDT, 0]);
    rig.command([FENCE | AV, DATA >> 2]);
    rig.command([VMA, 0]);
    assert_eq!((rig.iommu.read32(0x48) & 0xf00, rig.iommu.read32(0x20)), (0x200, 4), "at the fence");
    assert_eq!((rig.goes(0x1000), rig.cause()), (None, Some(13)), "what has no timeout is completed");
    rig.iommu.write32(0x48, 0x201);
    assert_eq!((rig.iommu.read32(0x48) & 0xf00, rig.iommu.read32(0x20)), (0, 6), "the fence is tried again");
}

#[test]
fn answers_are_let_in_while_ats_is_enabled() {
    let rig = Rig::first(Features::default());
    let sink = Arc::new(Sink::default());
    rig.iommu.connect(SourceId(5), sink.clone());
    rig.put(rig.context_word(0), &[1 | EN_ATS]);
    rig.fenced([0x004 | 5 << 40, 0]);
    for tc in [1, 0] {
        rig.put(rig.context_word(0), &[tc]);
        rig.fenced([INVAL_DDT | DV | DID5, 0]);
        rig.command([0x004 | 5 << 40, 0]);
        rig.command([FENCE, 0]);
        assert_eq!(rig.iommu.read32(0x48) & 0xf00, 0x200, "tc {tc}");
        rig.iommu.write32(0x48, 0x201);
    }
    assert_eq!(sink.seen.lock().unwrap().len(), 3, "the device forgets all the same");
}

#[test]
fn the_iommu_forgets_before_the_device() {
    let rig = Rig::first(Features::default());
    rig.put(rig.context_word(0), &[1 | EN_ATS]);
    rig.goes(0x1000);
    rig.command([VMA | AV, 1 << 10]);
    rig.command([0x004 | 5 << 40, 0x1000]);
    assert_eq!(rig.sections(), ["6.3.7"], "no fence between");
    rig.fence();
    rig.goes(0x1000);
    rig.fenced([VMA | AV, 1 << 10]);
    rig.fenced([0x004 | 5 << 40, 0x1000]);
}

#[test]
fn a_device_with_a_cache() {
    let rig = Rig::first(Features::default());
    rig.put(rig.context_word(0), &[1 | EN_ATS]);
    let device = DmaEngine::new("device", SourceId(5), Some(rig.iommu.clone()), rig.memory.clone(), true);
    device.ats(Some(12));
    device.write(None, Iova(0x1000), &[7]).unwrap();
    assert_eq!(rig.read(DATA), 7);
    rig.put(TABLES + 0x2008, &[0]);
    rig.fenced([VMA, 0]);
    device.write(None, Iova(0x1000), &[8]).unwrap();
    assert_eq!(rig.read(DATA), 8, "from its own cache");
    rig.fenced([0x004 | 5 << 40, 0x1000]);
    assert!(device.write(None, Iova(0x1000), &[9]).is_err());
    assert_eq!((rig.read(DATA), rig.cause()), (8, Some(15)));
}

#[test]
fn software_answers_page_requests() {
    let rig = Rig::enabled(Features::default());
    rig.command([0x084 | 5 << 40, 0x0000_f1ff_0000_0000]);
    rig.command([0x084 | 5 << 40 | 1 << 32 | 9 << 12, 0x0000_1003_0000_0000]);
    let answer = |pasid, group, code| PageResponse { source: SourceId(5), pasid, group, code };
    assert_eq!(rig.iommu.take_responses(), [answer(None, 0x1ff, 15), answer(Some(Pasid(9)), 3, 1)]);
    rig.command([0x084 | 5 << 40, 1]);
    assert_eq!(rig.sections(), ["3.1.4"], "reserved bits");
}
