//! What a guest says of its machine: the lines of `guest.sh`, between a first and a last one that carries their number and
//! their checksum. Nothing that was lost or bent on the way goes unnoticed.

use std::collections::BTreeMap;
use std::fmt;

/// More than any guest says; what comes beyond is a guest gone wild.
const MOST_LINES: usize = 200_000;
/// More than all files that a guest shows: a device tree has 1 MiB.
const MOST_BYTES: usize = 8 << 20;
const BEGINS: &str = "ioward-report begins";
const ENDS: &str = "ioward-report ends ";

/// A function as the guest's kernel has it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Function {
    /// Attributes by name, links by what they lead to: `vendor`, `iommu_group`, `physfn` and others.
    pub words: BTreeMap<String, String>,
    /// All of its configuration space that can be read.
    pub config: Vec<u8>,
}

/// A group as the guest's kernel has it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct KernelGroup {
    /// The type of its default domain.
    pub kind: String,
    /// Its functions.
    pub members: Vec<String>,
    /// Lines of `reserved_regions`.
    pub reserved: Vec<String>,
}

/// A whole report.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Report {
    /// The kernel's release.
    pub kernel: String,
    /// Functions by their address.
    pub functions: BTreeMap<String, Function>,
    /// Groups by their number.
    pub groups: BTreeMap<u32, KernelGroup>,
    /// ACPI tables by their file's name.
    pub tables: BTreeMap<String, Vec<u8>>,
    /// The device tree, where there is no ACPI.
    pub fdt: Option<Vec<u8>>,
    /// Lines of the kernel's log on IOMMUs and ACS.
    pub log: Vec<String>,
}

/// Why there is no report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReportError {
    /// The first line never came.
    NotBegun,
    /// The last line never came, or was not whole.
    NotEnded {
        /// How many lines came.
        lines: usize,
    },
    /// More or fewer lines came than the guest sent.
    Lines {
        /// How many came.
        came: usize,
        /// How many were sent.
        sent: String,
    },
    /// The lines are not those that were sent.
    Checksum {
        /// Of those that came.
        came: u32,
        /// Of those that were sent.
        sent: String,
    },
    /// A line is none of those that a guest may send.
    Line {
        /// Its number, from 1.
        number: usize,
        /// Itself, or its beginning.
        text: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The bytes of a file are not those that the guest read.
    File {
        /// Its name.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A group and its functions contradict each other.
    Group {
        /// The function.
        function: String,
        /// The group.
        group: u32,
    },
    /// It says nothing.
    Empty(&'static str),
}

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBegun => write!(f, "the guest sent no report"),
            Self::NotEnded { lines } => write!(f, "the guest's report breaks off after {lines} lines"),
            Self::Lines { came, sent } => {
                write!(f, "{came} lines of the guest's report came, it sent {sent}")
            }
            Self::Checksum { came, sent } => {
                write!(f, "the guest's report has checksum {came:08x}, it was sent with {sent}")
            }
            Self::Line { number, text, why } => {
                write!(f, "line {number} of the guest's report: {why}: {text}")
            }
            Self::File { name, why } => write!(f, "{name} in the guest's report: {why}"),
            Self::Group { function, group } => {
                write!(f, "the guest's group {group} and its function {function} do not name each other")
            }
            Self::Empty(what) => write!(f, "the guest's report names no {what}"),
        }
    }
}

/// Reads a report out of all that came over the serial console.
pub fn parse(console: &str) -> Result<Report, ReportError> {
    let mut lines = console.lines().map(|line| line.trim_end_matches('\r'));
    // Firmware leaves sequences of the terminal in front of what comes next.
    lines.find(|line| line.ends_with(BEGINS)).ok_or(ReportError::NotBegun)?;
    let mut reader = Reader::default();
    let mut text = String::new();
    let mut count = 0;
    for line in lines {
        if let Some(end) = line.strip_prefix(ENDS) {
            return reader.finish(end, count, crc32(text.as_bytes()));
        }
        count += 1;
        if count > MOST_LINES {
            break;
        }
        text.push_str(line);
        text.push('\n');
        reader.line(count, line);
    }
    Err(ReportError::NotEnded { lines: count })
}

/// The bytes of all files, while their lines come.
struct Open {
    sum: u32,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Reader {
    report: Report,
    /// The files that the bytes are of, and their lengths.
    parts: Vec<(String, usize)>,
    open: Option<Open>,
    /// The first thing that was wrong: told only when the whole is known to be what was sent.
    wrong: Option<ReportError>,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) {
        if self.wrong.is_some() {
            return;
        }
        if let Err(why) = self.try_line(line) {
            let text = line.chars().take(80).collect();
            self.wrong = Some(ReportError::Line { number, text, why });
        }
    }

    fn try_line(&mut self, line: &str) -> Result<(), &'static str> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Ok(offset) = usize::from_str_radix(word, 16)
            && let Some(open) = &mut self.open
        {
            return row(&mut open.bytes, offset, rest.trim_end());
        }
        match word {
            "kernel" => self.report.kernel = rest.to_owned(),
            "word" => {
                let mut words = rest.splitn(3, ' ');
                let function = words.next().filter(|name| is_address(name)).ok_or("no PCI address")?;
                let (Some(name), Some(value)) = (words.next(), words.next()) else {
                    return Err("not a name and a value");
                };
                let function = self.report.functions.entry(function.to_owned()).or_default();
                if function.words.insert(name.to_owned(), value.to_owned()).is_some() {
                    return Err("a second value of that name");
                }
            }
            "part" => {
                let (length, name) = rest.split_once(' ').ok_or("not a length and a file")?;
                self.parts.push((name.to_owned(), length.parse().map_err(|_| "no length")?));
            }
            "bytes" => {
                let (length, sum) = rest.split_once(' ').ok_or("not a length and a checksum")?;
                let length = length.parse().map_err(|_| "no length")?;
                let sum = u32::from_str_radix(sum, 16).map_err(|_| "no checksum")?;
                if length > MOST_BYTES {
                    return Err("more than all that is asked for");
                }
                self.open = Some(Open { sum, bytes: vec![0; length] });
            }
            "group" => {
                let mut words = rest.split(' ');
                let number = words.next().and_then(|word| word.parse().ok()).ok_or("no group's number")?;
                let kind = words.next().ok_or("no type")?.to_owned();
                let members = words.map(str::to_owned).collect();
                let group = KernelGroup { kind, members, reserved: Vec::new() };
                if self.report.groups.insert(number, group).is_some() {
                    return Err("a second group of that number");
                }
            }
            "reserved" => {
                let (number, region) = rest.split_once(' ').ok_or("no region")?;
                let group = number.parse().ok().and_then(|number: u32| self.report.groups.get_mut(&number));
                group.ok_or("of no group")?.reserved.push(region.to_owned());
            }
            "log" => self.report.log.push(rest.to_owned()),
            _ => return Err("no such line"),
        }
        Ok(())
    }

    /// The bytes are complete when something else comes.
    fn close(&mut self) -> Result<(), ReportError> {
        let Some(Open { bytes, sum }) = self.open.take() else { return Ok(()) };
        let wrong = |name: &str, why| Err(ReportError::File { name: name.to_owned(), why });
        if crc32(&bytes) != sum {
            return wrong("all files", "their bytes have another checksum");
        }
        let mut rest = &bytes[..];
        for (name, length) in std::mem::take(&mut self.parts) {
            let Some((file, behind)) = rest.split_at_checked(length) else {
                return wrong(&name, "there are not so many bytes");
            };
            rest = behind;
            let mut folders = name.rsplit('/');
            match (folders.next(), folders.next()) {
                (Some("config"), Some(address)) => match self.report.functions.get_mut(address) {
                    Some(function) => function.config = file.to_vec(),
                    None => return wrong(&name, "no such function"),
                },
                (Some(table), Some("tables")) => {
                    self.report.tables.insert(table.to_owned(), file.to_vec());
                }
                (Some("fdt"), _) => self.report.fdt = Some(file.to_vec()),
                _ => return wrong(&name, "no such file was asked for"),
            }
        }
        if rest.is_empty() { Ok(()) } else { wrong("all files", "there are bytes of none") }
    }

    fn finish(mut self, end: &str, came: usize, sum: u32) -> Result<Report, ReportError> {
        let (lines, sent) = end.split_once(' ').ok_or(ReportError::NotEnded { lines: came })?;
        if lines.parse() != Ok(came) {
            return Err(ReportError::Lines { came, sent: lines.to_owned() });
        }
        if u32::from_str_radix(sent, 16) != Ok(sum) {
            return Err(ReportError::Checksum { came: sum, sent: sent.to_owned() });
        }
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        self.close()?;
        agree(&self.report)?;
        Ok(self.report)
    }
}

/// Groups and functions must tell the same story, and there must be one.
fn agree(report: &Report) -> Result<(), ReportError> {
    for (name, function) in &report.functions {
        if function.config.is_empty() {
            return Err(ReportError::File { name: format!("config/{name}"), why: "it did not come" });
        }
        if let Some(group) = function.words.get("iommu_group").and_then(|group| group.parse().ok())
            && !report.groups.get(&group).is_some_and(|known| known.members.contains(name))
        {
            return Err(ReportError::Group { function: name.clone(), group });
        }
    }
    for (&group, known) in &report.groups {
        for member in &known.members {
            // Groups have members that are no PCI functions as well.
            if let Some(function) = report.functions.get(member)
                && function.words.get("iommu_group").is_none_or(|named| named.parse() != Ok(group))
            {
                return Err(ReportError::Group { function: member.clone(), group });
            }
        }
    }
    match () {
        () if report.kernel.is_empty() => Err(ReportError::Empty("kernel")),
        () if report.functions.is_empty() => Err(ReportError::Empty("function")),
        () => Ok(()),
    }
}

fn row(bytes: &mut [u8], offset: usize, digits: &str) -> Result<(), &'static str> {
    if digits.is_empty() || digits.len() > 32 || !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return Err("not up to 16 bytes");
    }
    let end =
        offset.checked_add(digits.len() / 2).filter(|end| *end <= bytes.len()).ok_or("beyond all bytes")?;
    for (byte, pair) in bytes[offset..end].iter_mut().zip(digits.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| "no hexadecimal digits")?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| "no hexadecimal digits")?;
    }
    Ok(())
}

/// `0000:00:1f.2`.
fn is_address(text: &str) -> bool {
    let digits = |text: &str, count: usize| {
        text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let parts: Vec<&str> = text.split([':', '.']).collect();
    matches!(parts[..], [segment, bus, slot, function]
        if digits(segment, 4) && digits(bus, 2) && digits(slot, 2) && digits(function, 1))
}

/// The checksum of gzip and Ethernet (reflected, polynomial 04c11db7h).
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// What a guest would send with these lines between.
    pub fn sent(lines: &str) -> String {
        let count = lines.lines().count();
        format!("noise\r\n\u{1b}[2J{BEGINS}\r\n{lines}{ENDS}{count} {:08x}\r\n", crc32(lines.as_bytes()))
    }

    fn good() -> String {
        let mut bytes = [0; 82];
        bytes[..4].copy_from_slice(&[0x34, 0x12, 0xe8, 0x11]);
        bytes[80..].copy_from_slice(&[1, 2]);
        format!(
            "kernel 6.12\nword 0000:00:02.0 vendor 0x1234\nword 0000:00:02.0 iommu_group 3\n\
             part 64 /sys/bus/pci/devices/0000:00:02.0/config\npart 18 /sys/firmware/acpi/tables/DMAR\n\
             bytes 82 {:08x}\n0 3412e811000000000000000000000000\n50 0102    \n\
             group 3 DMA 0000:00:02.0\nreserved 3 0x0 0x1 msi\nlog [    0.1] DMAR: IOMMU enabled\n",
            crc32(&bytes),
        )
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_report_is_read() {
        let report = parse(&sent(&good())).expect("it is whole");
        let function = &report.functions["0000:00:02.0"];
        assert_eq!((&function.config[..4], function.config.len()), (&[0x34, 0x12, 0xe8, 0x11][..], 64));
        assert_eq!(function.words["vendor"], "0x1234");
        assert_eq!(report.groups[&3].members, ["0000:00:02.0"]);
        assert_eq!(report.groups[&3].reserved, ["0x0 0x1 msi"]);
        assert_eq!(report.tables["DMAR"][16..], [1, 2]);
        assert_eq!(report.log, ["[    0.1] DMAR: IOMMU enabled"]);
    }

    #[test]
    fn any_change_on_the_way_is_noticed() {
        let whole = sent(&good());
        assert_eq!(parse(""), Err(ReportError::NotBegun));
        let start = whole.find(BEGINS).expect("it is there") + BEGINS.len();
        for end in start..whole.len() - 3 {
            assert!(parse(&whole[..end]).is_err(), "cut at {end}");
        }
        for at in start + 2..whole.len() - 2 {
            let mut bytes = whole.clone().into_bytes();
            bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
            let text = String::from_utf8(bytes).expect("ASCII");
            assert!(parse(&text).is_err(), "changed at {at}: {text}");
        }
        let twice = whole.replace("log [", "log [    0.1] said in between\r\nlog [");
        assert!(matches!(parse(&twice), Err(ReportError::Lines { came: 12, .. })));
    }

    #[test]
    fn what_no_guest_sends_is_named() {
        let line = |lines: &str| match parse(&sent(lines)) {
            Err(ReportError::Line { number, why, .. }) => (number, why),
            other => panic!("{other:?}"),
        };
        assert_eq!(line("kernel 6\nwhat is this\n"), (2, "no such line"));
        assert_eq!(line("word 00:02.0 a b\n"), (1, "no PCI address"));
        assert_eq!(line("word 0000:00:02.0 a\n"), (1, "not a name and a value"));
        assert_eq!(line(&"word 0000:00:02.0 a b\n".repeat(2)), (2, "a second value of that name"));
        assert_eq!(line("part x /config\n"), (1, "no length"));
        assert_eq!(line("bytes 99999999 0\n"), (1, "more than all that is asked for"));
        assert_eq!(line("bytes 16 0\n8 000000000000000000\n"), (2, "beyond all bytes"));
        assert_eq!(line("bytes 16 0\nffffffffffffffff 00\n"), (2, "beyond all bytes"));
        assert_eq!(line("bytes 16 0\n0 0\n"), (2, "not up to 16 bytes"));
        assert_eq!(line("bytes 16 0\n0 0x\n"), (2, "no hexadecimal digits"));
        assert_eq!(line("reserved 3 a b\n"), (1, "of no group"));
        assert_eq!(line(&(good() + "group 3 DMA\n")), (12, "a second group of that number"));
    }

    #[test]
    fn files_and_groups_must_be_whole() {
        let file = |lines: &str| match parse(&sent(lines)) {
            Err(ReportError::File { why, .. }) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(file(&good().replace("3412e811", "3412e812")), "their bytes have another checksum");
        assert_eq!(file(&good().replace("part 18", "part 19")), "there are not so many bytes");
        assert_eq!(file(&good().replace("part 18", "part 17")), "there are bytes of none");
        assert_eq!(file(&good().replace("02.0/config", "03.0/config")), "no such function");
        assert_eq!(
            file(&good().replace("/sys/firmware/acpi/tables/DMAR", "/etc/shadow")),
            "no such file was asked for"
        );
        assert_eq!(file("kernel 6\nword 0000:00:02.0 vendor 0x1234\n"), "it did not come");
        let stranger = good().replace("group 3 DMA 0000:00:02.0", "group 3 DMA 0000:00:03.0");
        assert!(matches!(parse(&sent(&stranger)), Err(ReportError::Group { group: 3, .. })));
        let secret = good().replace("word 0000:00:02.0 iommu_group 3\n", "");
        assert!(matches!(parse(&sent(&secret)), Err(ReportError::Group { group: 3, .. })));
        assert_eq!(parse(&sent("kernel 6\n")), Err(ReportError::Empty("function")));
        assert_eq!(parse(&sent("log x\n")), Err(ReportError::Empty("kernel")));
    }
}
