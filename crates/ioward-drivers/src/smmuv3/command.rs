//! Commands (IHI 0070, chapter 4), encoded.

use super::tag::{Meaning, Stage};
use ioward_core::driver::AtcTarget;
use ioward_spec::smmuv3::command::{self as spec, cs, opcode, resp};
use ioward_types::{Iova, Pasid, SourceId, Span};

/// A command as it stands in the queue.
pub(super) type Command = [u64; spec::WORDS];

fn command(code: u64) -> Command {
    [spec::OPCODE.put(code), 0]
}

/// Completes everything before it; polled for.
pub(super) fn sync() -> Command {
    let mut words = command(opcode::SYNC);
    spec::SYNC_CS.set(&mut words, cs::SIG_NONE);
    words
}

/// All configuration of all streams.
pub(super) fn cfgi_all() -> Command {
    let mut words = command(opcode::CFGI_ALL);
    spec::RANGE.set(&mut words, spec::RANGE_ALL);
    words
}

/// A stream's STE, what led to it (Leaf is 0) and every CD found through it (4.3.1).
pub(super) fn cfgi_ste(source: SourceId) -> Command {
    let mut words = command(opcode::CFGI_STE);
    spec::STREAM_ID.set(&mut words, source.0.into());
    words
}

/// One CD of a stream and what led to it (Leaf is 0).
pub(super) fn cfgi_cd(source: SourceId, pasid: Pasid) -> Command {
    let mut words = command(opcode::CFGI_CD);
    spec::STREAM_ID.set(&mut words, source.0.into());
    spec::SUBSTREAM_ID.set(&mut words, pasid.0.into());
    words
}

/// Every CD of a stream, and level 1 descriptors.
pub(super) fn cfgi_cd_all(source: SourceId) -> Command {
    let mut words = command(opcode::CFGI_CD_ALL);
    spec::STREAM_ID.set(&mut words, source.0.into());
    words
}

/// All that is cached for NS-EL1, both stages.
pub(super) fn tlbi_nsnh_all() -> Command {
    command(opcode::TLBI_NSNH_ALL)
}

/// All that is cached for NS-EL2. CERROR_ILL without IDR0.HYP.
pub(super) fn tlbi_el2_all() -> Command {
    command(opcode::TLBI_EL2_ALL)
}

/// All that is cached under a tag. `vmid` is that of stage 1 entries.
pub(super) fn tlbi_tag(tag: Meaning, vmid: u16) -> Command {
    match tag.stage {
        Stage::One => {
            let mut words = command(opcode::TLBI_NH_ASID);
            spec::TLBI_VMID.set(&mut words, vmid.into());
            spec::TLBI_ASID.set(&mut words, tag.id.into());
            words
        }
        Stage::Two => {
            let mut words = command(opcode::TLBI_S12_VMALL);
            spec::TLBI_VMID.set(&mut words, tag.id.into());
            words
        }
    }
}

/// `(num + 1) << scale` granules of a tag from `at`; a single page without IDR3.RIL where `range` is none.
pub(super) fn tlbi_pages(
    tag: Meaning,
    vmid: u16,
    at: Iova,
    leaf: bool,
    range: Option<(u64, u64)>,
) -> Command {
    let mut words = match tag.stage {
        Stage::One => {
            let mut words = command(opcode::TLBI_NH_VA);
            spec::TLBI_VMID.set(&mut words, vmid.into());
            spec::TLBI_ASID.set(&mut words, tag.id.into());
            spec::ADDRESS.set_in_place(&mut words, at.0);
            words
        }
        Stage::Two => {
            let mut words = command(opcode::TLBI_S2_IPA);
            spec::TLBI_VMID.set(&mut words, tag.id.into());
            spec::IPA.set_in_place(&mut words, at.0);
            words
        }
    };
    spec::LEAF.set(&mut words, leaf.into());
    if let Some((num, scale)) = range {
        spec::TLBI_TG.set(&mut words, tag.granule);
        spec::TLBI_NUM.set(&mut words, num);
        spec::TLBI_SCALE.set(&mut words, scale);
    }
    words
}

/// A device forgets what it cached of `span`: of the smallest aligned power of two that covers it (4.5.1).
pub(super) fn atc_inv(target: AtcTarget, span: &Span<Iova>) -> Command {
    let (first, last) = (span.start.0 >> 12, span.last().0 >> 12);
    let size = 64 - u64::from((first ^ last).leading_zeros());
    let mut words = atc(target);
    spec::ATC_SIZE.set(&mut words, size.min(spec::ATC_SIZE_ALL));
    if size < spec::ATC_SIZE_ALL {
        spec::ADDRESS.set(&mut words, first >> size << size);
    }
    words
}

/// A device forgets all that it cached for one PASID, or for requests without one.
pub(super) fn atc_inv_all(target: AtcTarget) -> Command {
    let mut words = atc(target);
    spec::ATC_SIZE.set(&mut words, spec::ATC_SIZE_ALL);
    words
}

/// A device forgets all that it cached for any PASID (Global), as PCI Express allows where SSV is set (4.5.1).
pub(super) fn atc_inv_global(source: SourceId) -> Command {
    let mut words = atc_inv_all(AtcTarget { source, pasid: Some(Pasid(0)) });
    spec::ATC_GLOBAL.set(&mut words, 1);
    words
}

fn atc(target: AtcTarget) -> Command {
    let mut words = command(opcode::ATC_INV);
    spec::STREAM_ID.set(&mut words, target.source.0.into());
    if let Some(pasid) = target.pasid {
        spec::SSV.set(&mut words, 1);
        spec::SUBSTREAM_ID.set(&mut words, pasid.0.into());
    }
    words
}

/// Ends a stalled request with an abort (4.7.1).
pub(super) fn resume_abort(source: SourceId, stag: u64) -> Command {
    let mut words = command(opcode::RESUME);
    spec::STREAM_ID.set(&mut words, source.0.into());
    spec::RESUME_AB.set(&mut words, 1);
    spec::RESUME_STAG.set(&mut words, stag);
    words
}

/// How a page request group ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageResponse {
    /// The pages are there.
    Success,
    /// Some page cannot be had.
    Invalid,
    /// The device may ask no more.
    Failure,
}

/// Answers a page request group (4.5.2).
pub(super) fn pri_resp(target: AtcTarget, group: u16, response: PageResponse) -> Command {
    let mut words = atc(target);
    spec::OPCODE.set(&mut words, opcode::PRI_RESP);
    spec::PRG_INDEX.set(&mut words, group.into());
    let response = match response {
        PageResponse::Success => resp::SUCCESS,
        PageResponse::Invalid => resp::INVALID,
        PageResponse::Failure => resp::FAILURE,
    };
    spec::PRI_RESPONSE.set(&mut words, response);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Literal words as Linux 6.12's arm-smmu-v3 issues them for the same requests.
    #[test]
    fn commands_are_laid_out_as_others_lay_them_out() {
        assert_eq!(sync(), [0x46, 0]);
        assert_eq!(cfgi_all(), [0x04, 31]);
        assert_eq!(cfgi_ste(SourceId(0x18)), [0x18_0000_0003, 0]);
        assert_eq!(cfgi_cd(SourceId(0x18), Pasid(5)), [0x18_0000_5005, 0]);
        let one = Meaning { stage: Stage::One, id: 7, granule: 1 };
        assert_eq!(tlbi_tag(one, 3), [0x0007_0003_0000_0011, 0]);
        let page = tlbi_pages(one, 3, Iova(0x1234_5000), true, None);
        assert_eq!(page, [0x0007_0003_0000_0012, 0x1234_5001]);
        let range = tlbi_pages(one, 0, Iova(0x1234_5000), false, Some((4, 2)));
        assert_eq!(range, [0x0007_0000_0020_4012, 0x1234_5400]);
        let two = Meaning { stage: Stage::Two, id: 9, granule: 3 };
        assert_eq!(tlbi_pages(two, 3, Iova(0x1_0000), true, None), [0x0000_0009_0000_002a, 0x1_0001]);
        assert_eq!(tlbi_tag(two, 3), [0x0000_0009_0000_0028, 0]);
    }

    #[test]
    fn a_device_is_told_the_smallest_block_that_covers_the_span() {
        let target = AtcTarget { source: SourceId(0x18), pasid: Some(Pasid(2)) };
        let inv = |start, bytes| atc_inv(target, &Span { start: Iova(start), bytes });
        assert_eq!(inv(0x5000, 0x1000), [0x18_0000_2840, 0x5000]);
        assert_eq!(inv(0x5000, 0x2000), [0x18_0000_2840, 0x4002]);
        assert_eq!(inv(0x7000, 0x2000), [0x18_0000_2840, 0x0004]);
        assert_eq!(inv(0, u64::MAX), [0x18_0000_2840, 52]);
        assert_eq!(atc_inv_global(SourceId(0x18)), [0x18_0000_0a40, 52]);
    }
}
