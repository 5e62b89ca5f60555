//! virtio-iommu (Virtual I/O Device version 1.3, 5.13).
