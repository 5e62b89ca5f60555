//! The pages that are opened: a small machine in words of `lspci`, and real ones where they lie beside the repository.

use crate::shell::{cargo, corpus, show, target};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A page and what its machine is called.
pub struct Page {
    /// The machine.
    pub name: String,
    /// The file.
    pub file: PathBuf,
}

impl Page {
    /// Its address, opened at a function or at its top.
    pub fn url(&self, at: &str) -> String {
        let fragment = if at.is_empty() { String::new() } else { format!("#{at}") };
        format!("file://{}{fragment}", self.file.display())
    }
}

/// A name as nobody's device should have it.
pub const HOSTILE: &str = "</title></text></svg><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">";

/// A root port that does not isolate over a card of two functions, and a switch of which one port does not redirect.
pub fn small() -> String {
    let mut text = String::new();
    let mut function = |at: &str,
                        class: &str,
                        name: &str,
                        buses: Option<(u8, u8)>,
                        kind: &str,
                        acs: Option<&str>| {
        let _ = writeln!(text, "{at} {class}: {name}");
        if let Some((first, last)) = buses {
            let on = &at[..2];
            let _ = writeln!(
                text,
                "\tBus: primary={on}, secondary={first:02x}, subordinate={last:02x}, sec-latency=0"
            );
        }
        // `lspci -vvv` has this line, and tells by it that capabilities were read.
        let _ = writeln!(text, "\tControl: I/O+ Mem+ BusMaster+");
        let _ = writeln!(text, "\tCapabilities: [40] Express (v2) {kind}, MSI 00");
        if let Some(control) = acs {
            let _ = writeln!(text, "\tCapabilities: [100 v1] Access Control Services");
            let _ = writeln!(
                text,
                "\t\tACSCap:\tSrcValid+ TransBlk- ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-"
            );
            let _ = writeln!(text, "\t\tACSCtl:\t{control}");
        }
        text.push('\n');
    };
    const ON: &str = "SrcValid+ TransBlk- ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-";
    const OPEN: &str = "SrcValid+ TransBlk- ReqRedir- CmpltRedir- UpstreamFwd- EgressCtrl- DirectTrans-";
    let (bridge, root, down) = ("PCI bridge [0604]", "Root Port (Slot+)", "Downstream Port (Slot+)");
    function("00:01.0", bridge, "Maker Port [1234:0001]", Some((1, 1)), root, None);
    function("00:02.0", bridge, "Maker Port [1234:0002]", Some((2, 5)), root, Some(ON));
    function(
        "01:00.0",
        "VGA compatible controller [0300]",
        "Maker Graphics [1234:0003]",
        None,
        "Endpoint",
        None,
    );
    function("01:00.1", "Audio device [0403]", "Maker Sound [1234:0004]", None, "Endpoint", None);
    function("02:00.0", bridge, "Maker Switch [1234:0005]", Some((3, 5)), "Upstream Port", None);
    function("03:00.0", bridge, "Maker Switch [1234:0005]", Some((4, 4)), down, Some(OPEN));
    function("03:01.0", bridge, "Maker Switch [1234:0005]", Some((5, 5)), down, Some(ON));
    function("04:00.0", "Ethernet controller [0200]", HOSTILE, None, "Endpoint", None);
    function(
        "05:00.0",
        "Non-Volatile memory controller [0108]",
        "Maker Disk [1234:0007]",
        None,
        "Endpoint",
        None,
    );
    text
}

/// Builds the program and draws every page; the small machine's is the first.
pub fn pages(folder: &Path) -> Result<Vec<Page>, String> {
    show(cargo().args(["build", "--quiet", "-p", "ioward-cli"]))?;
    let input = folder.join("small.txt");
    fs::write(&input, small()).map_err(|error| format!("{}: {error}", input.display()))?;
    let mut machines = vec![("small".to_owned(), input)];
    let corpus = corpus().join("pci");
    match fs::read_dir(&corpus) {
        Ok(entries) => {
            let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            machines.extend(paths.into_iter().map(|path| (name(&path), path)));
        }
        Err(_) => {
            println!(
                "       no corpus of machines at {} (set IOWARD_CORPUS): the small one only",
                corpus.display()
            );
        }
    }
    machines.into_iter().map(|(name, input)| page(folder, name, &input)).collect()
}

fn page(folder: &Path, name: String, input: &Path) -> Result<Page, String> {
    let file = folder.join(format!("{name}.html"));
    let mut command = Command::new(target().join("debug/ioward"));
    command.arg("map").arg(input).arg("--force").arg("-o").arg(&file);
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("ioward: {error}"))?;
    if !output.status.success() {
        return Err(format!("ioward map {name}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(Page { name, file: fs::canonicalize(&file).map_err(|error| format!("{}: {error}", file.display()))? })
}
