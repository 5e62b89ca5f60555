//! Commands (3.1), encoded.

use super::tag::{Meaning, Stage};
use ioward_core::driver::AtcTarget;
use ioward_spec::riscv::{
    PAGE_BITS,
    command::{self as spec, func3, opcode, response},
};
use ioward_types::{Iova, Pasid, PhysAddr, SourceId, Span};

/// A command as it stands in the queue.
pub(super) type Command = [u64; spec::WORDS];

fn command(code: u64, function: u64) -> Command {
    [spec::OPCODE.put(code) | spec::FUNC3.put(function), 0]
}

/// Everything before it has happened before anything after it does, and what devices' requests that were under way did can
/// be seen by everybody: memory that was unmapped may be reused after it (3.1.2).
pub(super) fn fence() -> Command {
    let mut words = command(opcode::IOFENCE, func3::C);
    spec::IOFENCE_PR.set(&mut words, 1);
    spec::IOFENCE_PW.set(&mut words, 1);
    words
}

/// As [`fence`], and then `data` is written to `at`.
pub(super) fn fence_to(at: PhysAddr, data: u32) -> Command {
    let mut words = fence();
    spec::IOFENCE_AV.set(&mut words, 1);
    spec::IOFENCE_DATA.set(&mut words, data.into());
    spec::IOFENCE_ADDR.set(&mut words, at.0 >> 2);
    words
}

/// Every device context, what leads to them, and every process context.
pub(super) fn inval_ddt_all() -> Command {
    command(opcode::IODIR, func3::INVAL_DDT)
}

fn iodir(function: u64, source: SourceId) -> Command {
    let mut words = command(opcode::IODIR, function);
    spec::IODIR_DV.set(&mut words, 1);
    spec::IODIR_DID.set(&mut words, source.0.into());
    words
}

/// The device context of a source, and every entry of its process directory.
pub(super) fn inval_ddt(source: SourceId) -> Command {
    iodir(func3::INVAL_DDT, source)
}

/// One process context of a source.
pub(super) fn inval_pdt(source: SourceId, pasid: Pasid) -> Command {
    let mut words = iodir(func3::INVAL_PDT, source);
    spec::IODIR_PID.set(&mut words, pasid.0.into());
    words
}

/// All that is cached of first stages that have no second stage under them.
pub(super) fn inval_vma_all() -> Command {
    command(opcode::IOTINVAL, func3::VMA)
}

/// All that is cached of second stages and of MSI page tables.
pub(super) fn inval_gvma_all() -> Command {
    command(opcode::IOTINVAL, func3::GVMA)
}

/// All that is cached of first stages that have this second stage under them.
pub(super) fn inval_vma_guest(gscid: u32) -> Command {
    let mut words = command(opcode::IOTINVAL, func3::VMA);
    spec::IOTINVAL_GV.set(&mut words, 1);
    spec::IOTINVAL_GSCID.set(&mut words, gscid.into());
    words
}

/// All that is cached of one first stage that has this second stage under it.
pub(super) fn inval_vma_guest_process(gscid: u32, pscid: u32) -> Command {
    let mut words = inval_vma_guest(gscid);
    spec::IOTINVAL_PSCV.set(&mut words, 1);
    spec::IOTINVAL_PSCID.set(&mut words, pscid.into());
    words
}

/// All that is cached under a tag.
pub(super) fn inval_tag(tag: Meaning) -> Command {
    match tag.stage {
        Stage::First => {
            let mut words = command(opcode::IOTINVAL, func3::VMA);
            spec::IOTINVAL_PSCV.set(&mut words, 1);
            spec::IOTINVAL_PSCID.set(&mut words, tag.id.into());
            words
        }
        Stage::Second => {
            let mut words = command(opcode::IOTINVAL, func3::GVMA);
            spec::IOTINVAL_GV.set(&mut words, 1);
            spec::IOTINVAL_GSCID.set(&mut words, tag.id.into());
            words
        }
    }
}

/// What is cached under a tag of `1 << order` pages from `at`, which is a multiple of as many; leaves alone, or all levels
/// where `non_leaf`. `order` is 0 without `capabilities.S`, `non_leaf` is false without `capabilities.NL`.
pub(super) fn inval_pages(tag: Meaning, at: Iova, order: u32, non_leaf: bool) -> Command {
    let mut words = inval_tag(tag);
    spec::IOTINVAL_AV.set(&mut words, 1);
    spec::IOTINVAL_NL.set(&mut words, non_leaf.into());
    spec::IOTINVAL_S.set(&mut words, (order != 0).into());
    spec::IOTINVAL_ADDR.set(&mut words, napot(at.0 >> PAGE_BITS, order));
    words
}

/// `1 << order` pages from `page`: the lowest clear bit tells the size, as in ATS (8.3 of the release of 2026-02-22).
fn napot(page: u64, order: u32) -> u64 {
    match order.checked_sub(1) {
        None => page,
        Some(ones) => page & !(1 << ones) | ((1 << ones) - 1),
    }
}

fn ats(function: u64, target: AtcTarget) -> Command {
    let AtcTarget { source, pasid } = target;
    let mut words = command(opcode::ATS, function);
    spec::ATS_RID.set(&mut words, source.0.into());
    // Sources of segment 0 are named as those of an IOMMU that has one segment.
    let segment = source.0 >> 16;
    spec::ATS_DSV.set(&mut words, (segment != 0).into());
    spec::ATS_DSEG.set(&mut words, segment.into());
    if let Some(pasid) = pasid {
        spec::ATS_PV.set(&mut words, 1);
        spec::ATS_PID.set(&mut words, pasid.0.into());
    }
    words
}

/// A device forgets what it cached of `span`: of the smallest aligned power of two that covers it (PCIe 6.0, 10.3.2).
pub(super) fn atc_inval(target: AtcTarget, span: &Span<Iova>) -> Command {
    let (first, last) = (span.start.0 >> PAGE_BITS, span.last().0 >> PAGE_BITS);
    let order = 64 - (first ^ last).leading_zeros();
    if order >= 64 - PAGE_BITS {
        return atc_inval_all(target);
    }
    let mut words = ats(func3::INVAL, target);
    spec::INVAL_S.set(&mut words, (order != 0).into());
    spec::INVAL_ADDR.set(&mut words, napot(first >> order << order, order));
    words
}

/// A device forgets all that it cached for one PASID, or for requests without one.
pub(super) fn atc_inval_all(target: AtcTarget) -> Command {
    let mut words = ats(func3::INVAL, target);
    spec::INVAL_S.set(&mut words, 1);
    // Every bit but the highest is set: the whole of 64 bits.
    spec::INVAL_ADDR.set(&mut words, spec::INVAL_ADDR.max() >> 1);
    words
}

/// A device forgets all that it cached for any PASID.
pub(super) fn atc_inval_global(source: SourceId) -> Command {
    let mut words = atc_inval_all(AtcTarget { source, pasid: Some(Pasid(0)) });
    spec::INVAL_G.set(&mut words, 1);
    words
}

/// How a group of page requests is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageResponse {
    /// All pages are there now.
    Success,
    /// A page is not there and will not be.
    Invalid,
    /// Page requests of this device are not served.
    Failure,
}

/// Answers a group of page requests.
pub(super) fn prgr(target: AtcTarget, group: u16, how: PageResponse) -> Command {
    let mut words = ats(func3::PRGR, target);
    spec::PRGR_INDEX.set(&mut words, group.into());
    let code = match how {
        PageResponse::Success => response::SUCCESS,
        PageResponse::Invalid => response::INVALID_REQUEST,
        PageResponse::Failure => response::FAILURE,
    };
    spec::PRGR_CODE.set(&mut words, code);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Meaning = Meaning { stage: Stage::First, id: 0x12345 };
    const SECOND: Meaning = Meaning { stage: Stage::Second, id: 0x1234 };
    const DEVICE: SourceId = SourceId(0x18);

    /// Words written out from the figures of chapter 3.
    #[test]
    fn commands_are_what_the_figures_say() {
        assert_eq!(fence(), [0x3002, 0]);
        assert_eq!(fence_to(PhysAddr(0x8000_1008), 0xabcd_0001), [0xabcd_0001_0000_3402, 0x2000_0402]);
        assert_eq!(inval_ddt_all(), [0x3, 0]);
        assert_eq!(inval_ddt(SourceId(0x12_3456)), [0x1234_5602_0000_0003, 0]);
        assert_eq!(inval_pdt(DEVICE, Pasid(0x54321)), [0x0000_1802_5432_1083, 0]);
        assert_eq!(inval_vma_all(), [0x1, 0]);
        assert_eq!(inval_gvma_all(), [0x81, 0]);
        assert_eq!(inval_vma_guest(0x1234), [0x0123_4002_0000_0001, 0]);
        assert_eq!(inval_tag(FIRST), [0x0000_0001_1234_5001, 0]);
        assert_eq!(inval_tag(SECOND), [0x0123_4002_0000_0081, 0]);
        let at = Iova(0x1234_5678_9000);
        assert_eq!(inval_pages(FIRST, at, 0, false), [0x0000_0001_1234_5401, 0x048d_159e_2400]);
        assert_eq!(inval_pages(SECOND, at, 0, true), [0x0123_4006_0000_0481, 0x048d_159e_2400]);
        // 64 KiB: four low bits, of which three are set.
        let range = inval_pages(FIRST, Iova(0x2_0000), 4, false);
        assert_eq!(range, [0x0000_0001_1234_5401, 0x27 << 10 | 1 << 9]);
    }

    #[test]
    fn what_a_device_forgets_covers_the_span() {
        let target = AtcTarget { source: DEVICE, pasid: None };
        let span = |start, bytes| Span { start: Iova(start), bytes };
        assert_eq!(atc_inval(target, &span(0x5000, 0x1000)), [0x0000_1800_0000_0004, 0x5000]);
        // Pages 5 and 6 lie in an aligned block of four.
        assert_eq!(atc_inval(target, &span(0x5000, 0x2000)), [0x0000_1800_0000_0004, 0x5800]);
        assert_eq!(atc_inval(target, &span(0x20_0000, 0x20_0000)), [0x0000_1800_0000_0004, 0x2f_f800]);
        let all = [0x0000_1800_0000_0004, 0x7fff_ffff_ffff_f800];
        assert_eq!(atc_inval(target, &span(0, u64::MAX)), all);
        assert_eq!(atc_inval_all(target), all);
        let with = AtcTarget { source: SourceId(0x02_0018), pasid: Some(Pasid(7)) };
        assert_eq!(atc_inval_all(with), [0x0200_1803_0000_7004, 0x7fff_ffff_ffff_f800]);
        assert_eq!(atc_inval_global(DEVICE), [0x0000_1801_0000_0004, 0x7fff_ffff_ffff_f801]);
        assert_eq!(prgr(with, 0x1ff, PageResponse::Invalid), [0x0200_1803_0000_7084, 0x0000_11ff_0000_0000]);
    }
}
