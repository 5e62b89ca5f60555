//! What a device offers.

use ioward_spec::virtio::features;
use ioward_types::{Iova, SourceId, Span};

/// In which order requests that are there together are carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// As they came.
    First,
    /// The last one first.
    Last,
    /// In some order, from this seed.
    Random(u64),
}

/// IOVAs that cannot be mapped for any endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reserved {
    /// Which.
    pub span: Span<Iova>,
    /// Writes there are interrupts.
    pub msi: bool,
}

/// What a model offers. [`VirtioIommuConfig::default`] is a device as QEMU makes it on x86, bypass on when it starts.
#[derive(Clone, Debug)]
pub struct VirtioIommuConfig {
    /// Names it in violations.
    pub name: String,
    /// The device ID in its registers.
    pub device_id: u32,
    /// The features offered.
    pub features: u64,
    /// page_size_mask.
    pub page_size_mask: u64,
    /// input_range, inclusive.
    pub input: (u64, u64),
    /// domain_range, inclusive.
    pub domains: (u32, u32),
    /// probe_size.
    pub probe_size: u32,
    /// The bypass field at power-on.
    pub bypass: bool,
    /// The bypass field takes no writes.
    pub bypass_stuck: bool,
    /// Properties of every endpoint.
    pub reserved: Vec<Reserved>,
    /// The endpoints that there are; none means any.
    pub endpoints: Option<Vec<SourceId>>,
    /// The most entries of a queue.
    pub queue_size: u16,
    /// Several endpoints can be on a domain.
    pub shares_domains: bool,
    /// ATTACH of an attached endpoint detaches it.
    pub moves_endpoints: bool,
    /// A rejected ATTACH has detached the endpoint all the same.
    pub eager_detach: bool,
    /// The device's accesses snoop CPU caches.
    pub coherent: bool,
    /// FEATURES_OK does not stay set.
    pub refuses_features: bool,
    /// A reset by the driver forgets neither domains nor who is attached, against §2.4; QEMU 10 and cloud-hypervisor do so.
    pub keeps_domains: bool,
    /// What is rejected comes back with its status, and with a length of zero; cloud-hypervisor does so.
    pub rejects_uncounted: bool,
    /// The bytes of a range are counted in 64 bits: one of 2^64 is rejected; cloud-hypervisor does so.
    pub counts_in_64_bits: bool,
}

impl Default for VirtioIommuConfig {
    fn default() -> Self {
        let msi = Reserved { span: Span { start: Iova(0xfee0_0000), bytes: 0x10_0000 }, msi: true };
        Self {
            name: "virtio-iommu".into(),
            device_id: 23,
            features: features::VERSION_1
                | features::ACCESS_PLATFORM
                | features::EVENT_IDX
                | features::INDIRECT_DESC
                | features::INPUT_RANGE
                | features::DOMAIN_RANGE
                | features::MAP_UNMAP
                | features::PROBE
                | features::MMIO
                | features::BYPASS_CONFIG,
            page_size_mask: !0xfff,
            input: (0, u64::MAX),
            domains: (0, u32::MAX),
            probe_size: 512,
            bypass: true,
            bypass_stuck: false,
            reserved: vec![msi],
            endpoints: None,
            queue_size: 256,
            shares_domains: true,
            moves_endpoints: true,
            eager_detach: true,
            coherent: true,
            refuses_features: false,
            keeps_domains: false,
            rejects_uncounted: false,
            counts_in_64_bits: false,
        }
    }
}

impl VirtioIommuConfig {
    /// The least that a device can be: map and unmap.
    pub fn minimal() -> Self {
        Self {
            features: features::VERSION_1 | features::MAP_UNMAP,
            page_size_mask: 0x1000,
            bypass: false,
            reserved: Vec::new(),
            queue_size: 4,
            eager_detach: false,
            ..Self::default()
        }
    }

    /// The bytes of the device configuration.
    pub fn bytes(&self, bypass: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.page_size_mask.to_le_bytes());
        bytes.extend(self.input.0.to_le_bytes());
        bytes.extend(self.input.1.to_le_bytes());
        bytes.extend(self.domains.0.to_le_bytes());
        bytes.extend(self.domains.1.to_le_bytes());
        bytes.extend(self.probe_size.to_le_bytes());
        bytes.extend([u8::from(bypass), 0, 0, 0]);
        bytes
    }
}
