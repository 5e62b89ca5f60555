use super::rig::{DATA, Rig, STE_S1, STE_WORD1, STREAMS, request};
use crate::{Access, AtcSink, AtcSpan, DmaEngine, DmaError, IommuModel, Outcome, smmuv3::Features};
use ioward_types::{DeviceControl, Iova, Mmio, PhysAddr, SourceId, Span};
use std::sync::{Arc, Mutex};

#[test]
fn each_config_does_what_it_says() {
    let rig = Rig::enabled(Features::default());
    assert_eq!(rig.goes(0x1000), None);
    assert_eq!(rig.event(), Some([0x0000_0005_0000_0004, 0, 0, 0]), "V is 0: C_BAD_STE");
    let rig = Rig::enabled(Features::default());
    rig.put(STREAMS + 5 * 64, &[0x1]);
    assert_eq!(rig.goes(0x1000), None);
    assert_eq!(rig.event(), None, "abort is silent");
    let rig = Rig::enabled(Features::default());
    rig.put(STREAMS + 5 * 64, &[0x9]);
    assert_eq!(rig.goes(0x1000), Some(0x1000), "bypass");
    assert_eq!(rig.goes(1 << 48), None);
    assert_eq!(rig.event().map(|e| (e[0] & 0xff, e[1])), Some((0x11, 0x0000_0208_0000_0000)));
    assert_eq!(rig.access(5, Some(1), 0x1000, Access::Read), Outcome::Aborted);
    assert_eq!(rig.event().map(|e| e[0]), Some(0x0000_0005_0000_1008), "no substream without stage 1");
}

#[test]
fn an_illegal_entry_is_a_bad_ste() {
    for (features, word0, word1) in [
        (Features { stage1: false, ..Features::default() }, STE_S1, STE_WORD1),
        (Features { stage2: false, ..Features::default() }, 0xd, STE_WORD1),
        (Features::default(), STE_S1 | 11 << 59, STE_WORD1),
        (Features { two_level_cds: false, ..Features::default() }, STE_S1 | 2 << 59 | 1 << 4, STE_WORD1),
        (Features::default(), STE_S1, STE_WORD1 | 1 << 27),
        (Features::default(), STE_S1, STE_WORD1 & !(3 << 28) | 2 << 28),
        (Features { hyp: true, ..Features::default() }, STE_S1, STE_WORD1 | 1 << 30),
        (Features::default(), 0x0001_0000_0000_000b, STE_WORD1),
    ] {
        let rig = Rig::stage1(features);
        rig.put(STREAMS + 5 * 64, &[word0, word1]);
        assert_eq!(rig.goes(0x1000), None);
        assert_eq!(rig.event().map(|e| e[0]), Some(0x0000_0005_0000_0004), "{word0:#x} {word1:#x}");
    }
}

#[test]
fn streams_outside_the_table_are_recorded_if_asked() {
    let rig = Rig::enabled(Features::default());
    assert_eq!(rig.access(16, None, 0, Access::Read), Outcome::Aborted);
    assert_eq!(rig.event().map(|e| e[0]), Some(0x0000_0010_0000_0002));
    rig.smmu.preset(0x2c, 0);
    assert_eq!(rig.access(16, None, 0, Access::Read), Outcome::Aborted);
    assert_eq!(rig.event(), None, "RECINVSID is 0");
    rig.smmu.preset(0x80, 0x4000_0000);
    assert_eq!(rig.access(3, None, 0, Access::Read), Outcome::Aborted);
    assert_eq!(rig.event(), Some([0x0000_0003_0000_0003, 0, 0, 0x4000_00c0]), "F_STE_FETCH");
}

#[test]
fn two_level_stream_tables_are_walked() {
    let rig = Rig::stage1(Features::default());
    // 16 bits, SPLIT 8: L1STD 2 spans 2^5 entries at 0x8008_0000.
    rig.smmu.preset(0x88, 0x0001_0210);
    rig.put(STREAMS + 5 * 64, &[0, 0]);
    rig.put(STREAMS + 2 * 8, &[0x8008_0006]);
    rig.put(0x8008_0000 + 3 * 64, &[STE_S1, STE_WORD1]);
    assert!(matches!(rig.access(0x203, None, 0x1000, Access::Read), Outcome::To { at, .. } if at.0 == DATA));
    for (source, number) in [(0x220, 2), (0x302, 2), (0x204, 4)] {
        assert_eq!(rig.access(source, None, 0x1000, Access::Read), Outcome::Aborted);
        assert_eq!(rig.event().map(|e| e[0]), Some(u64::from(source) << 32 | number), "{source:#x}");
    }
    rig.put(STREAMS + 3 * 8, &[0x8008_0006]);
    assert_eq!(rig.access(0x303, None, 0x1000, Access::Read), Outcome::Aborted, "L1STD 3 is cached, Span 0");
    rig.synced([0x0000_0303_0000_0003, 1]);
    assert_eq!(rig.access(0x303, None, 0x1000, Access::Read), Outcome::Aborted, "Leaf = 1 keeps it");
    rig.synced([0x0000_0303_0000_0003, 0]);
    assert!(matches!(rig.access(0x303, None, 0x1000, Access::Read), Outcome::To { .. }));
}

#[test]
fn ats_is_for_those_who_may() {
    let rig = Rig::stage1(Features::default());
    let ask = request(5, None, 0x1000, Access::Read);
    assert!(matches!(
        rig.smmu.translate_ahead(&ask),
        Outcome::To { at, page: 0x1000, writable: true } if at.0 == DATA
    ));
    assert!(matches!(rig.smmu.translated(&request(5, None, DATA, Access::Write)), Outcome::To { .. }));
    assert_eq!(rig.smmu.translate_ahead(&request(5, None, 0x7000, Access::Read)), Outcome::Aborted);
    assert_eq!(rig.event(), None, "a translation request that fails is no fault");
    let rig = Rig::stage1(Features::default());
    rig.put(STREAMS + 5 * 64, &[STE_S1, STE_WORD1 & !(3 << 28)]);
    assert_eq!(rig.smmu.translate_ahead(&ask), Outcome::Aborted);
    assert_eq!(rig.event().map(|e| (e[0], e[2])), Some((0x0000_0005_0000_0005, 0x1000)), "F_BAD_ATS_TREQ");
    assert_eq!(rig.smmu.translated(&request(5, None, DATA, Access::Read)), Outcome::Aborted);
    assert_eq!(
        rig.event(),
        Some([0x0000_0005_0000_0007, 0x0000_0008_0000_0000, DATA, 0]),
        "F_TRANSL_FORBIDDEN"
    );
    rig.smmu.preset(0x20, 0xd);
    assert!(
        matches!(rig.smmu.translated(&request(5, None, DATA, Access::Read)), Outcome::To { .. }),
        "ATSCHK 0"
    );
    rig.smmu.preset(0x20, 0xc);
    assert_eq!(rig.smmu.translated(&request(5, None, DATA, Access::Read)), Outcome::Aborted, "SMMUEN 0");
    assert_eq!(rig.event().map(|e| e[0] & 0xff), Some(0x07));
}

#[test]
fn a_device_keeps_what_it_was_told_until_atc_inv() {
    let rig = Rig::stage1(Features::default());
    let smmu: Arc<dyn IommuModel> = rig.smmu.clone();
    let device = DmaEngine::new("nic", SourceId(5), Some(smmu), rig.memory.clone(), true);
    device.ats(Some(12));
    device.write(None, Iova(0x1000), b"one").unwrap();
    rig.put(0x8004_3008, &[0]);
    rig.synced([0x0007_0000_0000_0012, 0x1001]);
    assert_eq!(rig.goes(0x1000), None, "the SMMU has forgotten");
    rig.event();
    device.write(None, Iova(0x1000), b"two").unwrap();
    assert_eq!(rig.read(DATA) & 0xff_ffff, 0x6f7774, "the device has not");
    rig.synced([0x0000_0005_0000_0040, 0x2000]);
    device.write(None, Iova(0x1000), b"two").expect("another page");
    rig.command([0x0000_0005_0000_0040, 0x1000]);
    device.write(None, Iova(0x1000), b"two").expect("not completed");
    rig.command([0x46, 0]);
    assert_eq!(device.write(None, Iova(0x1000), b"two"), Err(DmaError::Aborted(Iova(0x1000))));
}

struct Spans(Mutex<Vec<AtcSpan>>);

impl AtcSink for Spans {
    fn invalidate(&self, what: AtcSpan) -> bool {
        self.0.lock().unwrap().push(what);
        true
    }
}

#[test]
fn atc_inv_names_a_span() {
    let rig = Rig::stage1(Features::default());
    let sink = Arc::new(Spans(Mutex::default()));
    rig.smmu.connect(SourceId(5), sink.clone());
    rig.command([0x0000_0005_0000_0040, 0x1234_5003]);
    rig.command([0x0000_0005_0000_3a40, 0x34]);
    rig.synced([0x0000_0006_0000_0040, 0x34]);
    let spans = sink.0.lock().unwrap().clone();
    assert_eq!(spans.len(), 2);
    assert_eq!(spans[0].span, Some(Span { start: Iova(0x1234_0000), bytes: 0x8000 }));
    assert_eq!((spans[0].pasid, spans[0].global), (None, false));
    assert_eq!((spans[1].pasid.map(|p| p.0), spans[1].global, spans[1].span), (Some(3), true, None));
}

#[test]
fn page_requests_are_queued_and_answered() {
    let rig = Rig::stage1(Features::default());
    rig.smmu.preset(0xc0, 0x8000_8002);
    assert!(!rig.smmu.page_request(&request(5, Some(3), 0x7000, Access::Write), 0x1a, true), "PRIQEN is 0");
    rig.smmu.preset(0x20, 0x1f);
    assert!(rig.smmu.page_request(&request(5, Some(3), 0x7000, Access::Write), 0x1a, true));
    assert_eq!(rig.smmu.read32(0x100c8), 1);
    // SSV, Last, W; SubstreamID 3; StreamID 5. Page address and group.
    assert_eq!((rig.read(0x8000_8000), rig.read(0x8000_8008)), (0xe000_0003_0000_0005, 0x701a));
    rig.synced([0x0000_0005_0000_3841, 0x201a]);
    let answers = rig.smmu.take_responses();
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].group, answers[0].response, answers[0].pasid.map(|p| p.0)), (0x1a, 2, Some(3)));
    for _ in 0..3 {
        assert!(rig.smmu.page_request(&request(5, None, 0x7000, Access::Read), 0, false));
    }
    assert!(!rig.smmu.page_request(&request(5, None, 0x7000, Access::Read), 0, false), "full");
    assert_eq!(rig.smmu.read32(0x100c8), 0x8000_0004, "OVFLG");
}

#[test]
fn el2_streams_have_neither_asid_nor_vmid() {
    let rig = Rig::stage1(Features { hyp: true, ..Features::default() });
    rig.put(STREAMS + 5 * 64, &[STE_S1, STE_WORD1 | 2 << 30]);
    assert_eq!(rig.goes(0x1000), Some(DATA));
    rig.put(0x8004_3008, &[0]);
    rig.synced([0x30, 0]);
    assert_eq!(rig.goes(0x1000), Some(DATA), "NSNH_ALL is not for EL2");
    rig.synced([0x22, 0x1001]);
    assert_eq!(rig.goes(0x1000), None, "EL2_VA");
    // With E2H there is an ASID.
    let rig = Rig::stage1(Features { hyp: true, ..Features::default() });
    rig.smmu.preset(0x2c, 0x3);
    rig.put(STREAMS + 5 * 64, &[STE_S1, STE_WORD1 | 2 << 30]);
    assert_eq!(rig.goes(0x1000), Some(DATA));
    rig.put(0x8004_3008, &[0]);
    rig.synced([0x0008_0000_0000_0021, 0]);
    assert_eq!(rig.goes(0x1000), Some(DATA), "EL2_ASID of another ASID");
    rig.synced([0x0007_0000_0000_0021, 0]);
    assert_eq!(rig.goes(0x1000), None, "EL2_ASID");
    let rig = Rig::stage1(Features::default());
    rig.command([0x20, 0]);
    assert_eq!(rig.smmu.read32(0x9c), 0x0100_0000, "CERROR_ILL without Hyp");
}

#[test]
fn walks_that_do_not_snoop_see_what_was_cleaned() {
    for (cr1, snoops) in [(0xd75, true), (0x000, false)] {
        let rig = Rig::new(Features::default());
        rig.memory.set_incoherent(true);
        let platform = crate::SimPlatform::new(rig.memory.clone());
        rig.smmu.preset(0x28, cr1);
        rig.smmu.preset(0x80, STREAMS);
        rig.smmu.preset(0x88, 4);
        rig.smmu.preset(0x20, 0x1);
        // SAFETY: the rig's frames stay allocated, and only the model reads them.
        unsafe { ioward_types::hw::store64(&platform, PhysAddr(STREAMS + 5 * 64), 0x9) };
        assert_eq!(rig.goes(0x1000).is_some(), snoops, "CR1 {cr1:#x}");
    }
}
