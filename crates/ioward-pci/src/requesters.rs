//! The requester IDs that a function's requests may carry by the time they reach an IOMMU.

use crate::{
    Bdf, PortType, Topology,
    quirks::{AliasQuirk, Aliases},
    topology::Index,
};
use alloc::{collections::BTreeMap, vec::Vec};

/// Where a requester ID comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// It is the function's own.
    Own,
    /// A quirk.
    Quirk(&'static AliasQuirk),
    /// Firmware says so ([`Topology::add_firmware_alias`]).
    Firmware,
    /// A phantom function (PCI Express Base 6.0, section 2.2.6.2).
    Phantom,
    /// A bridge above puts it there.
    Bridge(Bdf),
    /// A VMD controller issues the requests.
    Owner(Bdf),
}

/// A requester ID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Requester {
    /// The segment and ID, as the function that they would name.
    pub id: Bdf,
    /// Where it comes from.
    pub origin: Origin,
}

/// What a bridge makes of requester IDs from below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Takeover {
    /// They stay.
    Keeps,
    /// They become the bridge's own.
    Own,
    /// They become function 0 of device 0 on its secondary bus (PCI Express to PCI/PCI-X Bridge 1.0, section 2.3).
    Secondary,
    /// They stay, and the IOMMU sits right above.
    Root,
}

impl Topology {
    /// Every requester ID that a function's requests may carry, its own (or its VMD controller's) first, none twice.
    pub fn requesters(&self, function: Index) -> Vec<Requester> {
        let owner = self.owner(function);
        let source = owner.unwrap_or(function);
        let at = self.functions()[source].at;
        let mut all = Vec::new();
        let mut add = |id: Bdf, origin| {
            if !all.iter().any(|known: &Requester| known.id == id) {
                all.push(Requester { id, origin });
            }
        };
        add(at, owner.map_or(Origin::Own, |_| Origin::Owner(at)));
        for (devfn, origin) in self.used_on_bus(source) {
            add(Bdf { devfn, ..at }, origin);
        }
        for bridge in self.path(source) {
            let above = self.functions()[bridge].at;
            match self.takeover(bridge) {
                Takeover::Keeps => {}
                Takeover::Root => break,
                Takeover::Own => add(above, Origin::Bridge(above)),
                Takeover::Secondary => {
                    let bus = self.below(bridge).map_or(above.bus, |below| below.id.number);
                    add(Bdf { bus, devfn: 0, ..above }, Origin::Bridge(above));
                }
            }
        }
        all
    }

    /// What a function does with the requester IDs of what is below it.
    pub(crate) fn takeover(&self, bridge: Index) -> Takeover {
        if self.override_of(bridge).no_takeover {
            return Takeover::Keeps;
        }
        let function = &self.functions()[bridge];
        let row = self.alias_quirk(bridge).map(|(row, _)| row.aliases);
        match (function.port_type(), row) {
            (_, Some(Aliases::TranslatesBelow)) => Takeover::Root,
            (_, Some(Aliases::Transparent)) => Takeover::Keeps,
            (Some(PortType::ToConventional), _) => Takeover::Secondary,
            (Some(PortType::FromConventional), _) => Takeover::Own,
            (Some(_), _) => Takeover::Keeps,
            // A bridge that nobody could look into: a port more likely than not.
            (None, _) if !function.express.is_seen() => Takeover::Keeps,
            // Without a PCI Express capability: the row holds only where PCI Express is right above.
            (None, Some(Aliases::BridgeToConventional)) => {
                let above = self.above(bridge).and_then(|above| self.functions()[above].port_type());
                match above {
                    Some(kind) if kind != PortType::ToConventional => Takeover::Secondary,
                    _ => Takeover::Own,
                }
            }
            (None, _) => Takeover::Own,
        }
    }

    /// The device and function numbers of its own bus that a function uses besides its own.
    pub(crate) fn used_on_bus(&self, function: Index) -> Vec<(u8, Origin)> {
        let at = self.functions()[function].at;
        let mut used = Vec::new();
        if self.override_of(function).no_aliases {
            return used;
        }
        used.extend(self.firmware_aliases(function).iter().map(|&devfn| (devfn, Origin::Firmware)));
        if let Some((row, _)) = self.alias_quirk(function) {
            row.aliases.each(at, |devfn| used.push((devfn, Origin::Quirk(row))));
        }
        if let Some(express) = self.functions()[function].express.present()
            && express.phantom_enabled
        {
            // The uppermost bits of the function number count phantoms.
            let bits = express.phantom_bits.min(3);
            let own = at.devfn & !(7 << (3 - bits) & 7);
            let phantoms = (0..1u8 << bits).map(|count| own | count << (3 - bits));
            used.extend(phantoms.filter(|&devfn| devfn != at.devfn).map(|devfn| (devfn, Origin::Phantom)));
        }
        used
    }
}

/// Who uses each requester ID of a machine.
#[derive(Clone, Debug, Default)]
pub struct Users {
    by_requester: BTreeMap<Bdf, Vec<Index>>,
}

impl Users {
    /// Of every function of a machine.
    pub fn of(topology: &Topology) -> Self {
        let mut by_requester: BTreeMap<Bdf, Vec<Index>> = BTreeMap::new();
        for function in 0..topology.functions().len() {
            for requester in topology.requesters(function) {
                by_requester.entry(requester.id).or_default().push(function);
            }
        }
        Self { by_requester }
    }

    /// The functions whose requests may carry this ID, ascending.
    pub fn users(&self, requester: Bdf) -> &[Index] {
        self.by_requester.get(&requester).map_or(&[], Vec::as_slice)
    }

    /// A function that shares one of `function`'s requester IDs, and which.
    pub fn shared(&self, topology: &Topology, function: Index) -> Option<(Index, Bdf)> {
        topology.requesters(function).into_iter().find_map(|requester| {
            let other = self.users(requester.id).iter().find(|&&other| other != function)?;
            Some((*other, requester.id))
        })
    }
}
