//! Devices that isolate without an ACS capability, or whose capability does not say what they do.

use super::{Devices, Match, matches};
use crate::{AcsBits, Function, PortType};

/// When a row applies to one of its devices; otherwise the next row is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// Always.
    Always,
    /// It is a root port.
    RootPort,
    /// It is a root port or a downstream port.
    Port,
    /// It is an endpoint integrated into the root complex.
    Integrated,
    /// It is one of several functions on a root bus of a machine with an AMD IOMMU.
    SouthBridge,
    /// It is a root port and has an ACS capability.
    RootPortWithAcs,
}

/// What a row's devices do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provides {
    /// What these bits would do if they could be set and were.
    Bits(AcsBits),
    /// As above, once the kernel has turned peer decoding off in registers that configuration space does not show; a
    /// kernel that uses the IOMMU does so at boot.
    Enabled(AcsBits),
    /// What the ACS capability says, but Linux takes these bits for granted where they are off: they are broken, and it
    /// keeps its hands off them.
    Granted(AcsBits),
    /// What the ACS capability says, but the control register is the doubleword after the capability's.
    NextWord,
}

/// A row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AcsQuirk {
    /// The vendor ID.
    pub vendor: u16,
    /// The devices.
    pub devices: Devices,
    /// Their names where a dump has no IDs; see [`super::ALIASES`] for the form.
    pub names: &'static [&'static str],
    /// When it applies.
    pub when: When,
    /// What they do.
    pub provides: Provides,
    /// What they are.
    pub what: &'static str,
    /// Who says so.
    pub source: &'static str,
}

const ANY: Devices = &[(0, 0xffff)];
const ALL: AcsBits = AcsBits::ISOLATION;
/// Vendors vouch that functions of these do not reach each other.
const FUNCTIONS: AcsBits = AcsBits(ALL.0 | AcsBits::TB.0 | AcsBits::DT.0);

const fn row(
    vendor: u16,
    devices: Devices,
    when: When,
    bits: AcsBits,
    what: &'static str,
    source: &'static str,
) -> AcsQuirk {
    AcsQuirk { vendor, devices, names: &[], when, provides: Provides::Bits(bits), what, source }
}

const fn functions(vendor: u16, devices: Devices, what: &'static str) -> AcsQuirk {
    row(vendor, devices, When::Always, FUNCTIONS, what, "the vendor, to Linux (pci_quirk_mf_endpoint_acs)")
}

const fn ports(vendor: u16, devices: Devices, what: &'static str, source: &'static str) -> AcsQuirk {
    row(vendor, devices, When::Always, ALL, what, source)
}

/// The rows, in the order in which they are tried.
pub static ACS: &[AcsQuirk] = &[
    AcsQuirk {
        vendor: 0x1002,
        devices: &[
            (0x4383, 0x4383),
            (0x4384, 0x4384),
            (0x4385, 0x4385),
            (0x4399, 0x4399),
            (0x439c, 0x439c),
            (0x439d, 0x439d),
        ],
        names: &[
            "SBx00 SMBus Controller",
            "SBx00 Azalia (Intel HDA)",
            "SBx00 PCI to PCI Bridge",
            "SB7x0/SB8x0/SB9x0 IDE Controller",
            "SB7x0/SB8x0/SB9x0 LPC host controller",
            "SB7x0/SB8x0/SB9x0 USB OHCI2 Controller",
        ],
        when: When::SouthBridge,
        provides: Provides::Bits(ALL),
        what: "a function of an AMD south bridge",
        source: "AMD, lore.kernel.org/r/20120711165854.GM25282@amd.com",
    },
    AcsQuirk {
        vendor: 0x1022,
        devices: &[(0x7809, 0x7809), (0x780f, 0x780f)],
        // Two devices are called "FCH USB OHCI Controller", so that the name says nothing.
        names: &["[AMD] FCH PCI Bridge"],
        when: When::SouthBridge,
        provides: Provides::Bits(ALL),
        what: "a function of an AMD fusion controller hub",
        source: "bugzilla.kernel.org 81841, comment 15",
    },
    functions(
        0x1924,
        &[(0x0903, 0x0903), (0x0923, 0x0923), (0x0a03, 0x0a03)],
        "a Solarflare network adapter",
    ),
    functions(
        0x8086,
        &[
            (0x10c6, 0x10c6),
            (0x10db, 0x10db),
            (0x10dd, 0x10dd),
            (0x10e1, 0x10e1),
            (0x10f1, 0x10f1),
            (0x10f7, 0x10fc),
            (0x1507, 0x1507),
            (0x1514, 0x1514),
            (0x151c, 0x151c),
            (0x1529, 0x152a),
            (0x154d, 0x154d),
            (0x154f, 0x154f),
            (0x1551, 0x1551),
            (0x1558, 0x1558),
        ],
        "an Intel 82598, 82599 or X520 network adapter",
    ),
    functions(
        0x8086,
        &[(0x1509, 0x1509), (0x150e, 0x1511), (0x1516, 0x1516), (0x1527, 0x1527)],
        "an Intel 82580 network adapter",
    ),
    functions(
        0x8086,
        &[
            (0x10c9, 0x10c9),
            (0x10e6, 0x10e8),
            (0x150a, 0x150a),
            (0x150d, 0x150d),
            (0x1518, 0x1518),
            (0x1526, 0x1526),
        ],
        "an Intel 82576 network adapter",
    ),
    functions(
        0x8086,
        &[(0x10a7, 0x10a7), (0x10a9, 0x10a9), (0x10d6, 0x10d6)],
        "an Intel 82575 network adapter",
    ),
    AcsQuirk {
        names: &["Intel Corporation I350"],
        ..functions(0x8086, &[(0x1521, 0x1524)], "an Intel I350 network adapter")
    },
    functions(0x8086, &[(0x105e, 0x1060), (0x10d9, 0x10d9)], "an Intel 82571 network adapter"),
    AcsQuirk {
        names: &["Intel Corporation+(2) I219-LM", "Intel Corporation+(2) I219-V"],
        ..functions(0x8086, &[(0x15b7, 0x15b8)], "an Intel I219 network adapter")
    },
    AcsQuirk {
        vendor: 0x8086,
        devices: ANY,
        names: &["Intel Corporation"],
        when: When::Integrated,
        provides: Provides::Bits(ALL),
        what: "an endpoint in an Intel root complex",
        source: "Intel VT-d specification 3.1, section 3.16",
    },
    ports(
        0x17cb,
        &[(0x0111, 0x0111), (0x0115, 0x0115), (0x0120, 0x0120), (0x0400, 0x0401)],
        "a Qualcomm root port",
        "Qualcomm, to Linux (pci_quirk_qcom_rp_acs)",
    ),
    ports(0x1dbf, &[(0x0401, 0x0401)], "an HXT SD4800 root port", "HXT, to Linux (pci_quirk_qcom_rp_acs)"),
    AcsQuirk {
        vendor: 0x8086,
        devices: &[
            (0x3b42, 0x3b51), // Ibex Peak
            (0x1c10, 0x1c1f), // Cougar Point
            (0x1e10, 0x1e1f), // Panther Point
            (0x8c10, 0x8c1f), // Lynx Point
            (0x9c10, 0x9c1b), // Lynx Point LP
            (0x9c90, 0x9c9b), // Wildcat Point
            (0x1d10, 0x1d10), // Patsburg: even numbers only
            (0x1d12, 0x1d12),
            (0x1d14, 0x1d14),
            (0x1d16, 0x1d16),
            (0x1d18, 0x1d18),
            (0x1d1a, 0x1d1a),
            (0x1d1c, 0x1d1c),
            (0x1d1e, 0x1d1e),
            (0x8d10, 0x8d1e), // Wellsburg
            (0x8c90, 0x8c90), // 9 series: even numbers only
            (0x8c92, 0x8c92),
            (0x8c94, 0x8c94),
            (0x8c96, 0x8c96),
            (0x8c98, 0x8c98),
            (0x8c9a, 0x8c9a),
            (0x8c9c, 0x8c9c),
            (0x8c9e, 0x8c9e),
        ],
        names: &[
            "5 Series/3400 Series+PCI Express Root Port",
            "6 Series/C200 Series+PCI Express Root Port",
            "7 Series/C216+PCI Express Root Port",
            "7 Series/C210+PCI Express Root Port",
            "8 Series+PCI Express Root Port",
            "9 Series+PCI Express Root Port",
            "C600/X79+PCI Express Root Port",
            "C610/X99+PCI Express Root Port",
            "Wildcat Point-LP PCI Express Root Port",
        ],
        when: When::RootPort,
        provides: Provides::Enabled(ALL),
        what: "a root port of an Intel 5 to 9 series chipset",
        source: "Intel, bugzilla.redhat.com 1037684",
    },
    AcsQuirk {
        vendor: 0x8086,
        devices: &[
            (0xa110, 0xa11f),
            (0xa167, 0xa16a), // Sunrise Point
            (0xa290, 0xa29f),
            (0xa2e7, 0xa2ee), // Union Point
            (0x9d10, 0x9d1b), // 7th and 8th generation mobile
        ],
        names: &[
            "100 Series+PCI Express Root Port",
            "200 Series+PCI Express Root Port",
            "200 Series+PCI Root Port",
            "Sunrise Point+PCI Express Root Port",
            "Union Point+PCI Express Root Port",
        ],
        when: When::RootPortWithAcs,
        provides: Provides::NextWord,
        what: "a root port of an Intel 100 or 200 series chipset",
        source: "Intel 100 series chipset specification update, erratum 23",
    },
    AcsQuirk {
        vendor: 0x111d,
        devices: &[(0x8090, 0x8090), (0x80b5, 0x80b5)],
        names: &[],
        when: When::Port,
        provides: Provides::Granted(AcsBits::SV),
        what: "a port of an IDT switch whose source validation is broken and which Linux leaves off",
        source: "IDT 89H32H8G3-YC erratum 36, to Linux (pci_disable_broken_acs_cap)",
    },
    functions(0x19a2, &[(0x0710, 0x0710)], "an Emulex BE3-R network adapter"),
    functions(0x10df, &[(0x0720, 0x0720)], "an Emulex Skyhawk-R network adapter"),
    row(
        0x177d,
        &[(0xa000, 0xa7ff), (0xaf84, 0xaf84), (0xb884, 0xb884)],
        When::RootPort,
        ALL,
        "a Cavium ThunderX root port",
        "Cavium, to Linux (pci_quirk_cavium_acs)",
    ),
    functions(
        0x177d,
        &[(0xa026, 0xa026), (0xa059, 0xa059), (0xa060, 0xa060)],
        "a function of a Cavium ThunderX",
    ),
    ports(0x10e8, &[(0xe004, 0xe004)], "an APM X-Gene root port", "APM, to Linux (pci_quirk_xgene_acs)"),
    ports(0x1def, &[(0xe005, 0xe00c)], "an Ampere root port", "Ampere, to Linux (pci_quirk_xgene_acs)"),
    functions(0x14e4, &[(0x16d7, 0x16d7), (0x1750, 0x1752), (0x1760, 0x1763)], "a Broadcom network adapter"),
    ports(
        0x14e4,
        &[(0xd714, 0xd714)],
        "a Broadcom PAXB root port",
        "Broadcom, to Linux (pci_quirk_brcm_acs)",
    ),
    ports(
        0x0014,
        &[
            (0x3c09, 0x3c09),
            (0x3c19, 0x3c19),
            (0x3c29, 0x3c29),
            (0x7a09, 0x7a09),
            (0x7a19, 0x7a19),
            (0x7a29, 0x7a29),
            (0x7a39, 0x7a39),
            (0x7a49, 0x7a49),
            (0x7a59, 0x7a59),
            (0x7a69, 0x7a69),
        ],
        "a Loongson root port",
        "Loongson, to Linux (pci_quirk_loongson_acs)",
    ),
    row(
        0x1c36,
        &[(0x0031, 0x0031)],
        When::RootPort,
        ALL,
        "an Annapurna Labs root port",
        "Amazon, to Linux (pci_quirk_al_acs)",
    ),
    functions(
        0x1d17,
        &[(0x3038, 0x3038), (0x3104, 0x3104), (0x9083, 0x9083)],
        "a function of a Zhaoxin chipset",
    ),
    ports(
        0x1957,
        &[
            (0x8d80, 0x8d83),
            (0x8d88, 0x8d8b),
            (0x8d90, 0x8d93),
            (0x8d98, 0x8d9b),
            (0x8da0, 0x8da1),
            (0x8da8, 0x8da9),
            (0x8db0, 0x8db1),
            (0x8db8, 0x8db9),
        ],
        "an NXP LX2 root port",
        "NXP, to Linux (pci_quirk_nxp_rp_acs)",
    ),
    row(
        0x1d17,
        &[(0x0710, 0x071e), (0x0721, 0x0721), (0x0723, 0x0752)],
        When::Port,
        ALL,
        "a Zhaoxin port",
        "Zhaoxin, to Linux (pci_quirk_zhaoxin_pcie_ports_acs)",
    ),
    row(
        0x1d17,
        ANY,
        When::Port,
        AcsBits::NONE,
        "another Zhaoxin port, which Linux does not trust whatever its capability says",
        "Linux (pci_quirk_zhaoxin_pcie_ports_acs)",
    ),
    row(
        0x8088,
        &[
            (0x0100, 0x010f),
            (0x1001, 0x1001),
            (0x2001, 0x2001),
            (0x5010, 0x5010),
            (0x5025, 0x5025),
            (0x5040, 0x5040),
            (0x5110, 0x5110),
            (0x5125, 0x5125),
            (0x5140, 0x5140),
        ],
        When::Always,
        ALL,
        "a Wangxun network adapter",
        "Wangxun, to Linux (pci_quirk_wangxun_nic_acs)",
    ),
    row(
        0x8088,
        ANY,
        When::Always,
        AcsBits::NONE,
        "another Wangxun device, which Linux does not trust whatever its capability says",
        "Linux (pci_quirk_wangxun_nic_acs)",
    ),
];

/// What a row may need to know about the function's surroundings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// It is one of several functions of its device.
    pub multifunction: bool,
    /// It is on a root bus.
    pub on_root_bus: bool,
    /// The machine has an AMD IOMMU.
    pub amd_iommu: bool,
}

/// The first row that applies.
pub(crate) fn find(function: &Function, setting: Setting) -> Option<(&'static AcsQuirk, Match)> {
    ACS.iter().find_map(|row| {
        let by = matches(function, row.vendor, row.devices, row.names)?;
        let port = function.port_type();
        let applies = match row.when {
            When::Always => true,
            When::RootPort => port == Some(PortType::RootPort),
            When::RootPortWithAcs => port == Some(PortType::RootPort) && function.acs.present().is_some(),
            When::Port => matches!(port, Some(PortType::RootPort | PortType::DownstreamPort)),
            When::Integrated => port == Some(PortType::IntegratedEndpoint),
            When::SouthBridge => setting.multifunction && setting.on_root_bus && setting.amd_iommu,
        };
        applies.then_some((row, by))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Acs, Bdf,
        function::{Express, Fact, Ids},
    };

    const ALONE: Setting = Setting { multifunction: false, on_root_bus: true, amd_iommu: false };

    fn device(vendor: u16, device: u16, kind: PortType) -> Function {
        let mut function = Function::bare(Bdf::new(0, 0, 1, 0));
        function.ids = Some(Ids { vendor, device });
        function.express = Fact::Present(Express::of(kind));
        function
    }

    #[test]
    fn every_row_is_reached_by_its_own_devices() {
        for row in ACS {
            assert!(!row.source.is_empty() && !row.what.is_empty());
            for &(first, last) in row.devices {
                assert!(first <= last);
                for id in [first, last] {
                    let kind = match row.when {
                        When::Integrated => PortType::IntegratedEndpoint,
                        When::Always | When::SouthBridge => PortType::Endpoint,
                        _ => PortType::RootPort,
                    };
                    let mut function = device(row.vendor, id, kind);
                    function.acs = Fact::Present(Acs::default());
                    let setting = Setting { multifunction: true, on_root_bus: true, amd_iommu: true };
                    let (found, by) = find(&function, setting).expect("some row applies");
                    assert_eq!(by, Match::Ids);
                    assert!(
                        core::ptr::eq(found, row) || found.devices.iter().any(|d| d.0 <= id && id <= d.1),
                        "{id:#x} of {} finds {}",
                        row.what,
                        found.what
                    );
                }
            }
        }
    }

    #[test]
    fn rows_need_their_setting() {
        assert!(find(&device(0x8086, 0x1c10, PortType::RootPort), ALONE).is_some());
        assert!(find(&device(0x8086, 0x1c10, PortType::DownstreamPort), ALONE).is_none());
        // Sunrise Point without a capability is an ordinary port without one.
        assert!(find(&device(0x8086, 0xa110, PortType::RootPort), ALONE).is_none());
        // An AMD south bridge counts only where an AMD IOMMU is.
        let hub = device(0x1022, 0x7809, PortType::Endpoint);
        assert!(find(&hub, Setting { multifunction: true, ..ALONE }).is_none());
        assert!(find(&hub, Setting { multifunction: true, amd_iommu: true, ..ALONE }).is_some());
        // Between the listed numbers of Patsburg nothing is known.
        assert!(find(&device(0x8086, 0x1d11, PortType::RootPort), ALONE).is_none());
    }

    #[test]
    fn names_count_only_without_ids() {
        let mut function = device(0, 0, PortType::RootPort);
        function.acs = Fact::Present(Acs::default());
        function.name = "Intel Corporation Sunrise Point-LP PCI Express Root Port #1".into();
        assert!(find(&function, ALONE).is_none());
        function.ids = None;
        let (row, by) = find(&function, ALONE).unwrap();
        assert_eq!((row.provides, by), (Provides::NextWord, Match::Name));
    }
}
