//! Class codes and what they are called (PCI Code and ID Assignment Specification 1.14), in the words that `lspci` prints.

/// Base class (15:8) and subclass (7:0) of a host bridge.
pub const HOST_BRIDGE: u16 = 0x0600;
/// Of a PCI-to-PCI bridge.
pub const PCI_BRIDGE: u16 = 0x0604;
/// Of a CardBus bridge.
pub const CARDBUS_BRIDGE: u16 = 0x0607;
/// Of an IOMMU.
pub const IOMMU: u16 = 0x0806;

/// Class codes with their names, ascending. A subclass of 80h is one without a name of its own.
const NAMES: &[(u16, &str)] = &[
    (0x0000, "Non-VGA unclassified device"),
    (0x0001, "VGA compatible unclassified device"),
    (0x0100, "SCSI storage controller"),
    (0x0101, "IDE interface"),
    (0x0102, "Floppy disk controller"),
    (0x0104, "RAID bus controller"),
    (0x0105, "ATA controller"),
    (0x0106, "SATA controller"),
    (0x0107, "Serial Attached SCSI controller"),
    (0x0108, "Non-Volatile memory controller"),
    (0x0109, "Universal Flash Storage controller"),
    (0x0180, "Mass storage controller"),
    (0x0200, "Ethernet controller"),
    (0x0207, "Infiniband controller"),
    (0x0208, "Fabric controller"),
    (0x0280, "Network controller"),
    (0x0300, "VGA compatible controller"),
    (0x0301, "XGA compatible controller"),
    (0x0302, "3D controller"),
    (0x0380, "Display controller"),
    (0x0400, "Multimedia video controller"),
    (0x0401, "Multimedia audio controller"),
    (0x0403, "Audio device"),
    (0x0480, "Multimedia controller"),
    (0x0500, "RAM memory"),
    (0x0501, "FLASH memory"),
    (0x0502, "CXL"),
    (0x0580, "Memory controller"),
    (0x0600, "Host bridge"),
    (0x0601, "ISA bridge"),
    (0x0604, "PCI bridge"),
    (0x0607, "CardBus bridge"),
    (0x0609, "Semi-transparent PCI-to-PCI bridge"),
    (0x0680, "Bridge"),
    (0x0700, "Serial controller"),
    (0x0701, "Parallel controller"),
    (0x0703, "Modem"),
    (0x0780, "Communication controller"),
    (0x0800, "PIC"),
    (0x0801, "DMA controller"),
    (0x0802, "Timer"),
    (0x0803, "RTC"),
    (0x0805, "SD Host controller"),
    (0x0806, "IOMMU"),
    (0x0807, "Root Complex Event Collector"),
    (0x0880, "System peripheral"),
    (0x0980, "Input device controller"),
    (0x0b40, "Co-processor"),
    (0x0c00, "FireWire (IEEE 1394)"),
    (0x0c03, "USB controller"),
    (0x0c04, "Fibre Channel"),
    (0x0c05, "SMBus"),
    (0x0c07, "IPMI Interface"),
    (0x0c80, "Serial bus controller"),
    (0x0d11, "Bluetooth"),
    (0x0d80, "Wireless controller"),
    (0x1000, "Network and computing encryption device"),
    (0x1080, "Encryption controller"),
    (0x1101, "Performance counters"),
    (0x1180, "Signal processing controller"),
    (0x1200, "Processing accelerators"),
    (0x1300, "Non-Essential Instrumentation"),
    (0x4000, "Coprocessor"),
    (0xff00, "Unassigned class"),
];

/// What a class is called; none of those that have no name here.
pub fn name(class: u16) -> Option<&'static str> {
    let at = NAMES.binary_search_by_key(&class, |(code, _)| *code).ok()?;
    Some(NAMES[at].1)
}

/// The class of a name, as far as that tells: one of those that are called so.
pub fn by_name(name: &str) -> Option<u16> {
    NAMES.iter().find(|(_, known)| *known == name).map(|(code, _)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_its_code_and_back() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (code, text) in NAMES {
            assert_eq!((by_name(text), name(*code)), (Some(*code), Some(*text)));
        }
        assert_eq!((name(0x1234), by_name("Toaster")), (None, None));
    }
}
