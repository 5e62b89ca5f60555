//! Every DMAR table of the corpus, field by field against `iasl`'s listing.

mod common;

use common::{Shown, compare, corpus, files};
use ioward_firmware::dmar::{self, Dmar, Structure, structure::Body};
use ioward_types::describe::{Cause, Fact, ReservedRule};
use std::fs;

#[test]
fn dmar_tables_are_what_iasl_says() {
    let Some(folder) = corpus("acpi/DMAR") else { return };
    let (mut tables, mut lines) = (0, 0);
    for path in files(&folder, "dat") {
        let bytes = fs::read(&path).expect("the corpus can be read");
        let table = Dmar::new(&bytes);
        let mut shown = Shown::default();
        shown.header(&table.header());
        shown.field(36, "Host Address Width", table.host_address_width());
        shown.field(37, "Flags", table.flags());
        shown.field(38, "Reserved", number(&table.reserved()));
        for structure in table.structures() {
            show(&mut shown, &structure);
        }
        lines += compare(&path, &shown, &[], None);
        tables += 1;
    }
    println!("{tables} tables, {lines} lines");
    assert!(tables > 0);
}

/// Bytes as a listing prints them, the first one first.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn show(shown: &mut Shown, structure: &Structure<'_>) {
    let at = structure.at();
    shown.field(at, "Subtable Type", structure.kind());
    shown.field(at + 2, "Length", structure.length());
    match structure.body() {
        Body::Drhd(drhd) => {
            shown.field(at + 4, "Flags", drhd.flags());
            shown.bits(at + 5, "Size", drhd.size().into(), &[("Size (pages, log2)", 0, 4)]);
            shown.field(at + 6, "PCI Segment Number", drhd.segment());
            shown.field(at + 8, "Register Base Address", drhd.base());
        }
        Body::Rmrr(rmrr) => {
            shown.field(at + 4, "Reserved", rmrr.reserved());
            shown.field(at + 6, "PCI Segment Number", rmrr.segment());
            shown.field(at + 8, "Base Address", rmrr.base());
            shown.field(at + 16, "End Address (limit)", rmrr.limit());
        }
        Body::Atsr(atsr) => {
            shown.field(at + 4, "Flags", atsr.flags());
            shown.field(at + 5, "Reserved", atsr.reserved());
            shown.field(at + 6, "PCI Segment Number", atsr.segment());
        }
        Body::Rhsa(rhsa) => {
            shown.field(at + 4, "Reserved", rhsa.reserved());
            shown.field(at + 8, "Base Address", rhsa.base());
            shown.field(at + 16, "Proximity Domain", rhsa.proximity_domain());
        }
        Body::Andd(andd) => {
            shown.field(at + 4, "Reserved", number(&andd.reserved()));
            shown.field(at + 7, "Device Number", andd.device_number());
            shown.field(at + 8, "Device Name", andd.name().unwrap_or("unreadable"));
        }
        Body::Satc(satc) => {
            shown.field(at + 4, "Flags", satc.flags());
            shown.field(at + 5, "Reserved", satc.reserved());
            shown.field(at + 6, "PCI Segment Number", satc.segment());
        }
        Body::Sidp(sidp) => {
            shown.field(at + 4, "Reserved", sidp.reserved());
            shown.field(at + 6, "PCI Segment Number", sidp.segment());
        }
        Body::Unknown(_) => {}
    }
    for scope in structure.scopes() {
        let at = scope.at();
        shown.field(at, "Device Scope Type", scope.kind());
        shown.field(at + 1, "Entry Length", scope.length());
        shown.field(at + 2, "Flags", scope.flags());
        shown.field(at + 3, "Reserved", scope.reserved());
        shown.field(at + 4, "Enumeration ID", scope.enumeration_id());
        shown.field(at + 5, "PCI Bus Number", scope.start_bus());
        for (hop, place) in (0..).zip(scope.path().chunks_exact(2)) {
            let text = format!("{:02X},{:02X}", place[0], place[1]);
            shown.field(at + 6 + 2 * hop, "PCI Path", text.as_str());
        }
    }
}

/// Of every table: units by their addresses, scopes, regions and rules for ATS. What a scope means is tried elsewhere.
#[test]
fn facts_leave_nothing_out() {
    let Some(folder) = corpus("acpi/DMAR") else { return };
    let (mut units, mut scopes, mut regions, mut rules) = (0, 0, 0, 0);
    for path in files(&folder, "dat") {
        let bytes = fs::read(&path).expect("the corpus can be read");
        let name = path.file_name().expect("a file has a name").to_string_lossy();
        let mut expected = (Vec::new(), 0, Vec::new(), 0);
        for structure in Dmar::new(&bytes).structures() {
            let named = structure.scopes().count();
            match structure.body() {
                Body::Drhd(drhd) => {
                    expected.0.push(drhd.base());
                    expected.1 += named + usize::from(drhd.flags() & 1);
                }
                Body::Rmrr(rmrr) => {
                    expected.2.extend(structure.scopes().map(|_| (rmrr.base(), rmrr.limit())));
                }
                Body::Atsr(atsr) if atsr.flags() & 1 != 0 => expected.3 += 1,
                Body::Atsr(_) | Body::Satc(_) | Body::Sidp(_) => expected.3 += named,
                _ => {}
            }
        }
        let mut found = (Vec::new(), 0, Vec::new(), 0);
        dmar::facts(&bytes, &mut |fact| match fact {
            Fact::Iommu(unit) => found.0.push(unit.registers.map_or(0, |registers| registers.start.0)),
            Fact::Scope(_) => found.1 += 1,
            Fact::Reserved(reserved) => {
                let ReservedRule::Required { to, .. } = reserved.rule else { panic!("{name}: {reserved:?}") };
                assert_eq!(to.0, reserved.span.start.0, "{name}");
                found.2.push((to.0, reserved.span.last().0));
            }
            Fact::Ats(_) => found.3 += 1,
            Fact::Problem(problem) => match problem.cause {
                // A unit at address zero, and the affinity of one that is not there.
                Cause::Range { found: 0 } | Cause::Unused { .. } => {}
                // Regions that are no whole pages.
                Cause::Misaligned { .. } => {}
                _ => panic!("{name}: {problem}"),
            },
            other => panic!("{name}: {other:?}"),
        });
        assert_eq!(found, expected, "{name}");
        units += found.0.len();
        scopes += found.1;
        regions += found.2.len();
        rules += found.3;
    }
    println!("{units} units, {scopes} scopes, {regions} regions, {rules} rules for ATS");
    assert!(units > 0);
}
