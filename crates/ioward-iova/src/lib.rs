//! IOVA allocator.
#![no_std]
