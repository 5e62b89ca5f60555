//! The invalidation queue: waits, errors, devices.

use super::bench::*;
use crate::{
    Access, AtcSink, AtcSpan, DmaEngine, IommuModel, Outcome,
    vtd::{EventKind, VtdConfig},
};
use ioward_types::{DeviceControl, Iova, Mmio, Pasid, PhysAddr, Span};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

fn legacy() -> Bench {
    Bench::legacy(VtdConfig::legacy())
}

#[test]
fn a_wait_writes_its_32_bits_and_interrupts() {
    let bench = legacy();
    bench.put(STATUS, u64::MAX);
    bench.command([0x0000_0077_0000_0025, STATUS + 4]);
    assert_eq!(bench.get(STATUS), 0x0000_0077_ffff_ffff);
    assert!(bench.model.take_events().is_empty());
    // IF, masked out of reset: it waits for its mask.
    bench.model.write32(0xa4, 0x1234);
    bench.model.write32(0xa8, 0xfee0_1004);
    bench.command([0x15, 0]);
    assert_eq!((bench.model.read32(0x9c), bench.model.read32(0xa0)), (1, 0xc000_0000));
    bench.model.write32(0xa0, 0);
    let events = bench.model.take_events();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].kind, events[0].address, events[0].data),
        (EventKind::Invalidation, 0xfee0_1004, 0x1234)
    );
    // No other before the first is acknowledged.
    bench.command([0x15, 0]);
    assert!(bench.model.take_events().is_empty());
    bench.model.write32(0x9c, 1);
    bench.command([0x15, 0]);
    assert_eq!(bench.model.take_events().len(), 1);
    bench.clean();
}

#[test]
fn the_queue_wraps() {
    let bench = legacy();
    for _ in 0..600 {
        assert!(bench.wait());
    }
    assert_eq!(bench.model.read64(0x80), 600 * 16 % 0x1000);
    assert_eq!(bench.model.commands(), 600);
    bench.clean();
}

#[test]
fn an_illegal_descriptor_stops_the_queue_until_it_is_mended() {
    for (words, info) in [
        ([0xf, 0], 3),
        ([0x200 | 0x5, 0], 3),
        ([0x0000_0001_0000_1035, 0], 4), // a reserved bit of a wait
        ([0x02, 0], 4),                  // an IOTLB invalidation of granularity 0
        ([0x0005_0032, 0x5013], 4),      // beyond the largest mask
        ([0x0005_0032, 0x5080], 4),
        ([0x7, 0], 3), // of scalable mode
        ([0x9, 0], 3),
    ] {
        let bench = legacy();
        bench.command([0x12, 0]);
        bench.command(words);
        assert_eq!(bench.model.read32(0x34) & 0xff, 0x10, "{words:#x?}");
        assert_eq!(bench.model.read64(0xb0) & 0xf, info, "{words:#x?}");
        assert_eq!(bench.model.read64(0x80), 16, "the head is at it");
        bench.violated(&["VT-d 6.5.2.10"]);
        assert!(!bench.wait(), "the queue stands");
        // The descriptor is overwritten, the error acknowledged.
        bench.put(QUEUE + 16, 0x12);
        bench.put(QUEUE + 24, 0);
        bench.model.write32(0x34, 0x10);
        assert_eq!(bench.get(STATUS), 0x77);
        bench.clean();
    }
}

#[test]
fn tails_outside_the_queue_and_queues_outside_memory() {
    let bench = legacy();
    bench.model.write64(0x88, 0x1000);
    assert_eq!((bench.model.read32(0x34), bench.model.read64(0xb0)), (0x10, 1));
    bench.violated(&["VT-d 6.5.2.10"]);
    let bench = Bench::scalable(VtdConfig::default());
    bench.model.write64(0x88, 0x10);
    assert_eq!((bench.model.read32(0x34), bench.model.read64(0xb0)), (0x10, 6));
    bench.violated(&["VT-d 6.5.2.10"]);
    let bench = Bench::off(VtdConfig::legacy());
    bench.model.write64(0x90, 0x4000_0000);
    bench.model.write32(0x18, 0x0400_0000);
    bench.model.write64(0x88, 0x10);
    assert_eq!((bench.model.read32(0x34), bench.model.read64(0xb0)), (0x10, 2));
    bench.violated(&["VT-d 6.5.2.10"]);
}

#[test]
fn scalable_mode_needs_wide_descriptors() {
    let bench = Bench::off(VtdConfig::default());
    bench.model.write64(0x90, QUEUE);
    bench.model.write32(0x18, 0x0400_0000);
    assert!(bench.wait());
    bench.model.write64(0x20, ROOT | 0x400);
    bench.model.write32(0x18, 0x4400_0000);
    assert!(!bench.wait());
    assert_eq!((bench.model.read32(0x34), bench.model.read64(0xb0)), (0x10, 5));
    bench.violated(&["VT-d 6.5.2.10"]);
}

#[test]
fn errors_interrupt_once_until_they_are_acknowledged() {
    let bench = legacy();
    bench.model.write32(0x3c, 0x55);
    bench.model.write32(0x40, 0xfee0_0000);
    bench.model.write32(0x38, 0);
    bench.command([0xf, 0]);
    bench.model.wrong_completion(DEVICE);
    let events = bench.model.take_events();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].kind, events[0].data), (EventKind::Fault, 0x55));
    assert_eq!((bench.model.read32(0x34), bench.model.read64(0xb0) >> 48), (0x30, 8));
    bench.violated(&["VT-d 6.5.2.10"]);
}

#[test]
fn disabling_the_queue_starts_it_over() {
    let bench = legacy();
    assert!(bench.wait());
    bench.model.write32(0x18, 0x8000_0000);
    assert_eq!(bench.model.read64(0x80), 0);
    // The tail must be zero when it starts again.
    bench.model.write64(0x88, 0);
    bench.model.write32(0x18, 0x8400_0000);
    assert!(bench.wait());
    bench.clean();
    bench.model.write32(0x18, 0x8000_0000);
    bench.model.write32(0x18, 0x8400_0000);
    bench.violated(&["VT-d 6.5.2"]);
}

#[test]
fn a_hung_queue_goes_on_where_it_stopped() {
    let bench = legacy();
    bench.model.set_hung(true);
    assert!(!bench.wait());
    bench.model.set_hung(false);
    assert_eq!(bench.get(STATUS), 0x77);
    bench.clean();
}

#[test]
fn a_dropped_command_counts_as_done() {
    let bench = mapped();
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    bench.model.set_command_filter(Some(Box::new(|number, words| !(number == 0 && words[0] == 0x12))));
    bench.put(0x0110_3028, 0);
    bench.command([0x12, 0]);
    assert!(bench.wait());
    assert_eq!(bench.read(0x5000), Some(0x0120_0000));
    assert_eq!(bench.model.commands(), 2);
}

// ---- devices ----------------------------------------------------------------------------------------------------

struct Sink(Mutex<Vec<AtcSpan>>, AtomicBool);

impl AtcSink for Sink {
    fn invalidate(&self, what: AtcSpan) -> bool {
        self.0.lock().unwrap().push(what);
        self.1.load(Ordering::SeqCst)
    }
}

fn with_sink(config: VtdConfig, scalable: bool) -> (Bench, Arc<Sink>) {
    let bench = if scalable { Bench::scalable(config) } else { Bench::legacy(config) };
    let sink = Arc::new(Sink(Mutex::default(), AtomicBool::new(true)));
    bench.model.connect(DEVICE, sink.clone());
    (bench, sink)
}

#[test]
fn devices_are_told_what_to_forget() {
    let (bench, sink) = with_sink(VtdConfig::default(), true);
    bench.command([0x0000_0008_0000_0003, 0x5000]);
    assert!(sink.0.lock().unwrap().is_empty(), "not before the wait");
    bench.command([0x0000_0008_0000_0003, 0x7fff_ffff_ffff_f001]);
    bench.command([0x0000_0007_0008_0008, 0x7800]);
    bench.command([0x0000_0000_0008_0008, 0x7fff_ffff_ffff_f801]);
    assert!(bench.wait());
    let all = Span::inclusive(Iova(0), Iova(u64::MAX));
    let page = Span::inclusive(Iova(0x5000), Iova(0x5fff));
    let pages = Span::inclusive(Iova(0), Iova(0xffff));
    assert_eq!(
        *sink.0.lock().unwrap(),
        [
            AtcSpan { pasid: None, global: false, span: page },
            AtcSpan { pasid: None, global: false, span: all },
            AtcSpan { pasid: Some(Pasid(7)), global: false, span: pages },
            AtcSpan { pasid: Some(Pasid(0)), global: true, span: all },
        ]
    );
    bench.clean();
}

#[test]
fn a_device_that_does_not_answer_times_out() {
    let (bench, sink) = with_sink(VtdConfig::legacy(), false);
    sink.1.store(false, Ordering::SeqCst);
    bench.command([0x0000_0008_0000_0003, 0x5000]);
    assert!(!bench.wait());
    assert_eq!((bench.model.read32(0x34), bench.model.read64(0xb0) >> 32), (0x40, 8));
    assert_eq!(bench.model.read64(0x80), 32, "the wait was taken and dropped");
    sink.1.store(true, Ordering::SeqCst);
    assert!(!bench.wait(), "the queue stands");
    bench.model.write32(0x34, 0x40);
    assert_eq!(bench.get(STATUS), 0x77);
    bench.clean();
    // Nobody there is no answer either.
    bench.command([0x0000_0009_0000_0003, 0x5000]);
    assert!(!bench.wait());
    assert_eq!(bench.model.read64(0xb0) >> 32, 9);
}

#[test]
fn translation_requests_need_the_entry_to_allow_them() {
    let bench = mapped();
    let ahead = |at, access| bench.model.translate_ahead(&request(DEVICE, None, at, access));
    assert_eq!(ahead(0x5000, Access::Read), Outcome::Aborted);
    // AT 01, reason 0xd.
    assert_eq!(bench.fault(), Some([0x5000, 0xd000_000d_0000_0008]));
    assert_eq!(bench.model.translated(&request(DEVICE, None, 0x5000, Access::Read)), Outcome::Aborted);
    assert_eq!(bench.fault(), Some([0x5000, 0xe000_000d_0000_0008]));
    bench.context([0x0110_0005, 0x502]);
    bench.command([0x0000_0008_0005_0031, 0]);
    assert!(bench.wait());
    let to = Outcome::To { at: PhysAddr(0x0120_0000), page: 0x1000, writable: true };
    assert_eq!(ahead(0x5000, Access::Read), to);
    // What is not mapped is answered with no rights, and no fault.
    assert_eq!(ahead(0x6000, Access::Write), Outcome::Aborted);
    let straight = bench.model.translated(&request(DEVICE, None, 0x0120_0000, Access::Write));
    assert_eq!(reached(straight), Some(0x0120_0000));
    bench.clean();
}

#[test]
fn the_iotlb_is_invalidated_before_the_device() {
    for (first, second, right) in [
        ([0x0005_0032, 0x5000], [0x0000_0008_0000_0003, 0x5000], true),
        ([0x0000_0008_0000_0003, 0x5000], [0x0005_0032, 0x5000], false),
    ] {
        let bench = mapped();
        bench.context([0x0110_0005, 0x502]);
        let device = DmaEngine::new("device", DEVICE, Some(bench.model.clone()), bench.memory.clone(), true);
        device.ats(Some(12));
        device.read(None, Iova(0x5000), &mut [0; 8]).unwrap();
        bench.put(0x0110_3028, 0);
        bench.command(first);
        bench.command(second);
        assert!(bench.wait());
        assert_eq!(bench.memory.violations().take().is_empty(), right);
        // Twice is right again.
        bench.command([0x0000_0008_0000_0003, 0x5000]);
        assert!(bench.wait());
        assert!(device.read(None, Iova(0x5000), &mut [0; 8]).is_err());
        bench.memory.violations().assert_none();
    }
}
