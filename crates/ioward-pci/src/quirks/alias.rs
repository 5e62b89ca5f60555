//! Devices whose requests carry a requester ID that is not theirs.

use super::{Devices, Match, matches};
use crate::{Bdf, Function, function::Ids};

/// What a row's devices do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aliases {
    /// They also use this function of their device.
    Function(u8),
    /// They also use these device and function numbers of their bus.
    Fixed(&'static [u8]),
    /// They also use functions 0 to 4 of every device of their bus.
    EveryDevice,
    /// They also use every other device and function number of their bus.
    WholeBus,
    /// They also use numbers that they keep in registers of their own, which configuration space does not show: nobody
    /// knows which, so what else is on their bus is unsure.
    Unread,
    /// They are PCI Express to PCI bridges without a PCI Express capability: what comes from below carries function 0 of
    /// device 0 of the secondary bus.
    BridgeToConventional,
    /// They are bridges that do not take requests over: what comes from below keeps its requester ID.
    Transparent,
    /// They are bridges below which the IOMMU sits: nothing above adds an alias.
    TranslatesBelow,
}

/// A row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AliasQuirk {
    /// The vendor ID.
    pub vendor: u16,
    /// The devices.
    pub devices: Devices,
    /// Subsystem vendor and device IDs that a device must have too; any, if empty.
    pub subsystems: &'static [(u16, u16)],
    /// The class and subclass that a device must have too; any, if none.
    pub class: Option<u16>,
    /// Their names where a dump has no IDs: each entry is a set of words, separated by `+`, that all occur in the name.
    pub names: &'static [&'static str],
    /// What they do.
    pub aliases: Aliases,
    /// What they are.
    pub what: &'static str,
    /// Who says so.
    pub source: &'static str,
}

const fn row(
    vendor: u16,
    devices: Devices,
    names: &'static [&'static str],
    aliases: Aliases,
    what: &'static str,
    source: &'static str,
) -> AliasQuirk {
    AliasQuirk { vendor, devices, subsystems: &[], class: None, names, aliases, what, source }
}

const fn devfn(device: u8, function: u8) -> u8 {
    device << 3 | function
}

/// Five families of third generation, then those of fourth and fifth: PFX, PSX, PAX and their A variants.
const SWITCHTEC: Devices = &[
    (0x8531, 0x8536),
    (0x8541, 0x8546),
    (0x8551, 0x8556),
    (0x8561, 0x8566),
    (0x8571, 0x8576),
    (0x4000, 0x4000),
    (0x4028, 0x4028),
    (0x4036, 0x4036),
    (0x4052, 0x4052),
    (0x4068, 0x4068),
    (0x4084, 0x4084),
    (0x4100, 0x4100),
    (0x4128, 0x4128),
    (0x4136, 0x4136),
    (0x4152, 0x4152),
    (0x4168, 0x4168),
    (0x4184, 0x4184),
    (0x4200, 0x4200),
    (0x4228, 0x4228),
    (0x4236, 0x4236),
    (0x4252, 0x4252),
    (0x4268, 0x4268),
    (0x4284, 0x4284),
    (0x4328, 0x4328),
    (0x4336, 0x4336),
    (0x4352, 0x4352),
    (0x4428, 0x4428),
    (0x4436, 0x4436),
    (0x4452, 0x4452),
    (0x4528, 0x4528),
    (0x4536, 0x4536),
    (0x4552, 0x4552),
    (0x5000, 0x5000),
    (0x5028, 0x5028),
    (0x5036, 0x5036),
    (0x5052, 0x5052),
    (0x5068, 0x5068),
    (0x5084, 0x5084),
    (0x5100, 0x5100),
    (0x5128, 0x5128),
    (0x5136, 0x5136),
    (0x5152, 0x5152),
    (0x5168, 0x5168),
    (0x5184, 0x5184),
    (0x5200, 0x5200),
    (0x5228, 0x5228),
    (0x5236, 0x5236),
    (0x5252, 0x5252),
    (0x5268, 0x5268),
    (0x5284, 0x5284),
    (0x5300, 0x5300),
    (0x5328, 0x5328),
    (0x5336, 0x5336),
    (0x5352, 0x5352),
    (0x5368, 0x5368),
    (0x5384, 0x5384),
    (0x5400, 0x5400),
    (0x5428, 0x5428),
    (0x5436, 0x5436),
    (0x5452, 0x5452),
    (0x5468, 0x5468),
    (0x5484, 0x5484),
    (0x5500, 0x5500),
    (0x5528, 0x5528),
    (0x5536, 0x5536),
    (0x5552, 0x5552),
    (0x5568, 0x5568),
    (0x5584, 0x5584),
];

/// The rows. At most one applies to a device.
pub static ALIASES: &[AliasQuirk] = &[
    row(
        0x1180,
        &[(0xe476, 0xe476), (0xe832, 0xe832)],
        &[],
        Aliases::Function(0),
        "a Ricoh card reader or FireWire controller",
        "bugzilla.redhat.com 605888",
    ),
    row(
        0x6766,
        &[(0x3d40, 0x3d41)],
        &[],
        Aliases::Function(0),
        "a Glenfly audio controller",
        "Glenfly, to Linux (quirk_dma_func0_alias)",
    ),
    row(
        0x1b4b,
        &[
            (0x9120, 0x9120),
            (0x9123, 0x9123),
            (0x9125, 0x9125),
            (0x9128, 0x9128),
            (0x9130, 0x9130),
            (0x9170, 0x9170),
            (0x9172, 0x9172),
            (0x917a, 0x917a),
            (0x9182, 0x9183),
            (0x91a0, 0x91a0),
            (0x9215, 0x9215),
            (0x9220, 0x9220),
            (0x9230, 0x9230),
            (0x9235, 0x9235),
        ],
        &["Marvell+88SE91", "Marvell+88SE92"],
        Aliases::Function(1),
        "a Marvell 88SE91xx or 88SE92xx SATA controller",
        "bugzilla.kernel.org 42679",
    ),
    row(
        0x1103,
        &[(0x0642, 0x0642), (0x0645, 0x0645)],
        &[],
        Aliases::Function(1),
        "a HighPoint RocketRAID controller",
        "bugzilla.kernel.org 42679",
    ),
    row(
        0x197b,
        &[(0x2392, 0x2392)],
        &[],
        Aliases::Function(1),
        "a JMicron JMB388 card reader",
        "bugs.gentoo.org 497630",
    ),
    row(
        0x1c28,
        &[(0x0122, 0x0122)],
        &[],
        Aliases::Function(1),
        "a Plextor M6E (Marvell 88SS9183)",
        "bugzilla.kernel.org 42679, comment 117",
    ),
    AliasQuirk {
        subsystems: &[(0x9005, 0x02bb), (0x9005, 0x02bc)],
        ..row(
            0x9005,
            &[(0x0285, 0x0285)],
            &[],
            Aliases::Fixed(&[devfn(1, 0)]),
            "an Adaptec 3405 or 3805",
            "Linux (quirk_fixed_dma_alias)",
        )
    },
    row(
        0x1b21,
        &[(0x1080, 0x1080)],
        &["ASMedia+ASM1083"],
        Aliases::BridgeToConventional,
        "an ASMedia ASM1083 or ASM1085 bridge",
        "bugzilla.kernel.org 44881, comment 46",
    ),
    row(
        0x10e3,
        &[(0x8113, 0x8113)],
        &["Tundra+Tsi381"],
        Aliases::BridgeToConventional,
        "a Tundra 8113 bridge",
        "bugzilla.kernel.org 44881, comment 43",
    ),
    row(
        0x1283,
        &[(0x8892, 0x8893)],
        &["Integrated Technology Express+IT889"],
        Aliases::BridgeToConventional,
        "an ITE 8892 or 8893 bridge",
        "bugzilla.kernel.org 73551",
    ),
    row(
        0x8086,
        &[(0x244e, 0x244e)],
        &["Intel Corporation 82801 PCI Bridge"],
        Aliases::BridgeToConventional,
        "an Intel 82801 bridge",
        "bugzilla.kernel.org 44881, comment 49",
    ),
    row(
        0x8086,
        &[(0x2260, 0x2260), (0x2264, 0x2264)],
        &[],
        Aliases::Fixed(&[devfn(0x10, 0), devfn(0x11, 0), devfn(0x12, 3)]),
        "an Intel Xeon Phi x200 non-transparent bridge",
        "Intel, to Linux (quirk_mic_x200_dma_alias)",
    ),
    row(
        0x8086,
        &[(0x2954, 0x2956), (0x2958, 0x295a)],
        &[],
        Aliases::EveryDevice,
        "an Intel Visual Compute Accelerator",
        "Intel, to Linux (quirk_pex_vca_alias)",
    ),
    row(
        0x10b5,
        &[(0x87b0, 0x87b1)],
        &["PLX+Non-Transparent Bridge"],
        Aliases::WholeBus,
        "a PLX non-transparent bridge",
        "Linux (quirk_plx_ntb_dma_alias)",
    ),
    AliasQuirk {
        class: Some(0x0680),
        ..row(
            0x11f8,
            SWITCHTEC,
            &[],
            Aliases::Unread,
            "the non-transparent bridge of a Switchtec switch",
            "Microsemi, to Linux (quirk_switchtec_ntb_dma_alias)",
        )
    },
    AliasQuirk {
        class: Some(0x0680),
        ..row(
            0x1055,
            &[(0x1001, 0x1006)],
            &[],
            Aliases::Unread,
            "the non-transparent bridge of a Microchip PCI100x switch",
            "Microchip, to Linux (quirk_switchtec_ntb_dma_alias)",
        )
    },
    row(
        0x14e4,
        &[(0x9000, 0x9000), (0x9084, 0x9084)],
        &[],
        Aliases::TranslatesBelow,
        "a Broadcom Vulcan or Cavium ThunderX2 bridge",
        "Cavium, to Linux (quirk_bridge_cavm_thrx2_pcie_root)",
    ),
    row(
        0x1a03,
        &[(0x1150, 0x1150)],
        &["ASPEED+AST1150"],
        Aliases::Transparent,
        "an ASPEED AST1150 bridge",
        "Linux (quirk_aspeed_pci_bridge_no_alias)",
    ),
];

/// The row that applies.
pub(crate) fn find(function: &Function) -> Option<(&'static AliasQuirk, Match)> {
    ALIASES.iter().find_map(|row| {
        let by = matches(function, row.vendor, row.devices, row.names)?;
        let subsystem = row.subsystems.is_empty()
            || function
                .subsystem
                .is_some_and(|Ids { vendor, device }| row.subsystems.contains(&(vendor, device)));
        let class = row.class.is_none() || row.class == function.class;
        (subsystem && class).then_some((row, by))
    })
}

impl Aliases {
    /// The device and function numbers that a device at `at` uses besides its own.
    pub(crate) fn each(&self, at: Bdf, mut each: impl FnMut(u8)) {
        match *self {
            Self::Function(function) if at.function() != function => each(at.devfn & !7 | function),
            Self::Fixed(all) => all.iter().filter(|&&one| one != at.devfn).for_each(|&one| each(one)),
            Self::WholeBus => (0..=255).filter(|&one| one != at.devfn).for_each(each),
            Self::EveryDevice => {
                for device in 0..32 {
                    for function in 0..5 {
                        let one = devfn(device, function);
                        if one != at.devfn {
                            each(one);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn aliases(vendor: u16, device: u16, at: Bdf, subsystem: Option<Ids>) -> Vec<u8> {
        let mut function = Function::bare(at);
        function.ids = Some(Ids { vendor, device });
        function.subsystem = subsystem;
        let mut all = Vec::new();
        if let Some((row, _)) = find(&function) {
            row.aliases.each(at, |one| all.push(one));
        }
        all
    }

    #[test]
    fn a_marvell_controller_speaks_as_function_1() {
        assert_eq!(aliases(0x1b4b, 0x9230, Bdf::new(0, 3, 0, 0), None), [1]);
        assert_eq!(aliases(0x1b4b, 0x9230, Bdf::new(0, 3, 0, 1), None), [0u8; 0]);
        assert_eq!(aliases(0x1b4b, 0x9231, Bdf::new(0, 3, 0, 0), None), [0u8; 0]);
    }

    #[test]
    fn an_adaptec_board_needs_its_subsystem() {
        let at = Bdf::new(0, 5, 0xe, 0);
        let board = Ids { vendor: 0x9005, device: 0x02bb };
        assert_eq!(aliases(0x9005, 0x0285, at, Some(board)), [8]);
        assert_eq!(aliases(0x9005, 0x0285, at, Some(Ids { device: 0x02bd, ..board })), [0u8; 0]);
        assert_eq!(aliases(0x9005, 0x0285, at, None), [0u8; 0]);
    }

    #[test]
    fn a_compute_accelerator_may_be_anybody() {
        assert_eq!(aliases(0x8086, 0x2954, Bdf::new(0, 5, 0, 0), None).len(), 32 * 5 - 1);
        assert_eq!(aliases(0x8086, 0x2260, Bdf::new(0, 5, 0, 0), None), [0x80, 0x88, 0x93]);
        assert_eq!(aliases(0x10b5, 0x87b1, Bdf::new(0, 5, 0, 1), None).len(), 255);
        assert_eq!(aliases(0x1180, 0xe832, Bdf::new(0, 5, 0, 3), None), [0]);
    }
}
