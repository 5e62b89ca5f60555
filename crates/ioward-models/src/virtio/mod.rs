//! A model of virtio-iommu.
