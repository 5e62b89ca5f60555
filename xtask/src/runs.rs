//! The program itself, as a newcomer types it: on the embedded machine, and on every table of a corpus of real machines
//! where one lies beside the repository.

use crate::{
    shell::{End, cargo, corpus, root, show, target, wait},
    tally::Tally,
};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The embedded machine is done in this time, once built.
const EMBEDDED: Duration = Duration::from_secs(5);
/// No table may take longer.
const TABLE: Duration = Duration::from_secs(60);
/// Folders of the corpus, and the ending of the files in them that are run.
const FOLDERS: [(&str, &str); 7] = [
    ("acpi/DMAR", "dat"),
    ("acpi/IVRS", "dat"),
    ("acpi/IORT", "dat"),
    ("acpi/RIMT", "dat"),
    ("acpi/VIOT", "dat"),
    ("dtb", "dtb"),
    ("dtb-qemu", "dtb"),
];
/// Tables that are truly broken, so that 2 is the right exit code: templates with fields left empty, three that a test
/// suite broke on purpose, and two machines whose firmware puts an IOMMU at address zero.
const BROKEN: [&str; 8] = [
    "acpica-template-ivrs.dat",
    "fwts-ivrs-0001-acpidump-0002.dat",
    "acpica-template-iort.dat",
    "fwts-iort-0001-acpidump-0002.dat",
    "acpica-template-dmar.dat",
    "lhw-Note-Lenovo-IdeaPadFlex_15_20309-D19FB82D46CF.dat",
    "lhw-Note-Lenovo-ThinkPad_E15_Gen_2_20TD0005MH-188EB681251A.dat",
    "fwts-viot-0001-acpidump-0002.dat",
];

/// The embedded machine, then the corpus.
pub fn run(tally: &mut Tally) {
    if let Err(why) = show(cargo().args(["build", "--release"])) {
        return tally.fail(format!("the program: {why}"));
    }
    let program = target().join("release/ioward");
    let logs = target().join("runs");
    if let Err(error) = fs::create_dir_all(&logs) {
        return tally.fail(format!("{}: {error}", logs.display()));
    }
    let start = Instant::now();
    let end = one(&program, &[], &logs.join("embedded.log"));
    let took = start.elapsed();
    tally.check(
        &format!("the embedded machine in {:.1} s", took.as_secs_f32()),
        match end {
            Some(0) if took < EMBEDDED => match checks_held(&logs.join("embedded.log")) {
                0 => Err("it says nowhere how many checks held".to_owned()),
                _ => Ok(()),
            },
            Some(0) => Err(format!("longer than {} s", EMBEDDED.as_secs())),
            end => Err(format!("{}; see {}", code(end), logs.join("embedded.log").display())),
        },
    );
    let corpus = corpus();
    if !corpus.is_dir() {
        // A clone alone has no corpus, and is not worse for it: it is not part of the repository.
        println!("       no corpus of tables at {} (set IOWARD_CORPUS): none was run", corpus.display());
        return;
    }
    for (folder, ending) in FOLDERS {
        let (mut served, mut not) = (0, 0);
        let files = files(&corpus.join(folder), ending);
        for file in &files {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let log = logs.join(format!("{}-{name}.log", folder.replace('/', "-")));
            let end = one(&program, &["run".as_ref(), file.as_os_str()], &log);
            let expected = if BROKEN.contains(&&*name) { [2, 2] } else { [0, 3] };
            match end {
                Some(0) if expected[0] == 0 => served += 1,
                Some(code) if expected.contains(&code) => not += 1,
                end => tally.fail(format!("{folder}/{name}: {}; see {}", code(end), log.display())),
            }
        }
        println!(
            "ok     {folder}: {served} green, {not} unserved or broken as they should be, of {}",
            files.len()
        );
        tally.pass(served + not);
    }
}

/// `All green: 4519 checks held, …`: 4519.
fn checks_held(log: &Path) -> u64 {
    let text = fs::read_to_string(log).unwrap_or_default();
    let before = text.split(" checks held").next().filter(|before| before.len() < text.len());
    before.and_then(|before| before.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// The exit code of one run; none where it was ended by a signal or the limit. What it prints goes to `log`.
fn one(program: &Path, args: &[&std::ffi::OsStr], log: &Path) -> Option<i32> {
    let file = File::create(log).ok()?;
    let errors = file.try_clone().ok()?;
    let mut command = Command::new(program);
    command.args(args).current_dir(root()).stdin(Stdio::null()).stdout(file).stderr(errors);
    let mut child = command.spawn().ok()?;
    match wait(&mut child, TABLE) {
        End::Success => Some(0),
        End::Failure(_) => child.wait().ok()?.code(),
        End::Timeout => None,
    }
}

fn code(end: Option<i32>) -> String {
    end.map_or("no exit code: a signal, or too long".to_owned(), |code| format!("exit code {code}"))
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|have| have == ending)).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_checked_nothing_is_told_apart() {
        let log = std::env::temp_dir().join(format!("ioward-xtask-held-{}.log", std::process::id()));
        let held = |text: &str| {
            fs::write(&log, text).expect("the temporary folder can be written");
            checks_held(&log)
        };
        assert_eq!((held("All green: 12 checks held, 1 of 2"), held("Nothing"), held("")), (12, 0, 0));
        let _ = fs::remove_file(&log);
    }

    #[test]
    fn exit_codes_are_told_apart() {
        let log = std::env::temp_dir().join(format!("ioward-xtask-{}.log", std::process::id()));
        let shell = |script: &str| one(Path::new("/bin/sh"), &["-c".as_ref(), script.as_ref()], &log);
        assert_eq!((shell("exit 0"), shell("exit 3"), shell("kill -9 $$")), (Some(0), Some(3), None));
        let _ = fs::remove_file(&log);
    }
}
