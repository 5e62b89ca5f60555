//! PCI configuration space, topology, requester-ID aliases and IOMMU groups.
#![no_std]
