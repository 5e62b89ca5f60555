//! Page requests and their answers.

use super::bench::*;
use crate::vtd::{Answer, EventKind, PageRequest, VtdConfig};
use ioward_types::{Iova, Mmio, Pasid};

const ASK: PageRequest = PageRequest {
    source: DEVICE,
    pasid: Some(Pasid(7)),
    at: Iova(0x1234_5678),
    read: true,
    write: true,
    group: 0x1a5,
    last: true,
};

fn asked() -> Bench {
    let bench = Bench::scalable(VtdConfig::default());
    bench.model.write64(0xd0, REQUESTS);
    bench.model.write32(0xe0, 0);
    bench
}

#[test]
fn a_request_is_queued_and_answered() {
    let bench = asked();
    assert!(bench.model.page_request(&ASK));
    assert_eq!(bench.model.read64(0xc8), 0x20);
    let words = [0, 8, 16, 24].map(|at| bench.get(REQUESTS + at));
    assert_eq!(words, [0x0000_0007_0008_0101, 0x1234_5d2f, 0, 0]);
    assert_eq!(bench.model.read32(0xdc), 1);
    assert_eq!(
        bench.model.take_events().iter().map(|e| e.kind).collect::<Vec<_>>(),
        [EventKind::PageRequest]
    );
    bench.model.write64(0xc0, 0x20);
    bench.model.write32(0xdc, 1);
    // Invalid request, PP, PASID 7, group 0x1a5.
    bench.command([0x0000_0007_0008_1019, 0xd2c]);
    let answer = Answer { source: DEVICE, pasid: Some(Pasid(7)), group: 0x1a5, status: 1 };
    assert_eq!(bench.model.take_answers(), [answer]);
    bench.clean();
}

#[test]
fn a_full_queue_answers_by_itself() {
    let bench = asked();
    for _ in 0..127 {
        assert!(bench.model.page_request(&ASK));
    }
    assert!(!bench.model.page_request(&ASK));
    assert_eq!(bench.model.read32(0xdc), 3);
    assert_eq!(bench.model.take_answers().len(), 1);
    bench.model.write64(0xc0, 0xfe0);
    assert!(!bench.model.page_request(&ASK), "until the overflow is acknowledged");
    bench.model.write32(0xdc, 3);
    assert!(bench.model.page_request(&ASK));
    bench.clean();
}

#[test]
fn requests_that_nobody_serves() {
    for (word, reason) in [(0x0106_000d_u64, 0x47), (0x0106_0015, 0x45), (0, 0x41)] {
        let bench = asked();
        bench.put(CONTEXT + 0x100, word);
        assert!(!bench.model.page_request(&ASK));
        assert_eq!(bench.reason(), Some(reason));
        assert_eq!(bench.model.take_answers()[0].status, 15);
        bench.clean();
    }
    let bench = mapped();
    assert!(!bench.model.page_request(&ASK), "no such thing in this unit");
    bench.clean();
    let bench = Bench::legacy(VtdConfig { scalable: true, page_requests: true, ..VtdConfig::legacy() });
    assert!(!bench.model.page_request(&ASK));
    assert_eq!(bench.reason(), Some(0x32));
}

#[test]
fn draining_where_the_unit_can() {
    let bench = asked();
    bench.command([0xa5, STATUS]);
    bench.clean();
    let bench = Bench::scalable(VtdConfig { page_request_draining: false, ..VtdConfig::default() });
    bench.command([0xa5, STATUS]);
    assert_eq!(bench.model.read64(0xb0), 4);
    bench.violated(&["VT-d 6.5.2.10"]);
}
