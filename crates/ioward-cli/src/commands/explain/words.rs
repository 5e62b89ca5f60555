//! What facts mean, for somebody who has never heard of them.

use ioward::pci::{
    AcsBits, PortType,
    groups::{Basis, Cause, Isolation, Lack},
};

/// The bits that everybody knows: those of the first byte of the register, without the one that says what else is there.
pub const SHOWN: AcsBits = AcsBits(0x7f);

/// What follows from a fact.
pub fn meaning(cause: &Cause) -> &'static str {
    match cause {
        Cause::NotIsolated { kind, lack, .. } => match (lack, kind) {
            (Lack::NoCapability, Some(PortType::RootPort | PortType::DownstreamPort)) => {
                "ACS is what makes a port send requests from below up to the IOMMU. A port without it may hand them straight \
                 to a neighbour, where no IOMMU sees them."
            }
            (Lack::NoCapability, _) => {
                "The functions of one device can reach each other inside it, past the IOMMU. Only an ACS capability \
                 promises that they do not, and this one has none."
            }
            (Lack::NotSet(_), _) => {
                "The hardware could send these requests up to the IOMMU, and nobody told it to."
            }
            (Lack::EgressControl, _) => {
                "Egress control lists neighbours that are reached directly, whatever redirection says."
            }
            (Lack::PortMemory, _) => {
                "A switch has memory of its own, and this port lets devices below it reach that without asking the IOMMU."
            }
            (Lack::NotExpress, _) => {
                "It is a conventional PCI function, or one built into the chipset that shows no PCI Express capability: \
                 nothing promises that its requests go past the IOMMU only."
            }
            (Lack::Kind, _) => "Redirection does not exist for a device of this kind.",
            (Lack::Quirk(_), _) => "That model is known not to isolate, whatever its registers say.",
            (Lack::Unseen, _) => {
                "Its capabilities could not be read, so the worst is assumed. As root it may turn out better."
            }
        },
        Cause::Conventional { .. } => {
            "On a conventional PCI bus all devices share the wires, and the bridge sends their requests on under one name. \
             The IOMMU cannot tell them apart."
        }
        Cause::Alias { .. } => {
            "The IOMMU knows devices by the ID in their requests. Where one uses another's ID, both are one to it."
        }
        Cause::Phantom { .. } => {
            "Phantom functions let a device use further IDs of its slot, so whoever owns those is the same to the IOMMU."
        }
        Cause::Owned { .. } => {
            "Requests of the drives behind Intel's VMD controller carry the controller's ID: to the IOMMU they are one \
             device."
        }
    }
}

/// What a bridge does with requests from below.
pub fn isolation(isolation: &Isolation, is_enough: bool) -> String {
    let by = match isolation.basis {
        Basis::Registers => format!("ACS bits on: {}", isolation.on & SHOWN),
        Basis::Quirk { row, .. } => format!("known to be {} ({})", row.what, row.source),
        Basis::Assumed => "its ACS bits were not shown; what a kernel sets at boot is assumed".to_owned(),
        Basis::Alone => "it has no neighbour inside its device".to_owned(),
        Basis::NoCapability => "no ACS capability".to_owned(),
        Basis::Kind => "of a kind that has no ACS".to_owned(),
        Basis::Unseen => "its capabilities could not be read".to_owned(),
        Basis::Supposed => "supposed".to_owned(),
    };
    match (is_enough, isolation.off.is_empty()) {
        (true, _) => format!("isolates ({by})"),
        (false, false) => format!("does not isolate ({by}; off though supported: {})", isolation.off & SHOWN),
        (false, true) => format!("does not isolate ({by})"),
    }
}
