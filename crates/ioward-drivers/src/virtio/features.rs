//! Which features are accepted, and what they and the configuration mean (virtio 1.3 §5.13.3, §5.13.4, §6.1).

use super::config::BringUpError;
use super::transport::Transport;
use alloc::vec::Vec;
use ioward_core::driver::Plan;
use ioward_spec::virtio::{config, features as bit};
use ioward_types::{Iova, Span};

/// Those without which nothing works.
const NEEDED: [(u64, &str); 2] =
    [(bit::VERSION_1, "VIRTIO_F_VERSION_1"), (bit::MAP_UNMAP, "VIRTIO_IOMMU_F_MAP_UNMAP")];
/// Those that are accepted where they are offered. VIRTIO_IOMMU_F_BYPASS is not: unattached endpoints would pass.
const WANTED: u64 = bit::VERSION_1
    | bit::ACCESS_PLATFORM
    | bit::ORDER_PLATFORM
    | bit::INPUT_RANGE
    | bit::DOMAIN_RANGE
    | bit::MAP_UNMAP
    | bit::PROBE
    | bit::MMIO
    | bit::BYPASS_CONFIG;
/// The smallest page that is planned with.
const PAGE: u64 = 4096;
/// More properties than any device has.
const PROBE_LIMIT: u32 = 0x1_0000;
/// How often a configuration is read that changes all the time.
const TRIES: usize = 8;

/// What the device can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Features {
    /// A field of the configuration says whether endpoints without a domain pass, and there are domains that pass.
    pub bypass_config: bool,
    pub mmio: bool,
    /// Bytes of properties, where there is PROBE.
    pub probe_size: Option<u32>,
    pub page_sizes: u64,
    /// The first and the last IOVA.
    pub input: (u64, u64),
    /// The first and the last domain number.
    pub domains: (u32, u32),
}

/// What to accept of what is offered.
pub(super) fn choose(offered: u64) -> Result<u64, BringUpError> {
    match NEEDED.iter().find(|(needed, _)| offered & needed == 0) {
        Some((_, what)) => Err(BringUpError::Lacks { what, offered }),
        None => Ok(offered & WANTED),
    }
}

impl Features {
    /// What accepted features and the configuration say. Fields of features that are not there are not read.
    pub fn read<T: Transport>(transport: &T, accepted: u64) -> Result<Self, BringUpError> {
        let mut seen = Self::read_once(transport, accepted);
        for _ in 0..TRIES {
            let generation = transport.config_generation();
            let again = Self::read_once(transport, accepted);
            if generation == transport.config_generation() && again == seen {
                return seen.check();
            }
            seen = again;
        }
        Err(BringUpError::Device("it changes all the time"))
    }

    fn read_once<T: Transport>(transport: &T, accepted: u64) -> Self {
        let has = |bit| accepted & bit != 0;
        let read64 =
            |at| u64::from(transport.config_read32(at)) | u64::from(transport.config_read32(at + 4)) << 32;
        let read32 = |at| transport.config_read32(at);
        let input = match has(bit::INPUT_RANGE) {
            true => (read64(config::INPUT_START), read64(config::INPUT_END)),
            false => (0, u64::MAX),
        };
        let domains = match has(bit::DOMAIN_RANGE) {
            true => (read32(config::DOMAIN_START), read32(config::DOMAIN_END)),
            false => (0, u32::MAX),
        };
        Self {
            bypass_config: has(bit::BYPASS_CONFIG),
            mmio: has(bit::MMIO),
            probe_size: has(bit::PROBE).then(|| read32(config::PROBE_SIZE)),
            page_sizes: read64(config::PAGE_SIZE_MASK),
            input,
            domains,
        }
    }

    fn check(self) -> Result<Self, BringUpError> {
        if self.page_sizes == 0 {
            return Err(BringUpError::Device("page_size_mask is zero"));
        }
        let (first, last) = self.input;
        if first >= last || last - first < self.granule() {
            return Err(BringUpError::Device("input_range has no page"));
        }
        if self.domains.0 > self.domains.1 {
            return Err(BringUpError::Device("domain_range is empty"));
        }
        if self.probe_size.is_some_and(|size| size > PROBE_LIMIT) {
            return Err(BringUpError::Device("probe_size"));
        }
        Ok(self)
    }

    /// The smallest page, in bytes: any multiple of the device's granularity can be mapped.
    pub fn granule(&self) -> u64 {
        (self.page_sizes & self.page_sizes.wrapping_neg()).max(PAGE)
    }

    /// The one plan that there is.
    pub fn plan(&self) -> Plan {
        let granule = self.granule();
        let page_sizes = self.page_sizes & !(granule - 1) | granule;
        Plan::Requests { page_sizes, addr_bits: (64 - self.input.1.leading_zeros()) as u8 }
    }

    /// The input range in pieces, first and last address of each, whose bytes can be counted in 64 bits. Some devices
    /// (cloud-hypervisor) refuse a range for which that is not so.
    pub fn pieces(&self) -> Vec<(u64, u64)> {
        const HALF: u64 = 1 << 63;
        match self.input {
            (0, u64::MAX) => alloc::vec![(0, HALF - 1), (HALF, u64::MAX)],
            all => alloc::vec![all],
        }
    }

    /// IOVAs of the plan that are outside the input range.
    pub fn windows(&self) -> Vec<Span<Iova>> {
        let (first, last) = self.input;
        let Plan::Requests { addr_bits, .. } = self.plan() else { return Vec::new() };
        let top = u64::MAX >> (64 - u32::from(addr_bits));
        let below = first.checked_sub(1).and_then(|end| Span::inclusive(Iova(0), Iova(end)));
        let above = last.checked_add(1).filter(|start| *start <= top);
        let above = above.and_then(|start| Span::inclusive(Iova(start), Iova(top)));
        below.into_iter().chain(above).collect()
    }

    /// Whether a mapping of `span` can be asked for.
    pub fn takes(&self, span: Span<Iova>) -> bool {
        span.is_aligned(self.granule()) && span.start.0 >= self.input.0 && span.last().0 <= self.input.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(page_sizes: u64, input: (u64, u64)) -> Features {
        Features {
            bypass_config: true,
            mmio: true,
            probe_size: None,
            page_sizes,
            input,
            domains: (0, u32::MAX),
        }
    }

    #[test]
    fn bypass_is_never_accepted() {
        let all = u64::MAX;
        let accepted = choose(all).unwrap();
        assert_eq!(accepted & (bit::BYPASS | bit::RING_PACKED | bit::INDIRECT_DESC | bit::EVENT_IDX), 0);
        assert_ne!(accepted & bit::ACCESS_PLATFORM, 0);
        assert!(choose(all & !bit::VERSION_1).is_err() && choose(all & !bit::MAP_UNMAP).is_err());
    }

    #[test]
    fn pages_are_at_least_of_the_devices_granularity() {
        assert_eq!(features(1, (0, u64::MAX)).granule(), 4096);
        assert_eq!(features(0x1_0000, (0, u64::MAX)).granule(), 0x1_0000);
        let plan = features(0x4020_1000, (0, u64::MAX)).plan();
        assert_eq!(plan, Plan::Requests { page_sizes: 0x4020_1000, addr_bits: 64 });
    }

    #[test]
    fn what_is_outside_the_input_range_is_forbidden() {
        assert!(features(4096, (0, u64::MAX)).windows().is_empty());
        let odd = features(4096, (0x10_0000, 0x2_ffff_ffff)).windows();
        let span = |start, bytes| Span { start: Iova(start), bytes };
        assert_eq!(odd, [span(0, 0x10_0000), span(0x3_0000_0000, 0x1_0000_0000)]);
        assert!(features(4096, (0, (1 << 48) - 1)).windows().is_empty());
        assert_eq!(features(4096, (0x1000, u64::MAX)).windows(), [span(0, 0x1000)]);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(features(0, (0, u64::MAX)).check().is_err());
        assert!(features(4096, (1, 0)).check().is_err());
        assert!(features(1 << 63, (0, 0xffff)).check().is_err());
        assert!(Features { domains: (1, 0), ..features(4096, (0, u64::MAX)) }.check().is_err());
        assert!(Features { probe_size: Some(u32::MAX), ..features(4096, (0, u64::MAX)) }.check().is_err());
    }
}
