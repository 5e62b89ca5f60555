//! What a machine's own kernel says: its groups, IOMMUs and interrupts.

use std::collections::BTreeMap;

/// What the kernel says. Empty where nobody could ask it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Kernel {
    /// The version, if it is known.
    pub version: Option<String>,
    /// The words of its command line that concern IOMMUs, interrupts and PCI, in order; none where the command line is not
    /// known.
    pub options: Option<Vec<String>>,
    /// Its groups, by number (`/sys/kernel/iommu_groups`).
    pub groups: BTreeMap<u32, KernelGroup>,
    /// The IOMMUs that it drives (`/sys/class/iommu`).
    pub iommus: Vec<KernelIommu>,
    /// Its interrupts, by whether they pass a remapping table; none where it does not tell.
    pub interrupts: Option<Interrupts>,
    /// Whether DMA from each Thunderbolt domain is held to the IOMMU (`iommu_dma_protection`), by the domain's name.
    pub thunderbolt: BTreeMap<String, bool>,
    /// VFIO was told to give devices away without interrupt isolation.
    pub allows_unsafe_interrupts: bool,
}

impl Kernel {
    /// Whether an option of the command line is one of these words, or begins with one that ends in `=`.
    pub fn has_option(&self, words: &[&str]) -> bool {
        let is = |option: &String| {
            words.iter().any(|word| option == word || word.ends_with('=') && option.starts_with(word))
        };
        self.options.as_ref().is_some_and(|options| options.iter().any(is))
    }
}

/// A group as the kernel has it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KernelGroup {
    /// The devices, by the names that the kernel gives them; not all are PCI functions.
    pub devices: Vec<String>,
    /// The kind of its default domain: `DMA`, `DMA-FQ`, `identity`, `blocked`, `auto`.
    pub kind: Option<String>,
    /// Addresses that are special for it.
    pub reserved: Vec<Reserved>,
}

/// A reserved region of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reserved {
    /// The first address, as devices issue it.
    pub first: u64,
    /// The last address, included.
    pub last: u64,
    /// What is special about it.
    pub kind: ReservedKind,
}

/// What is special about a region (`Documentation/ABI/testing/sysfs-kernel-iommu_groups`).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ReservedKind {
    /// It must be mapped one to one at all times.
    Direct,
    /// The same until a driver has taken over.
    DirectRelaxable,
    /// Nothing may be mapped there.
    Reserved,
    /// Interrupt messages are written there.
    Msi,
    /// A word that is not known.
    Other(String),
}

impl ReservedKind {
    /// From sysfs's word.
    pub fn of(word: &str) -> Self {
        match word {
            "direct" => Self::Direct,
            "direct-relaxable" => Self::DirectRelaxable,
            "reserved" => Self::Reserved,
            "msi" => Self::Msi,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Sysfs's word.
    pub fn word(&self) -> &str {
        match self {
            Self::Direct => "direct",
            Self::DirectRelaxable => "direct-relaxable",
            Self::Reserved => "reserved",
            Self::Msi => "msi",
            Self::Other(word) => word,
        }
    }
}

/// An IOMMU that the kernel drives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelIommu {
    /// The kernel's name for it: `dmar0`, `ivhd1`, `smmu3.0x…`.
    pub name: String,
    /// VT-d's capability and extended capability registers, or AMD-Vi's capability header and extended features.
    pub registers: Option<(u64, u64)>,
}

/// How many interrupts of devices pass a remapping table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Interrupts {
    /// Those that do.
    pub remapped: usize,
    /// Message-signalled ones that do not.
    pub plain: usize,
}

/// The words of a command line that concern what this crate reads. The rest may name disks and hosts.
pub fn options(command_line: &str) -> Vec<String> {
    const BEGIN: [&str; 14] = [
        "iommu",
        "intel_iommu",
        "amd_iommu",
        "arm-smmu",
        "virtio_iommu",
        "intremap",
        "nointremap",
        "nox2apic",
        "noapic",
        "pci=",
        "pcie_acs_override",
        "pcie_",
        "vfio",
        "thunderbolt",
    ];
    let words = command_line.split_whitespace();
    words.filter(|word| BEGIN.iter().any(|begin| word.starts_with(begin))).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_concerns_iommus_is_kept_of_a_command_line() {
        let line = "BOOT_IMAGE=/vmlinuz root=UUID=1234 ro intel_iommu=on iommu=pt quiet pcie_acs_override=downstream\n";
        let kernel = Kernel { options: Some(options(line)), ..Kernel::default() };
        assert_eq!(
            kernel.options.as_deref().unwrap(),
            ["intel_iommu=on", "iommu=pt", "pcie_acs_override=downstream"]
        );
        assert!(kernel.has_option(&["pcie_acs_override="]) && kernel.has_option(&["iommu=pt"]));
        assert!(!kernel.has_option(&["intel_iommu=off", "iommu"]));
    }
}
