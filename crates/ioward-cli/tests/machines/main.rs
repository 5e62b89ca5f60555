//! `groups`, `explain` and `check` from outside, on machines that the tests make and on real ones.

mod check;
mod corpus;
mod explain;
mod files;
mod groups;
#[path = "../../../ioward-host/tests/common/mod.rs"]
mod trees;

use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Runs the program without the system's list of names.
fn ioward(columns: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ioward"));
    command.args(arguments).env("COLUMNS", columns).env("IOWARD_PCI_IDS", "").env_remove("NO_COLOR");
    command.output().expect("the program was built with the tests")
}

/// What it prints, and its exit code.
fn said(columns: &str, arguments: &[&str]) -> (String, i32) {
    let output = ioward(columns, arguments);
    let text = String::from_utf8(output.stdout).expect("the program prints UTF-8");
    (text, output.status.code().expect("no signal ended it"))
}

fn document(arguments: &[&str]) -> (Value, i32) {
    let output = ioward("80", &[arguments, &["--json"]].concat());
    let value = serde_json::from_slice(&output.stdout).expect("--json prints JSON");
    (value, output.status.code().expect("no signal ended it"))
}

fn strings(value: &Value) -> BTreeSet<String> {
    value.as_array().expect("a list").iter().map(|item| item.as_str().expect("text").to_owned()).collect()
}

/// The members of an object.
fn members(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn sorted<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

/// A machine in text: a root port that isolates with a card of two functions, one that does not with a disk, a switch of
/// which one downstream port has no ACS, and a chipset device with three functions.
const LISTING: &str = "\
00:00.0 Host bridge [0600]: Maker Host [1234:0001] (rev 02)
\tControl: I/O- Mem+ BusMaster+
\tIOMMU group: 0
00:01.0 PCI bridge [0604]: Maker Root Port A [1234:0002] (prog-if 00 [Normal decode])
\tControl: I/O- Mem+ BusMaster+
\tBus: primary=00, secondary=01, subordinate=01, sec-latency=0
\tIOMMU group: 1
\tCapabilities: [40] Express (v2) Root Port (Slot+), MSI 00
\tCapabilities: [100 v1] Access Control Services
\t\tACSCap: SrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-
\t\tACSCtl: SrcValid+ TransBlk- ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-
\tKernel driver in use: pcieport
00:02.0 PCI bridge [0604]: Maker Root Port B [1234:0003]
\tControl: I/O- Mem+ BusMaster+
\tBus: primary=00, secondary=02, subordinate=05, sec-latency=0
\tIOMMU group: 2
\tCapabilities: [40] Express (v2) Root Port (Slot+), MSI 00
\tCapabilities: [100 v1] Access Control Services
\t\tACSCap: SrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-
\t\tACSCtl: SrcValid+ TransBlk- ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-
\tKernel driver in use: pcieport
00:1f.0 ISA bridge [0601]: Maker LPC [1234:0010]
\tControl: I/O- Mem+ BusMaster+
\tIOMMU group: 8
00:1f.3 Audio device [0403]: Maker Sound [1234:0011]
\tControl: I/O- Mem+ BusMaster+
\tIOMMU group: 8
\tKernel driver in use: snd_hda_intel
01:00.0 VGA compatible controller [0300]: Maker Graphics Card of a Name That Is Rather Long [1234:1000] (rev a1)
\tControl: I/O- Mem+ BusMaster+
\tIOMMU group: 3
\tCapabilities: [40] Express (v2) Legacy Endpoint, MSI 00
\tKernel driver in use: nouveau
01:00.1 Audio device [0403]: Maker Graphics Sound [1234:1001]
\tControl: I/O- Mem+ BusMaster+
\tIOMMU group: 3
\tCapabilities: [40] Express (v2) Endpoint, MSI 00
02:00.0 PCI bridge [0604]: Maker Switch [1234:2000]
\tControl: I/O- Mem+ BusMaster+
\tBus: primary=02, secondary=03, subordinate=05, sec-latency=0
\tIOMMU group: 4
\tCapabilities: [40] Express (v2) Upstream Port, MSI 00
03:00.0 PCI bridge [0604]: Maker Switch [1234:2001]
\tControl: I/O- Mem+ BusMaster+
\tBus: primary=03, secondary=04, subordinate=04, sec-latency=0
\tIOMMU group: 5
\tCapabilities: [40] Express (v2) Downstream Port (Slot+), MSI 00
03:01.0 PCI bridge [0604]: Maker Switch [1234:2001]
\tControl: I/O- Mem+ BusMaster+
\tBus: primary=03, secondary=05, subordinate=05, sec-latency=0
\tIOMMU group: 6
\tCapabilities: [40] Express (v2) Downstream Port (Slot+), MSI 00
\tCapabilities: [100 v1] Access Control Services
\t\tACSCap: SrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-
\t\tACSCtl: SrcValid+ TransBlk- ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-
04:00.0 Non-Volatile memory controller [0108]: Maker Disk [1234:3000]
\tControl: I/O- Mem+ BusMaster+
\tIOMMU group: 5
\tCapabilities: [40] Express (v2) Endpoint, MSI 00
\tKernel driver in use: nvme
05:00.0 Ethernet controller [0200]: Maker Network [1234:4000]
\tControl: I/O- Mem+ BusMaster+
\tIOMMU group: 7
\tCapabilities: [40] Express (v2) Endpoint, MSI 00
\tKernel driver in use: igb
";

/// A file with the machine.
fn listing(name: &str) -> PathBuf {
    listing_of(name, LISTING)
}

fn listing_of(name: &str, text: &str) -> PathBuf {
    let path = trees::folder(&format!("cli-{name}")).join("lspci.txt");
    trees::write(&path, text);
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("tests' paths are UTF-8")
}

/// Compares with what a person approved. `IOWARD_GOLDEN=write` writes it anew, to be looked at.
fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("IOWARD_GOLDEN").is_some_and(|word| word == "write") {
        std::fs::write(&path, found).expect("the repository can be written");
    }
    let approved = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, approved, "{name}");
}

/// Without its first line, which has this machine's path, and no wider than asked.
fn body<'a>(said: &'a str, columns: &str) -> &'a str {
    let width: usize = columns.parse().expect("a number");
    let (_, rest) = said.split_once("\n\n").expect("a heading, and then the rest");
    for line in rest.lines() {
        assert!(line.chars().count() <= width, "wider than {width}: {line}");
    }
    rest
}
