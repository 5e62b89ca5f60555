//! What every stream of facts promises, whatever the bytes.

use ioward_firmware::{
    Raw,
    acpi::Header,
    dmar::Dmar,
    iort::{Iort, node::Body},
    ivrs::Ivrs,
    kind_of,
    rimt::{self, Rimt},
    viot::{self, Viot},
};
use ioward_types::describe::{Devices, Fact, NodeId, Sources, Table};

/// Looks at the bytes through every raw view: they never fail, and what they list ends.
fn look(bytes: &[u8]) {
    let header = Header::new(Raw::new(bytes));
    assert_eq!(header.signature().as_slice(), Raw::new(bytes).array::<4>(0).as_slice());
    let numbers = (header.length(), header.revision(), header.checksum(), header.oem_revision());
    let makers = (header.oem_id(), header.oem_table_id(), header.creator_id(), header.creator_revision());
    let _ = (numbers, makers);
    if let Some(table) = kind_of(bytes) {
        assert!(matches!(bytes[0], b'I' | b'D' | b'R' | b'V' | 0xd0), "{table}");
    }
    // A node and a block are at least a header long where another follows.
    assert!(Iort::new(bytes).nodes().count() <= bytes.len());
    assert!(Ivrs::new(bytes).blocks().count() <= bytes.len());
    for node in Iort::new(bytes).nodes() {
        assert!(node.at() as usize <= bytes.len());
        let _ = node.identifier();
        match node.body() {
            Body::Smmu(smmu) => {
                let listed = smmu.context_interrupts().count() + smmu.pmu_interrupts().count();
                assert!(listed <= bytes.len() / 4);
                let _ = smmu.global_interrupts();
            }
            Body::Iwb(iwb) => assert!(iwb.device_name().is_none_or(|name| name.len() < bytes.len())),
            _ => {}
        }
    }
    look_closer(bytes);
    for block in Ivrs::new(bytes).blocks() {
        assert!(block.at() as usize <= bytes.len());
        let _ = block.flags();
    }
}

/// The same for the tables that came later.
fn look_closer(bytes: &[u8]) {
    let (dmar, rimt, viot) = (Dmar::new(bytes), Rimt::new(bytes), Viot::new(bytes));
    let _ = (dmar.host_address_width(), dmar.flags(), dmar.reserved(), rimt.reserved(), viot.reserved());
    assert_eq!(dmar.header().length(), rimt.header().length());
    assert_eq!(dmar.header().length(), viot.header().length());
    assert!(dmar.structures().count() + rimt.nodes().count() + viot.nodes().count() <= bytes.len());
    for structure in dmar.structures() {
        assert!(structure.at() as usize <= bytes.len());
        // A scope is at least a header long where another follows.
        assert!(structure.scopes().count() <= bytes.len());
        for scope in structure.scopes() {
            assert!(scope.path().len() <= 0xff - 6);
            let _ = (scope.reserved(), scope.flags());
        }
        if let ioward_firmware::dmar::structure::Body::Andd(andd) = structure.body() {
            assert!(andd.name().is_none_or(|name| name.len() < bytes.len()));
            let _ = andd.reserved();
        }
    }
    for node in rimt.nodes() {
        let _ = (node.revision(), node.reserved(), node.id());
        assert!(node.mappings().all(|mapping| !mapping.is_empty()));
        if let rimt::node::Body::Iommu(iommu) = node.body() {
            assert!(iommu.wires().count() <= bytes.len() / 8);
        }
    }
    for node in viot.nodes() {
        let _ = node.reserved();
        match node.body() {
            viot::node::Body::PciRange(range) => drop(range.reserved()),
            viot::node::Body::MmioEndpoint(endpoint) => drop(endpoint.reserved()),
            _ => {}
        }
    }
}

/// Reads the bytes as a table and holds the facts against the promises.
pub fn hold(table: Table, bytes: &[u8]) {
    look(bytes);
    let inside = |at: NodeId| assert!((at.0 as usize) < bytes.len(), "{at} is outside");
    ioward_firmware::facts(table, bytes, &mut |fact| match fact {
        Fact::Problem(problem) => {
            assert_eq!(problem.table, table);
            assert!(problem.offset as usize <= bytes.len(), "{problem} is outside");
            assert!(!problem.to_string().is_empty());
        }
        Fact::Iommu(iommu) => {
            inside(iommu.id);
            assert!(iommu.registers.is_none_or(|span| span.is_valid()));
        }
        Fact::Scope(scope) => {
            inside(scope.at);
            scope.served.iter().for_each(|served| inside(served.iommu));
            if let Devices::Pci { first, last, .. } = scope.devices {
                assert!(first <= last);
                // A range does not wrap, so that whoever counts through it arrives.
                if let Some(Sources::Consecutive(source)) = scope.served.map(|served| served.sources) {
                    assert!(source.0.checked_add(u32::from(last - first)).is_some());
                }
            }
            if let Some(Sources::All { first, last }) = scope.served.map(|served| served.sources) {
                assert!(first <= last);
            }
            assert!(
                !scope.devices.to_string().is_empty()
                    || matches!(
                        scope.devices,
                        Devices::AcpiId { .. } | Devices::AcpiPath("") | Devices::Node { name: "", .. }
                    )
            );
            assert!(scope.traits.addr_bits.is_none_or(|bits| (1..64).contains(&bits)));
        }
        Fact::Reserved(reserved) => {
            inside(reserved.at);
            assert!(reserved.span.is_valid());
        }
        Fact::Ats(ats) => inside(ats.at),
        Fact::PciHost(host) => assert!(host.ecam.is_none_or(|span| span.is_valid())),
        Fact::Msi(msi) => inside(msi.at),
        Fact::Doorbell(doorbell) => {
            inside(doorbell.controller);
            assert!(doorbell.span.is_valid());
        }
        _ => {}
    });
}

/// The same bytes with the signature and length that let a parser past the header.
#[allow(dead_code, reason = "device trees have no such header")]
pub fn sealed(bytes: &[u8], signature: [u8; 4]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= 8 {
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&signature);
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
    }
    bytes
}
