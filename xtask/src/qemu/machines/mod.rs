//! Every machine, by what the kernels do there. A file here has a list of machines, which [`all`] adds to the whole.

mod broken;
mod changes;
mod fabric;
mod interrupts;
mod isolation;
mod nvme;
mod virtio;

use super::machine::Machine;

/// Two DMA engines on the first bus. Their mask lets them address everything; the usual one of 28 bits would hide what an
/// IOMMU must stop.
const EDU_ON_FIRST_BUS: &[&str] = &["edu,dma_mask=0xffffffffffffffff", "edu,dma_mask=0xffffffffffffffff"];
/// One there, one behind a port.
const EDU_ON_BOTH_BUSES: &[&str] = &[
    "edu,dma_mask=0xffffffffffffffff",
    "pcie-root-port,id=port1",
    "edu,dma_mask=0xffffffffffffffff,bus=port1",
];

/// All of them, in the order in which they are run.
pub fn all() -> impl Iterator<Item = &'static Machine> {
    [
        isolation::MACHINES,
        changes::MACHINES,
        broken::MACHINES,
        fabric::MACHINES,
        interrupts::MACHINES,
        nvme::MACHINES,
        virtio::MACHINES,
    ]
    .into_iter()
    .flatten()
}

/// Their names.
#[cfg(test)]
pub fn names() -> impl Iterator<Item = &'static str> {
    all().map(|machine| machine.name)
}

#[test]
fn names_are_unique_and_begin_with_the_architecture() {
    let mut seen = std::collections::BTreeSet::new();
    for machine in all() {
        assert!(machine.name.starts_with(&format!("{}-", machine.arch.name())), "{}", machine.name);
        assert!(seen.insert(machine.name), "{} is there twice", machine.name);
    }
}
