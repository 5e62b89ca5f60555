//! Where memory for page tables comes from: pages that each CPU has at hand, over the platform's.
//!
//! A kernel's page allocator may take a lock that all CPUs share, and a table that an unmap took off is often followed by one
//! that a map asks for. So each CPU keeps some of the pages that were freed on it, for all address spaces of a subsystem
//! together. It uses them under [`Platform::pin`](ioward_types::Platform::pin), without a lock or a locked instruction.
//!
//! Whoever wants all pages back stops all CPUs by a flag, waits for
//! [`Platform::synchronize`](ioward_types::Platform::synchronize), and then has the stocks alone; meanwhile others ask the
//! platform.

mod mem;
mod stack;
mod stock;

pub use mem::TablePages;
