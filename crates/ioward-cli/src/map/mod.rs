//! `ioward map`: a machine's fabric as a drawing, its groups under two policies side by side, and the reasons.
//!
//! ```text
//!   topology, two groupings --> scene (what each node says) --> layout (where it is) --> svg --+--> page
//!                                            styles (colour and pattern of each group) --------+--> figure
//! ```
//!
//! | file | what it decides |
//! | --- | --- |
//! | [`scene`] | the nodes: which functions are one node, what a node says, what is left open at it |
//! | [`layout`] | places; the same for both policies, so that one can be held against the other |
//! | [`view`] | one policy's groups, looked up by function |
//! | [`styles`] | a colour and a pattern for each group of two or more |
//! | [`svg`] | one policy's drawing; also as a file of its own, for documents |
//! | [`page`], [`prose`] | the page, and the text of it: findings, reasons, every function |
//! | [`escape`] | text from outside, before it becomes part of a page |
//!
//! The figures of `docs/groups.md` are drawn by the same code (`figures.rs`, in tests).
//!
//! The page is whole without its script, and asks nobody for anything: its policy forbids every request, and every script
//! but its own.

mod escape;
mod layout;
mod page;
mod prose;
mod scene;
mod styles;
mod svg;
mod view;

#[cfg(test)]
mod figures;
#[cfg(test)]
mod tests;

pub use page::page;
#[cfg(test)]
use svg::figure;

use ioward::pci::{Topology, groups::Grouping, topology::Index};
use std::collections::BTreeMap;

/// What is drawn.
pub struct Subject<'a> {
    /// What the machine is called.
    pub title: String,
    /// Its functions and buses.
    pub topology: &'a Topology,
    /// The groups as Linux makes them, and as the fabric makes them.
    pub views: [View<'a>; 2],
    /// What people call a function.
    pub words: &'a dyn Fn(Index) -> Words,
    /// The IOMMUs, by name.
    pub iommus: Vec<String>,
    /// By function: its IOMMU, by its place in `iommus`. A function that is not here is served by none that is known.
    pub served: BTreeMap<Index, usize>,
    /// What could not be read of the machine, and what else its readers should know.
    pub notes: Vec<String>,
}

/// One policy's groups.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The policy's name.
    pub name: &'a str,
    /// Its groups.
    pub grouping: &'a Grouping,
}

/// What people call a function.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// Vendor and device; empty if nobody knows.
    pub name: String,
    /// What it does; empty if nobody knows.
    pub class: String,
    /// The driver that it has; empty for none.
    pub driver: String,
}
