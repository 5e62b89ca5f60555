//! The virtio-iommu driver.
