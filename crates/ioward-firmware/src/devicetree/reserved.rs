//! `iommu-addresses` of reserved-memory regions.

use super::{describe::Walk, pci::is_host, walk::Path};
use ioward_types::{
    Attributes, Iova, PhysAddr, Span,
    describe::{Cause, Devices, Fact, NodeId, Reserved, ReservedRule, Subject},
};

impl<'a> Walk<'a, '_> {
    /// A region that says at which addresses some devices see it: entries of a device's phandle, an address and a size in
    /// the cells of the device's bus (dt-schema, reserved-memory/reserved-memory.yaml).
    pub(super) fn region(&mut self, path: &Path<'a>) {
        let Some(node) = path.node() else { return };
        let Some(property) = node.property("iommu-addresses") else { return };
        let mut cells = property.cells();
        while let Some(phandle) = cells.one() {
            let at = cells.at() - 4;
            let Some(device) = self.tree.find(phandle) else {
                // How long its entry is cannot be known.
                return self.problem(at, "iommu-addresses", Cause::Dangling { to: phandle });
            };
            let (address_cells, size_cells) =
                device.parent().map_or((2, 1), |bus| (bus.address_cells(), bus.size_cells()));
            let left = cells.len() * 4;
            let (Some(address), Some(bytes)) = (cells.number(address_cells), cells.number(size_cells)) else {
                let cause = Cause::Truncated { needs: (address_cells + size_cells) * 4, has: left };
                return self.problem(at, "iommu-addresses", cause);
            };
            let Some(span) = Span::new(Iova(address), bytes) else {
                let cause = if bytes == 0 { Cause::Empty } else { Cause::Range { found: bytes } };
                self.problem(at, "iommu-addresses", cause);
                continue;
            };
            let Some(target) = device.node() else { continue };
            let devices = match is_host(&device) {
                true => Devices::Pci { segment: self.segment(&device), first: 0, last: 0xffff, mask: 0xffff },
                false => Devices::Node { id: NodeId(target.at()), name: target.name() },
            };
            let (rule, at) = (rule(path, span), NodeId(at));
            (self.sink)(Fact::Reserved(Reserved { at, subject: Subject::Devices(devices), span, rule }));
        }
    }
}

/// A region without memory of its own only keeps the addresses free; one with memory is to be seen there.
fn rule(region: &Path<'_>, span: Span<Iova>) -> ReservedRule {
    let memory =
        || (0..).map_while(|index| region.registers(index)).filter(|memory| memory.bytes == span.bytes);
    let same = memory().find(|memory| memory.start.0 == span.start.0);
    match same.or_else(|| memory().next()) {
        None => ReservedRule::Forbidden,
        Some(memory) => ReservedRule::Required {
            to: PhysAddr(memory.start.0),
            attributes: Attributes::READ_WRITE,
            relaxable: false,
        },
    }
}
