//! Nodes with their ancestors: walking, finding, translating.

use super::{
    cells::{Cells, MOST_CELLS, Ranges},
    tree::{Node, Property, Token, Tree},
};
use ioward_types::{
    PhysAddr, Span,
    describe::{Cause, Problem, Table},
};

/// How deep nodes may be nested, the root included. Real trees stay below ten.
pub const MAX_DEPTH: usize = 32;

/// A node and its ancestors, the root first.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    nodes: [Option<Node<'a>>; MAX_DEPTH],
    depth: usize,
}

impl<'a> Tree<'a> {
    /// Shows every node with its ancestors, in the tree's order, until `visit` says that it has seen enough by returning
    /// false. `Err` tells where the structure is broken; what lies before has been shown.
    pub fn walk(&self, visit: &mut dyn FnMut(&Path<'a>) -> bool) -> Result<(), Problem> {
        let mut path = Path { nodes: [None; MAX_DEPTH], depth: 0 };
        let problem = |offset: u32, cause| Problem {
            table: Table::DeviceTree,
            // Padding may be said to reach beyond the end.
            offset: offset.min(self.whole.len()),
            structure: "structure block",
            cause,
        };
        let (mut at, mut begun) = (self.start(), false);
        loop {
            match self.token(at) {
                Token::Begin(node, next) => {
                    if path.depth == MAX_DEPTH {
                        return Err(problem(at, Cause::Depth { limit: MAX_DEPTH as u32 }));
                    }
                    if begun && path.depth == 0 {
                        return Err(problem(at, Cause::Unpaired));
                    }
                    path.nodes[path.depth] = Some(node);
                    path.depth += 1;
                    (at, begun) = (next, true);
                    if !visit(&path) {
                        return Ok(());
                    }
                }
                Token::Property(_, next) => at = next,
                Token::End(next) => {
                    path.depth = path.depth.checked_sub(1).ok_or(problem(at, Cause::Unpaired))?;
                    path.nodes[path.depth] = None;
                    at = next;
                }
                Token::Finish(_) if path.depth == 0 && begun => return Ok(()),
                Token::Finish(_) => return Err(problem(at, Cause::Unpaired)),
                Token::Bad(at) => {
                    return Err(problem(at, Cause::Range { found: self.whole.be32(at).into() }));
                }
            }
        }
    }

    /// The node of a phandle, with its ancestors.
    pub fn find(&self, phandle: u32) -> Option<Path<'a>> {
        let mut found = None;
        // A broken structure is reported by whoever walks the tree for its facts.
        let _ = self.walk(&mut |path| {
            if path.node().is_some_and(|node| node.phandle() == Some(phandle)) {
                found = Some(*path);
            }
            found.is_none()
        });
        found
    }
}

impl<'a> Path<'a> {
    /// The node itself.
    pub fn node(&self) -> Option<Node<'a>> {
        self.nodes[..self.depth].last().copied().flatten()
    }
    /// The path of its parent; none for the root.
    pub fn parent(&self) -> Option<Self> {
        let depth = self.depth.checked_sub(1).filter(|depth| *depth != 0)?;
        Some(Self { depth, ..*self })
    }
    /// The node and its ancestors, the root first.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = Node<'a>> {
        self.nodes[..self.depth].iter().copied().flatten()
    }
    /// Whether neither it nor an ancestor is disabled.
    pub fn is_okay(&self) -> bool {
        self.nodes().all(|node| node.is_okay())
    }
    /// A property of it or of the nearest ancestor that has it.
    pub fn inherited(&self, name: &str) -> Option<Property<'a>> {
        self.nodes().rev().find_map(|node| node.property(name))
    }
    /// The cells of an address in it: of its children's `reg` and of its own `ranges` on the child's side.
    pub fn address_cells(&self) -> u32 {
        self.node().and_then(|node| node.cell("#address-cells")).unwrap_or(2).min(MOST_CELLS)
    }
    /// The cells of a size in it.
    pub fn size_cells(&self) -> u32 {
        self.node().and_then(|node| node.cell("#size-cells")).unwrap_or(1).min(MOST_CELLS)
    }
    /// The `index`th entry of its `reg`, as its parent's addresses.
    pub fn reg(&self, index: usize) -> Option<(u64, u64)> {
        let parent = self.parent()?;
        let (address, size) = (parent.address_cells(), parent.size_cells());
        let mut cells = self.node()?.property("reg")?.cells();
        if address + size == 0 {
            return None;
        }
        for _ in 0..index {
            cells.take(address + size)?;
        }
        Some((cells.number(address)?, cells.number(size)?))
    }
    /// The `index`th entry of its `reg`, as physical addresses; none where an ancestor's `ranges` do not show it.
    pub fn registers(&self, index: usize) -> Option<Span<PhysAddr>> {
        let (mut address, bytes) = self.reg(index)?;
        let mut bus = self.parent();
        while let Some(path) = bus {
            let Some(above) = path.parent() else { break };
            let ranges = path.node()?.property("ranges")?;
            // An empty property says that nothing changes.
            if !ranges.value().is_empty() {
                address = path.ranges_of(ranges.cells(), &above).translate(address)?;
            }
            bus = Some(above);
        }
        Span::new(PhysAddr(address), bytes)
    }
    /// Its `ranges`, if it has a parent and any entries.
    pub fn ranges(&self) -> Option<Ranges<'a>> {
        let cells = self.node()?.property("ranges")?.cells();
        Some(self.ranges_of(cells, &self.parent()?))
    }
    fn ranges_of(&self, cells: Cells<'a>, above: &Self) -> Ranges<'a> {
        Ranges::new(cells, self.address_cells(), above.address_cells(), self.size_cells())
    }
}

impl core::fmt::Display for Path<'_> {
    /// As people write it: `/soc/usb@1000`.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.depth <= 1 {
            return f.write_str("/");
        }
        self.nodes().skip(1).try_for_each(|node| write!(f, "/{}", node.name()))
    }
}
