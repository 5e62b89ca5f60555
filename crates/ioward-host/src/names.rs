//! What devices are called: the system's `pci.ids`, and where it does not tell, the words of the text that was read.

use crate::files;
use ioward::pci::{Function, class, function::Ids};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Where systems keep the list of PCI IDs.
pub const PLACES: [&str; 3] =
    ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids", "/var/lib/pciutils/pci.ids"];

/// The environment variable that names another list; if it is empty, there is none.
pub const VARIABLE: &str = "IOWARD_PCI_IDS";

/// The largest list that is read, in bytes; today's has one and a half million.
const LARGEST: u64 = 32 << 20;

/// Names by ID.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The list that they are from; none if there is none.
    pub from: Option<PathBuf>,
    vendors: BTreeMap<u16, String>,
    devices: BTreeMap<(u16, u16), String>,
}

impl Names {
    /// Those of the system: the list that [`VARIABLE`] names, or the first of [`PLACES`] that is there.
    pub fn system() -> Self {
        let places = match std::env::var_os(VARIABLE) {
            Some(path) if path.is_empty() => Vec::new(),
            Some(path) => vec![PathBuf::from(path)],
            None => PLACES.iter().map(PathBuf::from).collect(),
        };
        places.iter().find_map(|path| Self::read(path)).unwrap_or_default()
    }

    /// Those of a list; none if it cannot be read.
    pub fn read(path: &Path) -> Option<Self> {
        let bytes = files::bytes(path, LARGEST).ok()?;
        Some(Self { from: Some(path.into()), ..Self::parse(&String::from_utf8_lossy(&bytes)) })
    }

    /// Reads a list: a line for each vendor, below it one for each of its devices after a tab, below that one for each
    /// subsystem after two; then classes, which are not read. A line that is none of those is passed over.
    pub fn parse(text: &str) -> Self {
        let mut names = Self::default();
        let mut vendor = None;
        for line in text.lines() {
            if line.starts_with("\t\t") || line.starts_with('#') {
                continue;
            }
            match line.strip_prefix('\t') {
                Some(device) => {
                    if let (Some(vendor), Some((id, name))) = (vendor, entry(device)) {
                        names.devices.insert((vendor, id), name);
                    }
                }
                None => {
                    vendor = entry(line).map(|(id, name)| {
                        names.vendors.insert(id, name);
                        id
                    });
                }
            }
        }
        names
    }

    /// What a function is: vendor and device, as well as anybody knows.
    pub fn function(&self, function: &Function) -> String {
        let own = plain(&function.name);
        let Some(ids) = function.ids else {
            return if own.is_empty() { "unknown device".to_owned() } else { own };
        };
        let Ids { vendor, device } = ids;
        match (self.vendors.get(&vendor), self.devices.get(&(vendor, device))) {
            (Some(maker), Some(name)) => format!("{maker} {name}"),
            _ if !own.is_empty() => own,
            (Some(maker), None) => format!("{maker} device {device:04x}"),
            (None, _) => format!("device {vendor:04x}:{device:04x}"),
        }
    }
}

/// A name without what makers' names have for lawyers.
pub fn brief(name: &str) -> String {
    const FORMS: [&str; 8] =
        [" Corporation", ", Inc.", " Inc.", " Co., Ltd.", ", Ltd.", " Ltd.", " Incorporated", " Limited"];
    let mut brief = name.to_owned();
    for form in FORMS {
        brief = brief.replace(form, "");
    }
    for (long, short) in
        [("Advanced Micro Devices [AMD/ATI]", "AMD/ATI"), ("Advanced Micro Devices [AMD]", "AMD")]
    {
        brief = brief.replace(long, short);
    }
    brief
}

/// What the class of a function is called.
pub fn class(function: &Function) -> String {
    match function.class {
        Some(code) if code >> 8 == 0xff => "Unassigned class".to_owned(),
        Some(code) => class::name(code).map_or_else(|| format!("Class {code:04x}"), str::to_owned),
        None => "Unknown class".to_owned(),
    }
}

/// Without what a terminal would obey.
fn harmless(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).collect::<String>().trim().to_owned()
}

/// `8086  Intel Corporation`.
fn entry(line: &str) -> Option<(u16, String)> {
    let (id, name) = line.split_once("  ")?;
    (id.len() == 4).then_some(())?;
    Some((u16::from_str_radix(id, 16).ok()?, harmless(name)))
}

/// The name in a text of `lspci`, without IDs, revision and programming interface.
fn plain(name: &str) -> String {
    let end = [" (rev ", " (prog-if ", " ["].iter().filter_map(|tail| {
        name.match_indices(tail).map(|(at, _)| at).find(|&at| *tail != " [" || is_ids(&name[at + 2..]))
    });
    harmless(&name[..end.min().unwrap_or(name.len())])
}

/// `8086:5918]`.
fn is_ids(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 10
        && bytes[4] == b':'
        && bytes[9] == b']'
        && bytes[..9].iter().enumerate().all(|(at, byte)| at == 4 || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ioward::pci::Bdf;

    const LIST: &str = "# a comment\n8086  Intel Corporation\n\t1572  Ethernet Controller X710\n\t\t8086 0001  A card\n\
                        nonsense\n\tbeef  orphan\n10de  NVIDIA Corporation\nC 02  Network controller\n\t00  Ethernet controller\n";

    fn function(ids: Option<(u16, u16)>, name: &str) -> Function {
        let ids = ids.map(|(vendor, device)| Ids { vendor, device });
        Function { ids, name: name.into(), ..Function::unseen(Bdf::new(0, 1, 0, 0)) }
    }

    #[test]
    fn the_list_comes_first_then_the_text_then_the_numbers() {
        let names = Names::parse(LIST);
        let name = |ids, text| names.function(&function(ids, text));
        let text = "Maker Thing [Model 5] [8086:1572] (rev 05) (prog-if 02)";
        assert_eq!(name(Some((0x8086, 0x1572)), text), "Intel Corporation Ethernet Controller X710");
        assert_eq!(name(Some((0x8086, 0x9999)), text), "Maker Thing [Model 5]");
        assert_eq!(name(Some((0x10de, 0x1b80)), ""), "NVIDIA Corporation device 1b80");
        assert_eq!(name(Some((0x1234, 0x5678)), ""), "device 1234:5678");
        assert_eq!(name(None, "Thing (rev 01)"), "Thing");
        assert_eq!(name(None, ""), "unknown device");
        // Neither an orphan of nonsense nor a class is a device.
        assert_eq!(name(Some((0x8086, 0xbeef)), ""), "Intel Corporation device beef");
        assert_eq!(names.vendors.len(), 2);
    }

    #[test]
    fn no_name_makes_a_terminal_do_anything() {
        assert_eq!(Names::default().function(&function(None, "evil\x1b[2J\x07 card")), "evil[2J card");
    }

    #[test]
    fn a_class_without_a_name_is_shown_as_its_number() {
        let mut nic = function(None, "");
        nic.class = Some(0x0200);
        assert_eq!(class(&nic), "Ethernet controller");
        assert_eq!(brief("Advanced Micro Devices, Inc. [AMD] FCH SMBus"), "AMD FCH SMBus");
        assert_eq!(brief("Realtek Semiconductor Co., Ltd. RTL8125"), "Realtek Semiconductor RTL8125");
        nic.class = Some(0xffff);
        assert_eq!(class(&nic), "Unassigned class");
        nic.class = Some(0x7777);
        assert_eq!(class(&nic), "Class 7777");
    }
}
