//! Any bytes as an IORT: the facts keep their promises, and the raw view shows whatever is there.
#![no_main]

use ioward_firmware::iort::{Iort, node::Body};
use ioward_types::describe::Table;
use libfuzzer_sys::fuzz_target;

#[path = "../promises.rs"]
mod promises;

fuzz_target!(|bytes: &[u8]| {
    promises::hold(Table::Iort, bytes);
    promises::hold(Table::Iort, &promises::sealed(bytes, *b"IORT"));
    for node in Iort::new(bytes).nodes() {
        let _ = (node.is_cut(), node.identifier(), node.mappings().count());
        match node.body() {
            Body::ItsGroup(group) => drop(group.identifiers().count()),
            Body::NamedComponent(component) => drop(component.device_name()),
            Body::Smmu(smmu) => {
                let _ = (
                    smmu.global_interrupts(),
                    smmu.context_interrupts().count(),
                    smmu.pmu_interrupts().count(),
                );
            }
            Body::Rmr(rmr) => drop(rmr.descriptors().map(|range| range.length()).max()),
            Body::Iwb(iwb) => drop(iwb.device_name()),
            Body::RootComplex(_) | Body::SmmuV3(_) | Body::Pmcg(_) | Body::Unknown(_) => {}
        }
    }
});
