//! What a DMAR means, as facts.

use super::{
    scope::{declarations, meant},
    structure::{Andd, Atsr, Body, DeviceScope, Dmar, Drhd, Rhsa, Rmrr, Satc, Sidp, Structure},
    unit::{Unit, units},
};
use crate::acpi;
use ioward_types::{
    Attributes, Iova, PhysAddr, SourceId, Span,
    describe::{
        Ats, AtsRule, Cause, Devices, Fact, Iommu, IommuKind, NodeId, Problem, Reserved, ReservedRule, Scope,
        Served, Sources, Subject, Table, Traits, VtD,
    },
};

/// Flags of the table (VT-d rev 4.1, section 8.1).
mod flags {
    pub const INTR_REMAP: u8 = 1;
    pub const X2APIC_OPT_OUT: u8 = 1 << 1;
    pub const DMA_CTRL_PLATFORM_OPT_IN: u8 = 1 << 2;
}

/// Bit 0 of the flags of an ATSR structure.
const ALL_PORTS: u8 = 1;
/// Bit 0 of the flags of a SATC structure.
const ATC_REQUIRED: u8 = 1;

/// What a reserved region is made of (section 8.4).
const RMRR_GRANULE: u64 = 0x1000;

/// Delivers what a DMAR says. A table that cannot be read at all delivers one problem.
pub fn facts<'a>(bytes: &'a [u8], sink: &mut dyn FnMut(Fact<'a>)) {
    match acpi::open(bytes, Table::Dmar, b"DMAR", Dmar::LEAST, sink) {
        Ok(raw) => Walk { table: Dmar(raw), sink }.table(),
        Err(problem) => sink(Fact::Problem(problem)),
    }
}

/// A pass over the table.
struct Walk<'a, 's> {
    table: Dmar<'a>,
    sink: &'s mut dyn FnMut(Fact<'a>),
}

impl<'a> Walk<'a, '_> {
    fn table(&mut self) {
        for structure in self.table.structures() {
            if u32::from(structure.length()) < Structure::HEADER {
                let cause = Cause::Length { found: structure.length().into(), least: Structure::HEADER };
                return self.problem(structure.at() + 2, "structure", cause);
            }
            if structure.is_cut() {
                let cause = Cause::Truncated { needs: structure.length().into(), has: structure.raw.len() };
                self.problem(structure.at(), "structure", cause);
            }
            self.structure(&structure);
        }
    }

    fn structure(&mut self, structure: &Structure<'a>) {
        let (name, least) = match structure.body() {
            Body::Drhd(_) => ("DRHD", Drhd::LEAST),
            Body::Rmrr(_) => ("RMRR", Rmrr::LEAST),
            Body::Atsr(_) => ("ATSR", Atsr::LEAST),
            Body::Rhsa(_) => ("RHSA", Rhsa::LEAST),
            Body::Andd(_) => ("ANDD", Andd::LEAST),
            Body::Satc(_) => ("SATC", Satc::LEAST),
            Body::Sidp(_) => ("SIDP", Sidp::LEAST),
            Body::Unknown(kind) => {
                return self.problem(structure.at(), "structure", Cause::Unknown { kind: kind.into() });
            }
        };
        if structure.raw.len() < least {
            let cause = Cause::Truncated { needs: least, has: structure.raw.len() };
            return self.problem(structure.at(), name, cause);
        }
        match structure.body() {
            Body::Drhd(drhd) => self.drhd(structure, Unit { at: structure.at(), drhd }),
            Body::Rmrr(rmrr) => self.rmrr(structure, &rmrr),
            Body::Atsr(atsr) => self.atsr(structure, &atsr),
            Body::Satc(satc) => {
                let required = satc.flags() & ATC_REQUIRED != 0;
                let rule = |_: &DeviceScope<'a>| AtsRule::Integrated { required };
                self.ats(structure, satc.segment(), rule);
            }
            Body::Sidp(sidp) => {
                self.ats(structure, sidp.segment(), |scope| AtsRule::Properties(scope.flags()));
            }
            Body::Rhsa(rhsa) => {
                if !units(&self.table).any(|unit| unit.drhd.base() == rhsa.base()) {
                    self.problem(structure.at(), "RHSA", Cause::Unused { bytes: structure.raw.len() });
                }
            }
            Body::Andd(andd) => self.andd(structure, &andd),
            Body::Unknown(_) => {}
        }
    }

    fn drhd(&mut self, structure: &Structure<'a>, unit: Unit<'a>) {
        let first = unit.first(&self.table);
        if first.at == unit.at {
            self.unit(&unit);
        } else {
            self.problem(unit.at, "DRHD", Cause::Duplicate { first: first.at });
        }
        let (iommu, segment) = (NodeId(first.at), unit.drhd.segment());
        let scope = |devices, sources, at| {
            let served = Some(Served { iommu, sources });
            Fact::Scope(Scope { at: NodeId(at), devices, served, traits: Traits::default(), enabled: true })
        };
        self.scopes(structure, segment, "DRHD", &mut |walk, at, devices, sources, _| {
            (walk.sink)(scope(devices, sources, at));
        });
        if !unit.includes_all() {
            return;
        }
        // Of two units that include all the first one does; whoever else follows the table's order decides so too.
        match unit.includer_before(&self.table) {
            Some(with) => {
                let cause = Cause::Contradiction { what: "INCLUDE_PCI_ALL", with: with.at };
                self.problem(unit.at + 4, "DRHD", cause);
            }
            None => {
                let rest = Devices::PciRest { segment };
                (self.sink)(scope(rest, Sources::Consecutive(SourceId(0)), unit.at));
            }
        }
    }

    fn unit(&mut self, unit: &Unit<'a>) {
        let mut registers = unit.registers();
        if registers.is_none() {
            self.problem(unit.at + 8, "DRHD", Cause::Range { found: unit.drhd.base() });
        } else if let Some(cause) = unit.rival(&self.table) {
            // Two drivers on one register block would undo each other's work: the second unit gets none.
            self.problem(unit.at + 8, "DRHD", cause);
            registers = None;
        }
        let is = |flag: u8| self.table.flags() & flag != 0;
        let kind = IommuKind::VtD(VtD {
            segment: unit.drhd.segment(),
            include_all: unit.includes_all(),
            host_bits: self.table.host_address_width().saturating_add(1),
            interrupt_remapping: is(flags::INTR_REMAP),
            x2apic_opt_out: is(flags::X2APIC_OPT_OUT),
            dma_opt_in: is(flags::DMA_CTRL_PLATFORM_OPT_IN),
            proximity: unit.proximity(&self.table),
        });
        (self.sink)(Fact::Iommu(Iommu {
            id: NodeId(unit.at),
            kind,
            name: "",
            registers,
            function: None,
            interrupts: [None; 4],
            enabled: true,
        }));
    }

    fn rmrr(&mut self, structure: &Structure<'a>, rmrr: &Rmrr<'a>) {
        let (base, limit) = (rmrr.base(), rmrr.limit());
        let Some(span) = Span::inclusive(Iova(base), Iova(limit)).filter(|_| base < limit) else {
            return self.problem(structure.at() + 16, "RMRR", Cause::Range { found: limit });
        };
        if !span.is_aligned(RMRR_GRANULE) {
            // Still honoured, in whole pages: a device that needs it does not care about the rule.
            let found = if base % RMRR_GRANULE != 0 { base } else { limit };
            let cause = Cause::Misaligned { found, unit: RMRR_GRANULE };
            self.problem(structure.at() + 8, "RMRR", cause);
        }
        let mut any = false;
        self.scopes(structure, rmrr.segment(), "RMRR", &mut |walk, at, devices, _, _| {
            any = true;
            let subject = Subject::Devices(devices);
            // Which devices may lose it shows only in what they are, so nobody may by the table's word.
            let attributes = Attributes::READ_WRITE;
            let rule = ReservedRule::Required { to: PhysAddr(base), attributes, relaxable: false };
            (walk.sink)(Fact::Reserved(Reserved { at: NodeId(at), subject, span, rule }));
        });
        if !any {
            self.problem(structure.at(), "RMRR", Cause::Missing { what: "a device scope" });
        }
    }

    fn atsr(&mut self, structure: &Structure<'a>, atsr: &Atsr<'a>) {
        let segment = atsr.segment();
        if atsr.flags() & ALL_PORTS != 0 {
            let (at, devices) = (NodeId(structure.at()), Devices::PciRest { segment });
            return (self.sink)(Fact::Ats(Ats { at, devices, rule: AtsRule::RootPorts }));
        }
        self.ats(structure, segment, |_| AtsRule::RootPorts);
    }

    fn ats(&mut self, structure: &Structure<'a>, segment: u16, rule: impl Fn(&DeviceScope<'a>) -> AtsRule) {
        let name = match structure.body() {
            Body::Atsr(_) => "ATSR",
            Body::Satc(_) => "SATC",
            _ => "SIDP",
        };
        self.scopes(structure, segment, name, &mut |walk, at, devices, _, scope| {
            (walk.sink)(Fact::Ats(Ats { at: NodeId(at), devices, rule: rule(scope) }));
        });
    }

    fn andd(&mut self, structure: &Structure<'a>, andd: &Andd<'a>) {
        if andd.name().is_none() {
            self.problem(structure.at() + Andd::LEAST, "ANDD", Cause::Text);
        }
        let first =
            declarations(&self.table).find(|(_, other)| other.device_number() == andd.device_number());
        if let Some((first, _)) = first.filter(|(first, _)| *first != structure.at()) {
            self.problem(structure.at() + 7, "ANDD", Cause::Duplicate { first });
        }
    }

    /// The scopes of a structure that make sense: where each starts, what it means, and the scope itself.
    fn scopes(
        &mut self,
        structure: &Structure<'a>,
        segment: u16,
        name: &'static str,
        each: &mut dyn FnMut(&mut Self, u32, Devices<'a>, Sources, &DeviceScope<'a>),
    ) {
        for scope in structure.scopes() {
            let length = u32::from(scope.length());
            if length < DeviceScope::HEADER {
                let cause = Cause::Length { found: length, least: DeviceScope::HEADER };
                return self.problem(scope.at() + 1, name, cause);
            }
            if scope.is_cut() {
                let cause = Cause::Truncated { needs: length, has: scope.has() };
                return self.problem(scope.at(), name, cause);
            }
            match meant(&self.table, segment, &scope) {
                Ok((devices, sources)) => each(self, scope.at(), devices, sources, &scope),
                Err((offset, cause)) => self.problem(offset, "device scope", cause),
            }
        }
    }

    fn problem(&mut self, offset: u32, structure: &'static str, cause: Cause) {
        // A field of a structure that is cut off is where the table ends.
        let offset = offset.min(self.table.0.len());
        (self.sink)(Fact::Problem(Problem { table: Table::Dmar, offset, structure, cause }));
    }
}
