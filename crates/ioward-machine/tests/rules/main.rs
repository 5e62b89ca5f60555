//! The sixteen rules of domain allocation, on real drivers over their models.
//!
//! Each test is named by its rule; `cargo xtask mutate rules` breaks each rule and expects its tests to fail.

mod allocation;
mod groups;
mod help;
mod live;
mod ownership;
mod regions;
