//! What an IVRS means, as facts.

use super::{
    block::{Block, Body, Form, Hardware, Ivrs, Memory},
    entries::{Said, said},
    merge,
};
use crate::acpi;
use ioward_types::{
    Attributes, Iova, PhysAddr, SourceId, Span,
    describe::{
        Cause, Devices, Fact, Iommu, IommuKind, NodeId, Problem, Reserved, ReservedRule, Scope, Served,
        Sources, Subject, Table, Traits,
    },
};

/// The register block's bytes: with performance counters, and without (specification 48882, section 3.4).
const REGISTERS_WITH_COUNTERS: u64 = 0x8_0000;
const REGISTERS: u64 = 0x4000;

/// Delivers what an IVRS says. A table that cannot be read at all delivers one problem.
pub fn facts<'a>(bytes: &'a [u8], sink: &mut dyn FnMut(Fact<'a>)) {
    match acpi::open(bytes, Table::Ivrs, b"IVRS", Ivrs::LEAST, sink) {
        Ok(raw) => Walk { table: Ivrs(raw), sink }.table(),
        Err(problem) => sink(Fact::Problem(problem)),
    }
}

/// A pass over the table.
struct Walk<'a, 's> {
    table: Ivrs<'a>,
    sink: &'s mut dyn FnMut(Fact<'a>),
}

impl<'a> Walk<'a, '_> {
    fn table(&mut self) {
        for block in self.table.blocks() {
            if u32::from(block.length()) < Block::HEADER {
                let cause = Cause::Length { found: block.length().into(), least: Block::HEADER };
                return self.problem(block.at() + 2, "block", cause);
            }
            if block.is_cut() {
                let cause = Cause::Truncated { needs: block.length().into(), has: block.raw.len() };
                self.problem(block.at(), "block", cause);
            }
            match block.body() {
                Body::Hardware(hardware) => self.hardware(&hardware),
                Body::Memory(memory) => self.memory(&block, &memory),
                Body::Unknown(kind) => {
                    self.problem(block.at(), "block", Cause::Unknown { kind: kind.into() })
                }
            }
        }
    }

    fn hardware(&mut self, block: &Hardware<'a>) {
        if block.raw.len() < block.fixed_bytes() {
            let cause = Cause::Truncated { needs: block.fixed_bytes(), has: block.raw.len() };
            return self.problem(block.at(), "IVHD", cause);
        }
        if !merge::is_first(&self.table, block) {
            return;
        }
        let speaker = merge::speaker(&self.table, block);
        let facts = merge::gather(&self.table, &speaker);
        let has_counters = match speaker.form() {
            // PNCounters and PNBanks of the feature reporting field (table 86).
            Form::Basic => speaker.features() >> 13 & 0xf != 0 && speaker.features() >> 17 & 0x3f != 0,
            // PCSup of the extended feature register (table 52).
            Form::Extended | Form::Mixed => facts.efr.is_some_and(|efr| efr & 1 << 9 != 0),
        };
        let bytes = if has_counters { REGISTERS_WITH_COUNTERS } else { REGISTERS };
        let registers = Span::new(PhysAddr(speaker.base()), bytes).filter(|_| speaker.base() != 0);
        if registers.is_none() {
            self.problem(speaker.at() + 8, "IVHD", Cause::Range { found: speaker.base() });
        }
        let id = NodeId(block.at());
        (self.sink)(Fact::Iommu(Iommu {
            id,
            kind: IommuKind::AmdVi(facts),
            name: "",
            registers,
            function: Some(merge::key(&speaker)),
            interrupts: [None; 4],
            enabled: true,
        }));
        let (table, sink) = (self.table, &mut *self.sink);
        merge::contradictions(&table, &speaker, |offset, cause| {
            sink(Fact::Problem(Problem { table: Table::Ivrs, offset, structure: "IVHD", cause }));
        });
        said(&speaker, |entry| self.entry(id, speaker.segment(), entry));
    }

    fn entry(&mut self, iommu: NodeId, segment: u16, entry: Said<'a>) {
        let served = |sources| Some(Served { iommu, sources });
        let traits = |amd_setting, ats| Traits { amd_setting, ats, ..Traits::default() };
        let mut scope = |at, devices, sources, traits| {
            let at = NodeId(at);
            (self.sink)(Fact::Scope(Scope { at, devices, served: served(sources), traits, enabled: true }));
        };
        match entry {
            Said::All { at, setting } => {
                let sources = Sources::Consecutive(SourceId(0));
                scope(at, Devices::PciRest { segment }, sources, traits(setting, None));
            }
            Said::Range { at, first, last, alias, setting, ats } => {
                let devices = Devices::Pci { segment, first, last, mask: 0xffff };
                let own = Sources::Consecutive(SourceId(first.into()));
                scope(at, devices, own, traits(setting, ats));
                // Requests may carry the device's own ID as well as the alias, so both must be translated.
                if let Some(alias) = alias {
                    scope(at, devices, Sources::Same(SourceId(alias.into())), traits(setting, ats));
                }
            }
            Said::Named { at, devices, source, setting } => {
                scope(at, devices, Sources::Same(SourceId(source.into())), traits(setting, None));
            }
            Said::Wrong { at, cause } => self.problem(at, "device entry", cause),
        }
    }

    fn memory(&mut self, block: &Block<'a>, memory: &Memory<'a>) {
        if block.raw.len() < Memory::LEAST {
            let cause = Cause::Truncated { needs: Memory::LEAST, has: block.raw.len() };
            return self.problem(block.at(), "IVMD", cause);
        }
        let Some(span) = Span::new(Iova(memory.start()), memory.length()) else {
            let found = memory.length();
            let cause = if found == 0 { Cause::Empty } else { Cause::Range { found } };
            return self.problem(block.at() + 24, "IVMD", cause);
        };
        let (segment, first) = (memory.segment(), memory.device_id());
        let devices = |first, last| Subject::Devices(Devices::Pci { segment, first, last, mask: 0xffff });
        let subject = match memory.kind() {
            0x20 => Subject::Everybody,
            0x21 => devices(first, first),
            _ if memory.auxiliary() < first => {
                let found = memory.auxiliary().into();
                return self.problem(block.at() + 6, "IVMD", Cause::Range { found });
            }
            _ => devices(first, memory.auxiliary()),
        };
        let flags = memory.flags();
        let (unity, read, write, exclusion) =
            (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0, flags & 8 != 0);
        let attributes = Attributes { read, write, ..Attributes::READ_WRITE };
        let rule = match (exclusion, unity) {
            // IR and IW are for unity ranges; an exclusion range of a device has both rights.
            (true, _) => ReservedRule::Excluded { attributes: Attributes::READ_WRITE },
            (false, true) => {
                ReservedRule::Required { to: PhysAddr(memory.start()), attributes, relaxable: false }
            }
            // Neither: the range is set aside, and nothing says that it is to be reached.
            (false, false) => ReservedRule::Forbidden,
        };
        (self.sink)(Fact::Reserved(Reserved { at: NodeId(block.at()), subject, span, rule }));
    }

    fn problem(&mut self, offset: u32, structure: &'static str, cause: Cause) {
        // A field of a structure that is cut off is where the table ends.
        let offset = offset.min(self.table.0.len());
        (self.sink)(Fact::Problem(Problem { table: Table::Ivrs, offset, structure, cause }));
    }
}
