//! The PCI side, as far as joining needs it.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use ioward_core::device::{PasidDenied, PasidOffer};
use ioward_pci::{
    Bdf, Topology,
    function::Header,
    groups::Grouping,
    joins::{Joins, PasidRefusal},
};
use ioward_types::describe::PciFunction;

/// The smallest translation that a device with ATS caches: a page of 4 KiB (PCI Express Base 6.0, section 10.2.3.2).
const ATS_SHIFT: u8 = 12;

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
    /// One of its requester IDs that another function uses too, which forbids PASIDs.
    pub shared: Option<PciFunction>,
    /// It caches translations, the smallest of `1 << shift` bytes.
    pub ats: Option<u8>,
    /// It is built into the machine.
    pub trusted: bool,
    /// It is a bridge, whose driver does no DMA.
    pub bridge: bool,
    /// The buses behind it, the first and the last, of a bridge whose buses are numbered.
    pub buses: Option<(u8, u8)>,
    /// The physical function of a virtual one.
    pub physical: Option<PciFunction>,
    /// Base class (15:8) and subclass (7:0).
    pub class: Option<u16>,
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
            shared: None,
            ats: None,
            trusted: true,
            bridge: false,
            buses: None,
            physical: None,
            class: None,
        }
    }

    /// Whether it may lose the regions that firmware reserved for it once a driver has taken over: firmware drives USB
    /// controllers (base class 0Ch, subclass 03h) as keyboards and graphics (base class 03h) as consoles, and drivers
    /// reset both.
    pub(super) fn outgrows_regions(&self) -> bool {
        self.class.is_some_and(|class| class == 0x0c03 || class >> 8 == 0x03)
    }
}

impl Bus {
    /// No functions at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// The functions of a machine that was read and grouped, in the topology's order.
    pub fn of(topology: &Topology, grouping: &Grouping) -> Self {
        let joins = Joins::of(topology, grouping);
        let functions = joins.functions.iter().map(|joined| {
            let (denied, shared) = match joined.pasid_refused {
                None => (None, None),
                Some(PasidRefusal::SharedRequester { requester, .. }) => (None, named(requester)),
                // What nobody could read is not promised to be redirected.
                Some(_) => (Some(PasidDenied::NotRedirected), None),
            };
            let function = &topology.functions()[joined.function];
            let buses = match function.header {
                // Zero is what an unnumbered bridge has.
                Header::Bridge { secondary, subordinate, .. } if secondary != 0 => {
                    Some((secondary, subordinate))
                }
                _ => None,
            };
            let physical = topology.physical(joined.function).map(|index| topology.functions()[index].at);
            BusFunction {
                name: topology.functions()[joined.function].at.to_string(),
                at: joined.at,
                requesters: joined.requesters.iter().filter_map(|requester| named(requester.id)).collect(),
                group: joins.companions(joined.function).collect(),
                pasid: PasidOffer { bits: joined.pasid_bits, denied },
                shared,
                ats: joined.ats.then_some(ATS_SHIFT),
                trusted: joined.trusted,
                bridge: joined.bridge,
                buses,
                physical: physical.and_then(named),
                class: function.class,
            }
        });
        Self { functions: functions.collect() }
    }

    /// Whether anything is known of a segment.
    pub(super) fn knows(&self, segment: u16) -> bool {
        self.functions.iter().filter_map(|function| function.at).any(|at| at.segment == segment)
    }
}

/// As firmware's tables name it; none beyond their 16 bits of segment.
fn named(at: Bdf) -> Option<PciFunction> {
    let segment = u16::try_from(at.segment).ok()?;
    Some(PciFunction { segment, requester: at.requester() })
}
