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
    /// VFIO or iommufd was told to give devices away without interrupt isolation (`allow_unsafe_interrupts`).
    pub allows_unsafe_interrupts: bool,
    /// VFIO was told to give devices away without any IOMMU (`enable_unsafe_noiommu_mode`).
    pub allows_no_iommu: bool,
    /// The copy that was read has no `class/iommu`: that [`Kernel::iommus`] is empty says nothing.
    pub iommus_unseen: bool,
}

impl Kernel {
    /// The options of the command line that set a parameter, in order, each with its value if it has one. As in the
    /// kernel, a dash and an underscore of a name are the same.
    fn settings<'a>(&'a self, parameter: &'a str) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let split = |option: &'a String| {
            let option = option.trim_matches('"');
            option.split_once('=').map_or((option, option, None), |(name, value)| (option, name, Some(value)))
        };
        let options = self.options.iter().flatten().map(split);
        options.filter(|(_, name, _)| same_name(name, parameter)).map(|(option, _, value)| (option, value))
    }

    /// The words that the command line gives to a parameter, in order, each with the option that it stands in:
    /// `intremap=nosid,nopost` gives two to `intremap`.
    pub fn words<'a>(&'a self, parameter: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.settings(parameter).flat_map(|(option, value)| {
            let words = value.into_iter().flat_map(|value| value.split(','));
            words.map(move |word| (option, word))
        })
    }

    /// What the command line says of a parameter that is on or off: the option, and whether it is on. The last one counts;
    /// the values are those of the kernel's `kstrtobool`, and a name alone means on.
    pub fn switch<'a>(&'a self, parameter: &'a str) -> Option<(&'a str, bool)> {
        let read = |(option, value): (&'a str, Option<&'a str>)| {
            let is_on = match value.unwrap_or("1").as_bytes() {
                [b'y' | b'Y' | b't' | b'T' | b'1', ..] | [b'o' | b'O', b'n' | b'N', ..] => true,
                [b'n' | b'N' | b'f' | b'F' | b'0', ..] | [b'o' | b'O', b'f' | b'F', ..] => false,
                _ => return None,
            };
            Some((option, is_on))
        };
        self.settings(parameter).filter_map(read).last()
    }
}

fn same_name(one: &str, other: &str) -> bool {
    let plain = |byte: u8| if byte == b'-' { b'_' } else { byte };
    one.bytes().map(plain).eq(other.bytes().map(plain))
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
    const BEGIN: [&str; 15] = [
        "iommu",
        "intel_iommu",
        "amd_iommu",
        "arm_smmu",
        "ivrs_",
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
    let concerns = |word: &&str| {
        let plain = word.trim_start_matches('"').replace('-', "_");
        BEGIN.iter().any(|begin| plain.starts_with(begin))
    };
    words.filter(concerns).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_concerns_iommus_is_kept_of_a_command_line() {
        let line = "BOOT_IMAGE=/vmlinuz root=UUID=1234 ro intel_iommu=on iommu=pt quiet pcie_acs_override=downstream\n";
        let kernel = booted_with(line);
        assert_eq!(
            kernel.options.as_deref().unwrap(),
            ["intel_iommu=on", "iommu=pt", "pcie_acs_override=downstream"]
        );
    }

    fn booted_with(line: &str) -> Kernel {
        Kernel { options: Some(options(line)), ..Kernel::default() }
    }

    #[test]
    fn either_spelling_of_a_name_is_kept_and_found() {
        for line in ["arm-smmu.disable_bypass=0", "arm_smmu.disable_bypass=n", "arm-smmu.disable-bypass=off"]
        {
            let kernel = booted_with(line);
            assert_eq!(kernel.switch("arm_smmu.disable_bypass"), Some((line, false)));
        }
        assert_eq!(options("ivrs_ioapic[10]=00:14.0 irqpoll"), ["ivrs_ioapic[10]=00:14.0"]);
    }

    #[test]
    fn a_list_is_split_and_a_longer_name_is_another() {
        let kernel = booted_with("intel_iommu=on,igfx_off iommu.strict=1 intel_iommu=sm_on");
        let words: Vec<_> = kernel.words("intel_iommu").map(|(_, word)| word).collect();
        assert_eq!(words, ["on", "igfx_off", "sm_on"]);
        assert_eq!(kernel.words("iommu").next(), None);
    }

    #[test]
    fn of_a_switch_the_last_one_counts() {
        let kernel = booted_with("iommu.passthrough=1 iommu.passthrough=0 vfio.enable_unsafe_noiommu_mode");
        assert_eq!(kernel.switch("iommu.passthrough"), Some(("iommu.passthrough=0", false)));
        let alone = "vfio.enable_unsafe_noiommu_mode";
        assert_eq!(kernel.switch(alone), Some((alone, true)));
        assert_eq!(kernel.switch("iommu.strict"), None);
    }
}
