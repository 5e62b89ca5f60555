//! What firmware says about IOMMUs, joined with the bus.

use alloc::vec::Vec;
use ioward_pci::Bdf;
use ioward_types::{
    PhysAddr, SourceId, Span,
    describe::{Devices, Fact, Iommu, NodeId, PciFunction, Scope, Severity, Table},
};

/// All facts of one table.
pub struct Found {
    facts: Vec<Fact<'static>>,
}

impl Found {
    /// Reads a table and says what is wrong with it.
    pub fn read(table: Table, bytes: &'static [u8]) -> Self {
        let mut facts = Vec::new();
        ioward_firmware::facts(table, bytes, &mut |fact| match fact {
            Fact::Problem(problem) if problem.severity() == Severity::Note => {}
            Fact::Problem(problem) => crate::say!("firmware {problem}"),
            fact => facts.push(fact),
        });
        Self { facts }
    }

    /// All facts, in the table's order.
    pub fn facts(&self) -> &[Fact<'static>] {
        &self.facts
    }

    /// The IOMMUs.
    pub fn iommus(&self) -> impl Iterator<Item = &Iommu<'static>> {
        self.facts.iter().filter_map(|fact| if let Fact::Iommu(iommu) = fact { Some(iommu) } else { None })
    }

    /// The configuration space of the first PCI host, where the table describes it.
    pub fn ecam(&self) -> Option<Span<PhysAddr>> {
        self.facts.iter().find_map(|fact| if let Fact::PciHost(host) = fact { host.ecam } else { None })
    }

    /// Which IOMMU serves a function of segment 0, and as what; none where nobody does.
    pub fn source(&self, function: Bdf) -> Option<(NodeId, SourceId)> {
        let function = PciFunction { segment: 0, requester: function.requester() };
        let scopes = || {
            self.facts
                .iter()
                .filter_map(|fact| if let Fact::Scope(scope) = fact { Some(scope) } else { None })
        };
        let named = |scope: &Scope<'_>| {
            let position = scope.devices.position(function)?;
            Some((scope.served?, position))
        };
        let rest = |scope: &Scope<'_>| {
            let all = matches!(scope.devices, Devices::PciRest { segment: 0 });
            Some((scope.served.filter(|_| all)?, u32::from(function.requester)))
        };
        let (served, position) = scopes().find_map(named).or_else(|| scopes().find_map(rest))?;
        Some((served.iommu, served.sources.of(position)?))
    }
}
