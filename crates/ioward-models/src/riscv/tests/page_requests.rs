//! Page requests: queued, or answered by the IOMMU (2.7, 3.3).

use super::rig::*;
use crate::{
    Access, Request,
    riscv::{Features, PageRequestOutcome, PageResponse},
};
use ioward_types::{Mmio, Pasid, SourceId};

const EN: u64 = 1 | 1 << 1 | 1 << 2;

fn rig() -> Rig {
    let rig = Rig::enabled(Features::default());
    rig.context(5, &[EN, 0, 0, 0]);
    rig
}

fn ask(rig: &Rig, pasid: Option<u32>, last: bool) -> PageRequestOutcome {
    let request = Request { privileged: true, ..request(5, pasid, 0x1234_5000, Access::Write) };
    rig.iommu.page_request(&request, Some(Access::Write), 0x1ff, last)
}

fn answered(pasid: Option<u32>, code: u8) -> PageRequestOutcome {
    PageRequestOutcome::Answered(PageResponse {
        source: SourceId(5),
        pasid: pasid.map(Pasid),
        group: 0x1ff,
        code,
    })
}

#[test]
fn messages_are_queued() {
    let rig = rig();
    assert_eq!(ask(&rig, Some(9), true), PageRequestOutcome::Queued);
    assert_eq!(ask(&rig, None, false), PageRequestOutcome::Queued);
    let execute = Request { access: Access::Execute, ..request(5, Some(1), 0x1000, Access::Read) };
    rig.iommu.page_request(&execute, Some(Access::Execute), 2, true);
    rig.iommu.page_request(&execute, None, 3, true);
    assert_eq!((rig.iommu.read32(0x40), rig.iommu.read32(0x44)), (0, 4));
    let record = |n: u64| [rig.read(PQ + 16 * n), rig.read(PQ + 16 * n + 8)];
    assert_eq!(record(0), [5 << 40 | 3 << 32 | 9 << 12, 0x1234_5000 | 0x1ff << 3 | 0b110]);
    assert_eq!(record(1), [5 << 40, 0x1234_5000 | 0x1ff << 3 | 0b010], "no PASID, no privilege");
    assert_eq!(record(2), [5 << 40 | 5 << 32 | 1 << 12, 0x1000 | 2 << 3 | 0b101], "execute reads");
    assert_eq!(record(3), [5 << 40 | 1 << 32 | 1 << 12, 0x1000 | 3 << 3 | 0b100], "a stop marker");
}

#[test]
fn what_cannot_be_queued_is_answered() {
    let rig = rig();
    rig.iommu.set_latency(0);
    rig.iommu.write32(0x50, 0);
    assert_eq!(ask(&rig, Some(9), true), answered(Some(9), 15), "off: a failure, with the PASID");
    assert_eq!(ask(&rig, None, false), PageRequestOutcome::Discarded);
    rig.iommu.write32(0x50, 1);
    for _ in 0..7 {
        assert_eq!(ask(&rig, None, true), PageRequestOutcome::Queued);
    }
    assert_eq!(ask(&rig, Some(9), true), answered(None, 0), "full: success, to be tried again");
    assert_eq!(rig.iommu.read32(0x50), 0x1_0201);
    rig.iommu.write32(0x40, 7);
    assert_eq!(ask(&rig, None, true), answered(None, 0), "until software clears the overflow");
    rig.iommu.write32(0x50, 0x201);
    assert_eq!(ask(&rig, None, true), PageRequestOutcome::Queued);
    rig.iommu.preset(0x38, 2);
    assert_eq!(ask(&rig, None, true), answered(None, 15), "no memory there");
    assert_eq!(rig.iommu.read32(0x50), 0x1_0101);
    assert_eq!(rig.fault(), None, "none of these is a fault");
}

#[test]
fn devices_that_may_not_ask_are_refused() {
    let rig = rig();
    let stop = request(5, Some(1), 0, Access::Read);
    rig.put(rig.context_word(0), &[1 | 1 << 1]);
    assert_eq!(ask(&rig, Some(9), true), answered(None, 1), "an invalid request");
    // A message: its code is in iotval.
    assert_eq!(rig.fault(), Some([5 << 40 | 9 << 34 | 3 << 32 | 9 << 12 | 260, 0, 4, 0]));
    assert_eq!(rig.iommu.page_request(&stop, None, 1, true), PageRequestOutcome::Discarded);
    assert_eq!(rig.cause(), Some(260));
    rig.put(rig.context_word(0), &[0]);
    rig.fenced([INVAL_DDT, 0]);
    assert_eq!((ask(&rig, Some(9), true), rig.cause()), (answered(Some(9), 15), Some(258)));
    rig.iommu.preset(0x10, 1);
    assert_eq!((ask(&rig, None, true), rig.cause()), (answered(None, 1), Some(260)));
    rig.iommu.preset(0x10, 0);
    assert_eq!((ask(&rig, None, true), rig.cause()), (answered(None, 15), Some(256)));
}

#[test]
fn prpr_puts_the_pasid_into_answers() {
    let rig = rig();
    rig.put(rig.context_word(0), &[EN | 1 << 6]);
    for _ in 0..7 {
        ask(&rig, None, true);
    }
    assert_eq!(ask(&rig, Some(9), true), answered(Some(9), 0));
}
