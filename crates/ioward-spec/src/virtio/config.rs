//! The device configuration: offsets in bytes (virtio 1.3 §5.13.4).

/// page_size_mask, le64: the sizes that can be mapped; the lowest bit is the granularity.
pub const PAGE_SIZE_MASK: usize = 0;
/// input_range.start, le64: the first IOVA.
pub const INPUT_START: usize = 8;
/// input_range.end, le64: the last IOVA.
pub const INPUT_END: usize = 16;
/// domain_range.start, le32: the first domain number.
pub const DOMAIN_START: usize = 24;
/// domain_range.end, le32: the last domain number.
pub const DOMAIN_END: usize = 28;
/// probe_size, le32: bytes of properties of a PROBE request.
pub const PROBE_SIZE: usize = 32;
/// bypass, u8: 1 where endpoints without a domain pass through. Bits 7:1 are to be ignored.
pub const BYPASS: usize = 36;
/// Bytes of all of it, three reserved ones at the end.
pub const BYTES: usize = 40;
