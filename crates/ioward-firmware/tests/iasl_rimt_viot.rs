//! Every RIMT and VIOT table of the corpus, field by field against `iasl`'s listing.

mod common;

use common::{Shown, compare, corpus, files};
use ioward_firmware::{
    rimt::{self, Rimt},
    viot::{self, Viot},
};
use std::fs;

#[test]
fn rimt_tables_are_what_iasl_says() {
    let Some(folder) = corpus("acpi/RIMT") else { return };
    let (mut tables, mut lines) = (0, 0);
    for path in files(&folder, "dat") {
        let bytes = fs::read(&path).expect("the corpus can be read");
        let table = Rimt::new(&bytes);
        let mut shown = Shown::default();
        shown.header(&table.header());
        shown.field(36, "Number of RIMT Nodes", table.node_count());
        shown.field(40, "Offset to RIMT Node Array", table.node_offset());
        shown.field(44, "Reserved", table.reserved());
        table.nodes().for_each(|node| show_rimt(&mut shown, &node));
        lines += compare(&path, &shown, &[], None);
        tables += 1;
    }
    println!("{tables} tables, {lines} lines");
    assert!(tables > 0);
}

fn show_rimt(shown: &mut Shown, node: &rimt::Node<'_>) {
    let at = node.at();
    shown.field(at, "Type", node.kind());
    shown.field(at + 1, "Revision", node.revision());
    shown.field(at + 2, "Length", node.length());
    shown.field(at + 4, "Reserved", node.reserved());
    shown.field(at + 6, "ID", node.id());
    match node.body() {
        rimt::node::Body::Iommu(iommu) => {
            shown.field(at + 8, "Hardware ID", &iommu.hardware_id()[..]);
            shown.field(at + 16, "Base Address", iommu.base());
            shown.field(at + 24, "Flags", iommu.flags());
            shown.field(at + 28, "Proximity Domain", iommu.proximity_domain());
            shown.field(at + 32, "PCIe Segment number", iommu.segment());
            shown.field(at + 34, "PCIe B/D/F", iommu.function());
            shown.field(at + 36, "Number of interrupt wires", iommu.wire_count());
            shown.field(at + 38, "Interrupt wire array offset", iommu.wire_offset());
        }
        rimt::node::Body::RootComplex(complex) => {
            shown.field(at + 8, "Flags", complex.flags());
            shown.field(at + 12, "Reserved", complex.reserved());
            shown.field(at + 14, "PCIe Segment number", complex.segment());
            shown.field(at + 16, "ID mapping array offset", complex.mapping_offset());
            shown.field(at + 18, "Number of ID mappings", complex.mapping_count());
        }
        rimt::node::Body::Platform(device) => {
            shown.field(at + 8, "ID mapping array offset", device.mapping_offset());
            shown.field(at + 10, "Number of ID mappings", device.mapping_count());
            shown.field(at + 12, "Device Object Name", device.device_name().unwrap_or("unreadable"));
        }
        rimt::node::Body::Unknown(_) => {}
    }
    for mapping in node.mappings() {
        let at = mapping.at();
        shown.field(at, "Source ID Base", mapping.source_base());
        shown.field(at + 4, "Number of IDs", mapping.id_count());
        shown.field(at + 8, "Destination Device ID Base", mapping.destination_base());
        shown.field(at + 12, "Destination IOMMU Offset", mapping.destination());
        shown.field(at + 16, "Flags", mapping.flags());
    }
}

#[test]
fn viot_tables_are_what_iasl_says() {
    let Some(folder) = corpus("acpi/VIOT") else { return };
    let (mut tables, mut lines) = (0, 0);
    for path in files(&folder, "dat") {
        let bytes = fs::read(&path).expect("the corpus can be read");
        let table = Viot::new(&bytes);
        let mut shown = Shown::default();
        shown.header(&table.header());
        shown.field(36, "Node count", table.node_count());
        shown.field(38, "Node offset", table.node_offset());
        shown.field(40, "Reserved", table.reserved());
        table.nodes().for_each(|node| show_viot(&mut shown, &node));
        lines += compare(&path, &shown, &[], None);
        tables += 1;
    }
    println!("{tables} tables, {lines} lines");
    assert!(tables > 0);
}

fn show_viot(shown: &mut Shown, node: &viot::Node<'_>) {
    let at = node.at();
    shown.field(at, "Type", node.kind());
    shown.field(at + 1, "Reserved", node.reserved());
    shown.field(at + 2, "Length", node.length());
    let six = |bytes: [u8; 6]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    match node.body() {
        viot::node::Body::PciRange(range) => {
            shown.field(at + 4, "Endpoint start", range.endpoint_start());
            shown.field(at + 8, "PCI Segment start", range.segment_start());
            shown.field(at + 10, "PCI Segment end", range.segment_end());
            shown.field(at + 12, "PCI BDF start", range.function_start());
            shown.field(at + 14, "PCI BDF end", range.function_end());
            shown.field(at + 16, "Output node", range.output_node());
            shown.field(at + 18, "Reserved", six(range.reserved()));
        }
        viot::node::Body::MmioEndpoint(endpoint) => {
            shown.field(at + 4, "Endpoint", endpoint.endpoint());
            shown.field(at + 8, "Base address", endpoint.base());
            shown.field(at + 16, "Output node", endpoint.output_node());
            shown.field(at + 18, "Reserved", six(endpoint.reserved()));
        }
        viot::node::Body::PciIommu(iommu) => {
            shown.field(at + 4, "PCI Segment", iommu.segment());
            shown.field(at + 6, "PCI BDF number", iommu.function());
            shown.field(at + 8, "Reserved", iommu.reserved());
        }
        viot::node::Body::MmioIommu(iommu) => {
            shown.field(at + 4, "Reserved", iommu.reserved());
            shown.field(at + 8, "Base address", iommu.base());
        }
        viot::node::Body::Unknown(_) => {}
    }
}
