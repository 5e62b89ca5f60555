//! Every device tree of the corpus against what `dtc` makes of it: each node and property byte for byte, then the facts
//! against what the text says.

mod common;

use common::{corpus, files};
use ioward_firmware::devicetree::{self, Tree};
use ioward_types::describe::{Devices, Fact, Iommu, IommuKind, NodeId, Severity, Sources};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Nodes by path, and their properties' bytes.
type Text = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

/// The trees of the corpus; none, and a line that says so, without corpus or `dtc`.
fn trees() -> Option<Vec<PathBuf>> {
    let (boards, qemu) = (corpus("dtb")?, corpus("dtb-qemu")?);
    if Command::new("dtc").arg("--version").output().is_err() {
        println!("SKIPPED: no dtc");
        return None;
    }
    let trees: Vec<_> = files(&boards, "dtb").into_iter().chain(files(&qemu, "dtb")).collect();
    assert!(!trees.is_empty());
    Some(trees)
}

fn decompile(path: &Path) -> Text {
    let output = Command::new("dtc").args(["-q", "-I", "dtb", "-O", "dts"]).arg(path).output();
    let text = String::from_utf8(output.expect("dtc ran before").stdout).expect("dtc writes text");
    let (mut nodes, mut path) = (Text::new(), Vec::<String>::new());
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_suffix(" {") {
            path.push(if name == "/" { String::new() } else { name.into() });
            nodes.insert(path.join("/"), BTreeMap::new());
        } else if line == "};" {
            path.pop();
        } else if let Some(property) = line.strip_suffix(';').filter(|_| !path.is_empty()) {
            let (name, value) = property.split_once(" = ").unwrap_or((property, ""));
            nodes.get_mut(&path.join("/")).expect("it was begun").insert(name.into(), bytes(value));
        }
    }
    nodes
}

/// The bytes of a value as `dtc` writes them: cells, bytes and strings, separated by commas.
fn bytes(value: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), value.trim());
    while !rest.is_empty() {
        let close = match rest.as_bytes()[0] {
            b'<' => '>',
            b'[' => ']',
            b'"' => '"',
            _ => panic!("dtc writes no such value: {rest}"),
        };
        let end = closing(&rest[1..], close) + 1;
        let inner = &rest[1..end];
        match close {
            '>' => inner.split_whitespace().for_each(|cell| {
                let cell =
                    u32::from_str_radix(cell.trim_start_matches("0x"), 16).expect("cells are hexadecimal");
                bytes.extend(cell.to_be_bytes());
            }),
            ']' => inner.split_whitespace().for_each(|byte| {
                bytes.push(u8::from_str_radix(byte, 16).expect("bytes are hexadecimal"));
            }),
            _ => {
                unescape(inner, &mut bytes);
                bytes.push(0);
            }
        }
        rest = rest[end + 1..].trim_start_matches([',', ' ']);
    }
    bytes
}

fn closing(text: &str, close: char) -> usize {
    let mut escaped = false;
    text.char_indices()
        .find(|(_, found)| {
            let ends = *found == close && !escaped;
            escaped = *found == '\\' && !escaped;
            ends
        })
        .expect("dtc closes what it opens")
        .0
}

fn unescape(text: &str, bytes: &mut Vec<u8>) {
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            bytes.extend(letter.to_string().bytes());
            continue;
        }
        match letters.next().expect("an escape has a letter") {
            '0' => bytes.push(0),
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'v' => bytes.push(11),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            't' => bytes.push(b'\t'),
            'r' => bytes.push(b'\r'),
            'x' => {
                let hex: String = letters.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&hex, 16).expect("two hexadecimal digits"));
            }
            other => bytes.push(other as u8),
        }
    }
}

#[test]
fn nodes_and_properties_are_what_dtc_says() {
    for path in trees().unwrap_or_default() {
        let expected = decompile(&path);
        let blob = fs::read(&path).expect("the corpus can be read");
        let tree =
            Tree::open(&blob, &mut |fact| panic!("{}: {fact:?}", path.display())).expect("real trees open");
        let mut shown = Text::new();
        tree.walk(&mut |path| {
            let name = if path.to_string() == "/" { String::new() } else { path.to_string() };
            let node = path.node().expect("a walk shows nodes");
            let properties =
                node.properties().map(|property| (property.name().into(), property.value().bytes().to_vec()));
            shown.insert(name, properties.collect());
            true
        })
        .expect("real trees are whole");
        assert!(shown.len() > 10);
        for (node, properties) in &expected {
            assert_eq!(shown.get(node), Some(properties), "{}: {node}", path.display());
        }
        assert_eq!(shown.len(), expected.len(), "{}", path.display());
    }
}

/// Device, IOMMU and source; the range of requester IDs too where the device is a PCI host.
type ScopeText = (String, String, u32, Option<(u32, u32)>);

struct Board {
    text: Text,
}

impl Board {
    fn cells(&self, node: &str, property: &str) -> Vec<u32> {
        let bytes = self.text.get(node).and_then(|node| node.get(property));
        let cells = bytes.into_iter().flat_map(|bytes| bytes.chunks_exact(4));
        cells.map(|cell| u32::from_be_bytes(cell.try_into().expect("four bytes"))).collect()
    }
    fn by_phandle(&self, phandle: u32) -> &str {
        let found = self.text.keys().find(|node| self.cells(node, "phandle") == [phandle]);
        found.expect("real trees refer to nodes that are there")
    }
    fn is_host(&self, node: &str) -> bool {
        self.text[node].get("device_type").is_some_and(|kind| kind == b"pci\0")
    }
    /// Every entry of `iommus` and `iommu-map`.
    fn scopes(&self) -> Vec<ScopeText> {
        let mut scopes = Vec::new();
        for node in self.text.keys() {
            let mut cells = self.cells(node, "iommus").into_iter();
            while let Some(phandle) = cells.next() {
                let iommu = self.by_phandle(phandle).to_string();
                let count = self.cells(&iommu, "#iommu-cells")[0];
                let source = cells.by_ref().take(count as usize).collect::<Vec<_>>();
                scopes.push((node.clone(), iommu, source.first().copied().unwrap_or(0), None));
            }
            for entry in self.cells(node, "iommu-map").chunks_exact(4).filter(|entry| entry[3] != 0) {
                let iommu = self.by_phandle(entry[1]).to_string();
                let range = self.is_host(node).then_some((entry[0], entry[0] + entry[3] - 1));
                scopes.push((node.clone(), iommu, entry[2], range));
            }
        }
        scopes.sort();
        scopes
    }
}

#[test]
fn facts_are_what_the_text_says() {
    let (mut units, mut count) = (0, 0);
    for path in trees().unwrap_or_default() {
        let board = Board { text: decompile(&path) };
        let blob = fs::read(&path).expect("the corpus can be read");
        let mut facts = Vec::new();
        devicetree::facts(&blob, &mut |fact| facts.push(fact));
        let names = names(&blob);
        let hosts: BTreeMap<u16, String> = facts
            .iter()
            .filter_map(|fact| match fact {
                Fact::PciHost(host) => Some((host.segment, names[&host.id].clone())),
                _ => None,
            })
            .collect();

        let mut scopes = Vec::new();
        for fact in &facts {
            match fact {
                Fact::Scope(scope) => {
                    let Some(served) = scope.served else { continue };
                    let (Sources::Consecutive(source)
                    | Sources::Same(source)
                    | Sources::All { first: source, .. }) = served.sources;
                    let (device, range) = match scope.devices {
                        Devices::Node { id, .. } => (names[&id].clone(), None),
                        Devices::Pci { segment, first, last, .. } => {
                            (hosts[&segment].clone(), Some((first.into(), last.into())))
                        }
                        other => panic!("{}: {other:?}", path.display()),
                    };
                    scopes.push((device, names[&served.iommu].clone(), source.0, range));
                }
                Fact::Iommu(iommu) => {
                    let name = &names[&iommu.id];
                    let okay = board.text[name].get("status").is_none_or(|status| status == b"okay\0");
                    assert_eq!(iommu.enabled, okay, "{name}");
                    assert!(name.ends_with(iommu.name));
                    if let (Some(registers), Some((_, unit))) = (iommu.registers, name.rsplit_once('@')) {
                        // Windows move registers by whole multiples of 16 MiB on these boards.
                        let unit = u64::from_str_radix(unit, 16).expect("unit addresses are hexadecimal");
                        assert_eq!((registers.start.0 - unit) % 0x100_0000, 0, "{name}");
                    }
                    check_kind(&board, name, iommu);
                    units += 1;
                }
                Fact::Problem(problem) => assert_eq!(problem.severity(), Severity::Note, "{problem}"),
                _ => {}
            }
        }
        scopes.sort();
        assert_eq!(scopes, board.scopes(), "{}", path.display());
        count += scopes.len();
        let with_cells = board.text.values().filter(|node| node.contains_key("#iommu-cells")).count();
        let found = facts.iter().filter(|fact| matches!(fact, Fact::Iommu(_))).count();
        assert_eq!(found, with_cells, "{}", path.display());
    }
    println!("{units} IOMMUs, {count} scopes");
}

/// The kind against the node's `compatible`, and what a RISC-V IOMMU and a virtio-iommu say beside it.
fn check_kind(board: &Board, name: &str, iommu: &Iommu<'_>) {
    let is = |text: &[u8]| board.text[name]["compatible"].starts_with(text);
    assert_eq!(matches!(iommu.kind, IommuKind::SmmuV3(_)), is(b"arm,smmu-v3\0"), "{name}");
    let (platform, pci) = (is(b"riscv,iommu\0"), is(b"riscv,pci-iommu\0"));
    let reg = board.cells(name, "reg");
    // On PCI the first cell of `reg` has bus, device and function.
    let function = (pci || matches!(iommu.kind, IommuKind::Virtio)).then(|| reg[0] >> 8);
    assert_eq!(iommu.function.map(|function| function.requester.into()), function, "{name}");
    assert_eq!(matches!(iommu.kind, IommuKind::Virtio), is(b"virtio,pci-iommu\0"), "{name}");
    match iommu.kind {
        IommuKind::RiscV(facts) => {
            assert!(platform || pci, "{name}");
            // Two cells each on QEMU's machines, with one interrupt controller.
            let wires = board.cells(name, "interrupts").len() as u16 / 2;
            // QEMU's hosts are coherent and say so for what is below them.
            assert_eq!((facts.wires, facts.coherent), (wires, pci.then_some(true)), "{name}");
            let bytes = platform.then(|| u64::from(reg[3]));
            assert_eq!(iommu.registers.map(|registers| registers.bytes), bytes, "{name}");
        }
        _ => assert!(!platform && !pci, "{name}"),
    }
}

fn names(blob: &[u8]) -> BTreeMap<NodeId, String> {
    let tree = Tree::open(blob, &mut |_| {}).expect("it was opened before");
    let mut names = BTreeMap::new();
    tree.walk(&mut |path| {
        names.insert(NodeId(path.node().expect("a walk shows nodes").at()), path.to_string());
        true
    })
    .expect("it was walked before");
    names
}
