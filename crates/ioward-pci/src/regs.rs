//! Offsets and bits of configuration space: PCI Express Base 6.0, chapter 7, unless a line says otherwise.
//!
//! Offsets are in bytes from the start of configuration space, or of the capability where the name begins with one.

/// Size of conventional configuration space.
pub const CONVENTIONAL_BYTES: u16 = 0x100;
/// Size of extended configuration space.
pub const EXTENDED_BYTES: u16 = 0x1000;

/// Vendor ID (15:0) and device ID (31:16), 7.5.1.1.
pub const ID: u16 = 0x00;
/// Command (15:0) and status (31:16).
pub const COMMAND: u16 = 0x04;
/// Command: answers I/O requests.
pub const COMMAND_IO: u32 = 1 << 0;
/// Command: answers memory requests.
pub const COMMAND_MEMORY: u32 = 1 << 1;
/// Command: issues requests.
pub const COMMAND_MASTER: u32 = 1 << 2;
/// Status: has a capability list.
pub const STATUS_CAPABILITIES: u32 = 1 << 20;
/// Revision (7:0) and class code (31:8).
pub const CLASS: u16 = 0x08;
/// Cache line, latency, header type (23:16), BIST.
pub const HEADER: u16 = 0x0c;
/// The first base address register.
pub const BAR: u16 = 0x10;
/// Subsystem IDs of a type 0 header.
pub const SUBSYSTEM: u16 = 0x2c;
/// First capability of headers 0 and 1.
pub const CAPABILITIES: u16 = 0x34;
/// First capability of a CardBus bridge (PC Card Standard 8.0, volume 2).
pub const CARDBUS_CAPABILITIES: u16 = 0x14;

/// Type 1 header: primary (7:0), secondary (15:8), subordinate bus (23:16), 7.5.1.3.
pub const BUSES: u16 = 0x18;
/// Type 1 header: I/O base (7:0) and limit (15:8).
pub const IO_WINDOW: u16 = 0x1c;
/// Type 1 header: memory base (15:0) and limit (31:16).
pub const MEMORY_WINDOW: u16 = 0x20;
/// Type 1 header: prefetchable base (15:0) and limit (31:16).
pub const PREFETCH_WINDOW: u16 = 0x24;
/// Type 1 header: upper 32 bits of the prefetchable base.
pub const PREFETCH_BASE_UPPER: u16 = 0x28;
/// Type 1 header: upper 32 bits of the prefetchable limit.
pub const PREFETCH_LIMIT_UPPER: u16 = 0x2c;
/// Type 1 header: upper 16 bits of the I/O base (15:0) and limit (31:16).
pub const IO_UPPER: u16 = 0x30;

/// Conventional capability: subsystem IDs of a bridge.
pub const CAP_BRIDGE_SUBSYSTEM: u8 = 0x0d;
/// Conventional capability: PCI Express.
pub const CAP_PCIE: u8 = 0x10;

/// PCI Express: capabilities (31:16), 7.5.3.2: version (19:16), type (23:20).
pub const PCIE_CAPABILITIES: u16 = 0x00;
/// PCI Express: device capabilities, 7.5.3.3; phantom functions in 4:3.
pub const PCIE_DEVICE: u16 = 0x04;
/// PCI Express: device control, 7.5.3.4; phantom functions enabled in bit 9.
pub const PCIE_DEVICE_CONTROL: u16 = 0x08;
/// PCI Express: link capabilities, 7.5.3.6; port number in 31:24.
pub const PCIE_LINK: u16 = 0x0c;
/// PCI Express: device capabilities 2, 7.5.3.15; ARI forwarding in bit 5.
pub const PCIE_DEVICE2: u16 = 0x24;
/// PCI Express: device control 2, 7.5.3.16; ARI forwarding enabled in bit 5.
pub const PCIE_DEVICE2_CONTROL: u16 = 0x28;
/// ARI forwarding, in both of the above.
pub const PCIE_ARI_FORWARDING: u32 = 1 << 5;

/// Where extended capabilities begin.
pub const EXTENDED_CAPABILITIES: u16 = 0x100;
/// Extended capability: vendor-specific, 7.9.5.
pub const EXT_VENDOR: u16 = 0x000b;
/// Extended capability: access control services, 7.7.11.
pub const EXT_ACS: u16 = 0x000d;
/// Extended capability: alternative routing-ID interpretation, 7.8.8.
pub const EXT_ARI: u16 = 0x000e;
/// Extended capability: address translation services, 10.5.1.
pub const EXT_ATS: u16 = 0x000f;
/// Extended capability: single root I/O virtualization, 9.3.3.
pub const EXT_SRIOV: u16 = 0x0010;
/// Extended capability: page request interface, 10.5.2.
pub const EXT_PRI: u16 = 0x0013;
/// Extended capability: PASID, 7.8.9.
pub const EXT_PASID: u16 = 0x001b;

/// ACS: capability (15:0) and control (31:16).
pub const ACS_WORDS: u16 = 0x04;
/// ACS: the first doubleword of the egress control vector.
pub const ACS_EGRESS: u16 = 0x08;
/// Vendor-specific: ID (15:0), revision (19:16), length (31:20).
pub const VENDOR_WORDS: u16 = 0x04;
/// The vendor-specific ID of Intel's that functions of Thunderbolt controllers have (Linux, `include/linux/pci_ids.h`
/// and `drivers/pci/probe.c`).
pub const VENDOR_INTEL_THUNDERBOLT: u16 = 0x1234;
/// ARI: capability (15:0; ACS function groups in 1, next function in 15:8) and control (31:16; those groups enabled in
/// 17, the function's group in 22:20).
pub const ARI_WORDS: u16 = 0x04;
/// ATS: capability (15:0; queue depth in 4:0, page aligned requests in 5, global invalidate in 6) and control (31:16;
/// smallest translation unit in 20:16, enabled in bit 31).
pub const ATS_WORDS: u16 = 0x04;
/// PRI: control (15:0; enabled in bit 0) and status (31:16; stopped in bit 24, PRG response PASID required in bit 31).
pub const PRI_WORDS: u16 = 0x04;
/// PRI: page requests that the device can have outstanding.
pub const PRI_CAPACITY: u16 = 0x08;
/// PRI: page requests that the device may have outstanding.
pub const PRI_ALLOCATION: u16 = 0x0c;
/// PASID: capability (15:0; execute in 1, privileged in 2, width in 12:8) and control (31:16; enabled in bit 16, execute
/// enabled in 17, privileged enabled in 18).
pub const PASID_WORDS: u16 = 0x04;
/// SR-IOV: control (15:0; VF enable in bit 0, ARI capable hierarchy in bit 4).
pub const SRIOV_CONTROL: u16 = 0x08;
/// SR-IOV: initial VFs (15:0) and total VFs (31:16).
pub const SRIOV_TOTAL: u16 = 0x0c;
/// SR-IOV: number of VFs (15:0).
pub const SRIOV_NUM: u16 = 0x10;
/// SR-IOV: first VF offset (15:0) and VF stride (31:16).
pub const SRIOV_OFFSET: u16 = 0x14;
/// SR-IOV: VF device ID (31:16).
pub const SRIOV_DEVICE: u16 = 0x18;
/// SR-IOV: the first VF base address register.
pub const SRIOV_BAR: u16 = 0x24;
/// SR-IOV control: VFs are enabled.
pub const SRIOV_VF_ENABLE: u32 = 1 << 0;
/// SR-IOV control: VFs answer memory requests.
pub const SRIOV_VF_MEMORY: u32 = 1 << 3;
/// SR-IOV control: VFs may use all eight bits of the function number.
pub const SRIOV_ARI_HIERARCHY: u32 = 1 << 4;
