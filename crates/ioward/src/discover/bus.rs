//! The PCI side, as far as joining needs it.

use alloc::{string::String, vec::Vec};
use ioward_core::device::PasidOffer;
use ioward_types::describe::PciFunction;

/// The PCI functions of a machine.
#[derive(Clone, Debug, Default)]
pub struct Bus {
    /// In any order.
    pub functions: Vec<BusFunction>,
}

/// One PCI function.
#[derive(Clone, Debug)]
pub struct BusFunction {
    /// Where it is; a name for reports.
    pub name: String,
    /// Where it is; none for a function whose segment no firmware table can name (behind a VMD controller).
    pub at: Option<PciFunction>,
    /// Every requester ID that its requests may carry, its own among them unless a bridge always replaces it.
    pub requesters: Vec<PciFunction>,
    /// The other functions, by index in [`Bus::functions`], that it cannot be told apart from or can reach without passing
    /// an IOMMU.
    pub group: Vec<usize>,
    /// Its PASIDs, and whether the fabric lets them be granted.
    pub pasid: PasidOffer,
    /// It caches translations, the smallest of `1 << shift` bytes.
    pub ats: Option<u8>,
    /// It is built into the machine.
    pub trusted: bool,
    /// It is a bridge, whose driver does no DMA.
    pub bridge: bool,
}

impl BusFunction {
    /// A function with nothing special: its own requester ID, alone in its group, built in.
    pub fn new(name: impl Into<String>, at: PciFunction) -> Self {
        Self {
            name: name.into(),
            at: Some(at),
            requesters: [at].into(),
            group: Vec::new(),
            pasid: PasidOffer::NONE,
            ats: None,
            trusted: true,
            bridge: false,
        }
    }
}

impl Bus {
    /// No functions at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether anything is known of a segment.
    pub(super) fn knows(&self, segment: u16) -> bool {
        self.functions.iter().filter_map(|function| function.at).any(|at| at.segment == segment)
    }
}
