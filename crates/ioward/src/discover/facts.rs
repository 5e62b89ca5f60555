//! What all tables of a machine say, collected.

use alloc::{collections::BTreeSet, vec::Vec};
use ioward_pci::Topology;
use ioward_types::describe::{Devices, Fact, Problem, Severity, Sources, Table};

/// Facts of any number of tables, borrowed from their bytes.
#[derive(Clone, Debug, Default)]
pub struct Facts<'a> {
    /// Each with the number of its table, since node ids mean nothing outside their table.
    list: Vec<(usize, Table, Fact<'a>)>,
    /// Those of the list that are neither scopes nor problems: what every device is compared with.
    beside: Vec<usize>,
    tables: usize,
}

impl<'a> Facts<'a> {
    /// No facts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a table of a known kind. What is wrong with it is among the facts.
    pub fn read(&mut self, table: Table, bytes: &'a [u8]) {
        let number = self.tables;
        self.tables += 1;
        ioward_firmware::facts(table, bytes, &mut |fact| self.keep(number, table, fact));
    }

    /// Reads a table of whatever kind its first bytes say; none, and nothing read, if they say none that describes
    /// IOMMUs.
    pub fn read_any(&mut self, bytes: &'a [u8]) -> Option<Table> {
        let table = ioward_firmware::kind_of(bytes)?;
        self.read(table, bytes);
        Some(table)
    }

    /// Adds a fact that no table says, as one of the table read last.
    pub fn push(&mut self, table: Table, fact: Fact<'a>) {
        self.keep(self.tables.saturating_sub(1), table, fact);
    }

    fn keep(&mut self, number: usize, table: Table, fact: Fact<'a>) {
        if !matches!(fact, Fact::Scope(_) | Fact::Problem(_)) {
            self.beside.push(self.list.len());
        }
        self.list.push((number, table, fact));
    }

    /// The facts, each with the number of its table (in the order of reading) and the table's kind.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Table, &Fact<'a>)> {
        self.list.iter().map(|(number, table, fact)| (*number, *table, fact))
    }

    /// The facts that are neither scopes, of which a table can have very many, nor problems.
    pub(super) fn beside_scopes(&self) -> impl Iterator<Item = (usize, Table, &Fact<'a>)> {
        self.beside
            .iter()
            .filter_map(|index| self.list.get(*index))
            .map(|(number, table, fact)| (*number, *table, fact))
    }

    /// The first part of a table that could not be read and may have named any device. In a device tree each device names
    /// its IOMMU itself, and only a tree of which nothing was read hides any.
    pub(super) fn unread(&self) -> Option<Problem> {
        let is_problem = |fact: &Fact<'a>| matches!(fact, Fact::Problem(_));
        let read: BTreeSet<usize> =
            self.iter().filter(|(_, _, fact)| !is_problem(fact)).map(|(number, ..)| number).collect();
        self.iter().find_map(|(number, _, fact)| match fact {
            Fact::Problem(problem) if problem.severity() == Severity::Broken => {
                let hides = problem.table != Table::DeviceTree || !read.contains(&number);
                hides.then_some(*problem)
            }
            _ => None,
        })
    }

    /// Tells a topology which functions use another requester ID of their own bus too, by firmware's word (alias entries of
    /// an IVRS). To be called before it is grouped.
    pub fn tell_aliases(&self, topology: &mut Topology) {
        let mut aliases = Vec::new();
        for (_, _, fact) in self.iter() {
            let Fact::Scope(scope) = fact else { continue };
            let Some(Sources::Same(alias)) = scope.served.map(|served| served.sources) else { continue };
            let Devices::Pci { segment, first, last, mask: 0xffff } = scope.devices else { continue };
            let Ok(alias) = u16::try_from(alias.0) else { continue };
            for function in topology.functions() {
                let (at, id) = (function.at, function.at.requester());
                let is_meant = at.segment == u32::from(segment) && (first..=last).contains(&id);
                // An alias on another bus is a bridge's work, which the topology sees by itself.
                if is_meant && id >> 8 == alias >> 8 && id != alias {
                    aliases.push((at, alias as u8));
                }
            }
        }
        for (at, devfn) in aliases {
            let _: bool = topology.add_firmware_alias(at, devfn);
        }
    }
}
