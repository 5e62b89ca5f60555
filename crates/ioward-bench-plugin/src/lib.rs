//! ioward's page tables, IOVA allocator and DMA API behind the C interface of a benchmark harness.
//!
//! A harness that measures several implementations side by side loads a shared object, asks [`pt_bench_plugin`] and
//! [`iova_bench_plugin`] for what is in it, and calls through the structures of [`abi`]. Behind them is what the subsystem
//! itself calls: the code of a [`Table`](ioward_pgtable::Table) and [`IovaAllocator`](ioward_iova::IovaAllocator) over a
//! [`Platform`](ioward_types::Platform), with the checks of ranges and the end of the tables that an unmap took off. Nothing
//! is left out that an address space does for one map or unmap of a table: the pointer that the harness calls through stands
//! for the one in an [`AnyTable`](ioward_pgtable::AnyTable), as it does for that of others.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`abi`] | the harness's structures |
//! | [`platform`] | a platform on the harness's pages: locks, pins and CPU numbers as a kernel has them |
//! | [`tables`] | one entry for each format and each way of using it |
//! | [`iova`] | the allocator, with two kinds of pin |
//! | [`dma`] | whole mappings of the DMA API, as if they were allocated |
//! | [`sink`] | an IOMMU that costs nothing |
//!
//! What the harness cannot show is modelled as cheaply as it can be, and said where it is: cleans of cache lines
//! ([`platform::Bench`]) and the saving of interrupt state ([`platform::Flags`]).

pub mod abi;
pub mod dma;
pub mod iova;
pub mod platform;
pub mod sink;
pub mod tables;

pub use iova::iova_bench_plugin;
pub use tables::pt_bench_plugin;
