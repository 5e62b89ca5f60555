//! Where everything is. Lengths are CSS pixels; y grows downwards.
//!
//! A bus is a vertical line, what is on it hangs off to the right, and a bridge's own bus stands right of the bridge, at
//! its height. So a column is a number of bridges passed, and whatever shares a line shares a bus.

use super::scene::{Node, Root};
use ioward::pci::topology::Index;

/// The width of a node.
pub const NODE: u32 = 96;
/// From a node's upper edge to where lines meet it.
pub const ANCHOR: u32 = 15;
/// From a bus to the nodes on it.
const STUB: u32 = 12;
/// From a bridge to its bus.
const LEAD: u32 = 14;
/// Between rows.
const GAP: u32 = 7;
/// From a physical function to its virtual ones.
const INDENT: u32 = 18;
/// The height of a heading, with the room below it.
const HEADING: u32 = 30;
/// From the left edge to a root bus.
const MARGIN: u32 = 12;
/// A piece of the drawing ends where it is higher than this and a subtree ends: a printed page can break there.
const PIECE: u32 = 560;
/// A node of two lines.
const LOW: u32 = 30;
/// A node of three.
const HIGH: u32 = 42;

/// A drawing's places.
pub struct Layout<'a> {
    /// From top to bottom.
    pub pieces: Vec<Piece<'a>>,
    /// The right edge of the rightmost node that has text right of it.
    pub nodes_width: u32,
}

/// A part of the drawing that is not torn.
#[derive(Default)]
pub struct Piece<'a> {
    /// Its height.
    pub height: u32,
    /// What is in it.
    pub items: Vec<Item<'a>>,
}

/// Something that is drawn.
pub enum Item<'a> {
    /// The name of a root bus.
    Heading {
        /// The base line.
        y: u32,
        /// What it says.
        text: &'a str,
    },
    /// A vertical line.
    Bus {
        /// Where.
        x: u32,
        /// The upper end.
        from: u32,
        /// The lower end.
        to: u32,
        /// It is no bus: it leads from a physical function to its virtual ones.
        virtual_: bool,
    },
    /// A horizontal line.
    Wire {
        /// Where.
        y: u32,
        /// The left end.
        from: u32,
        /// The right end.
        to: u32,
        /// It leads to a virtual function.
        virtual_: bool,
    },
    /// A node, with its upper left corner.
    Node {
        /// Which.
        node: &'a Node,
        /// The left edge.
        x: u32,
        /// The upper edge.
        y: u32,
        /// How many nodes are above it.
        depth: u32,
        /// What is above it.
        above: Above,
    },
}

/// What is above a node.
#[derive(Clone, Copy)]
pub enum Above {
    /// A root bus, all of which this IOMMU serves, if it is one.
    Bus(Option<usize>),
    /// A bridge, or a physical function.
    Node(Index),
}

/// The height of a node.
pub fn height(node: &Node) -> u32 {
    if (node.bridge || node.is_folded()) && node.lacks.is_some() { HIGH } else { LOW }
}

/// Places everything.
pub fn layout(roots: &[Root]) -> Layout<'_> {
    let mut layout = Layout { pieces: Vec::new(), nodes_width: MARGIN + STUB + NODE };
    for root in roots {
        let mut piece = Piece::default();
        piece.items.push(Item::Heading { y: 17, text: &root.heading });
        let mut y = HEADING;
        // The line of the bus starts under its heading, and runs through the pieces that it is torn into.
        let mut from = HEADING - 7;
        for (number, node) in root.nodes.iter().enumerate() {
            let anchor = y + ANCHOR;
            y = layout.node(&mut piece, node, Above::Bus(root.unit), (MARGIN, y), 0);
            let last = number + 1 == root.nodes.len();
            if last || y > PIECE {
                let to = if last { anchor } else { y };
                piece.items.push(Item::Bus { x: MARGIN, from, to, virtual_: false });
                piece.height = if last { y + 8 } else { y };
                layout.pieces.push(std::mem::take(&mut piece));
                (y, from) = (0, 0);
            }
        }
    }
    layout
}

impl<'a> Layout<'a> {
    /// Places a node of the bus at `bus`, and all below it; gives the y below all of it.
    fn node(
        &mut self,
        piece: &mut Piece<'a>,
        node: &'a Node,
        above: Above,
        (bus, y): (u32, u32),
        depth: u32,
    ) -> u32 {
        let x = bus + STUB;
        let anchor = y + ANCHOR;
        piece.items.push(Item::Wire { y: anchor, from: bus, to: x, virtual_: false });
        piece.items.push(Item::Node { node, x, y, depth, above });
        let mut bottom = y + height(node) + GAP;
        if node.below.is_empty() {
            self.nodes_width = self.nodes_width.max(x + NODE);
        } else {
            let bus = x + NODE + LEAD;
            piece.items.push(Item::Wire { y: anchor, from: x + NODE, to: bus, virtual_: false });
            let (mut below, mut last) = (y, anchor);
            for child in &node.below {
                last = below + ANCHOR;
                below = self.node(piece, child, Above::Node(node.first()), (bus, below), depth + 1);
            }
            if last > anchor {
                piece.items.push(Item::Bus { x: bus, from: anchor, to: last, virtual_: false });
            }
            bottom = bottom.max(below);
        }
        if let Some(first) = bottom.checked_sub(GAP).filter(|_| !node.virtuals.is_empty()) {
            let line = x + INDENT / 2;
            let mut last = first;
            for one in &node.virtuals {
                last = bottom + ANCHOR;
                let to = x + INDENT;
                piece.items.push(Item::Wire { y: last, from: line, to, virtual_: true });
                piece.items.push(Item::Node {
                    node: one,
                    x: to,
                    y: bottom,
                    depth: depth + 1,
                    above: Above::Node(node.first()),
                });
                self.nodes_width = self.nodes_width.max(to + NODE);
                bottom += height(one) + GAP;
            }
            let from = y + height(node);
            piece.items.push(Item::Bus { x: line, from, to: last, virtual_: true });
        }
        bottom
    }
}
