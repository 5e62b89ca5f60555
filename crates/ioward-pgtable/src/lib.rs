//! One page-table engine for every IOMMU page-table format.
#![no_std]
