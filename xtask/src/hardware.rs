//! `docs/hardware.md` stays true: every file, test and machine that it names exists, and it leaves no file out.
//!
//! A table of the document belongs to the IOMMU whose module its heading names: `## SMMUv3 (`smmuv3`)`. Its columns are
//! feature, section, driver, model, test, QEMU. Names are in backticks:
//!
//! | name | where it is looked for |
//! | --- | --- |
//! | `ste.rs` in the column of the driver or the model | the module's folder in `ioward-drivers` or `ioward-models` |
//! | `tests/FILE.rs::TEST` | `ioward-drivers/tests` |
//! | `unit/FILE.rs::TEST` | the driver's own file |
//! | `model/FILE.rs::TEST` | the model's tests |
//! | `kit::CHECK` | the list of checks in `ioward-conformance`, which runs for the module |
//! | `CRATE/…/FILE.rs` and `CRATE/…/FILE.rs::TEST` | `crates/` |
//! | `x86_64-…`, with `*` at the end for all that begin so | the machines of `qemu` |

use crate::{qemu, shell::root};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const COLUMNS: [&str; 6] = ["feature", "section", "driver", "model", "test", "QEMU"];
const ARCHITECTURES: [&str; 3] = ["aarch64-", "riscv64-", "x86_64-"];

/// What is wrong, and what was named.
#[derive(Default)]
struct Reader {
    module: String,
    problems: Vec<String>,
    files: BTreeSet<PathBuf>,
    machines: BTreeSet<&'static str>,
    tests: usize,
}

/// Every second piece between backticks.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether a source file has a test of that name: a function with `#[test]` among its attributes, or, in a suite, one that
/// the list of its `main.rs` names.
fn has_test(path: &Path, name: &str) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let starts = [format!("fn {name}("), format!("pub fn {name}("), format!("pub fn {name}<")];
    let found = lines.iter().position(|line| starts.iter().any(|start| line.starts_with(start.as_str())));
    let Some(at) = found else { return false };
    let mut above =
        lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    above.any(|line| *line == "#[test]") || {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let list = fs::read_to_string(path.with_file_name("main.rs")).unwrap_or_default();
        list.lines().any(|line| line.trim() == format!("{stem}::{name}"))
    }
}

impl Reader {
    fn wrong(&mut self, line: usize, what: impl std::fmt::Display) {
        self.problems.push(format!("line {line}: {what}"));
    }

    /// A name with a path in it, which all of the document may use.
    fn path(&mut self, line: usize, name: &str) {
        let (file, test) = name.split_once("::").map_or((name, None), |(file, test)| (file, Some(test)));
        let crates = root().join("crates");
        let path = match file.split_once('/') {
            _ if name.starts_with("kit::") => return self.check_of_the_kit(line, name),
            Some(("tests", file)) => crates.join("ioward-drivers/tests").join(file),
            Some(("unit", file)) => crates.join("ioward-drivers/src").join(&self.module).join(file),
            Some(("model", file)) => {
                crates.join("ioward-models/src").join(&self.module).join("tests").join(file)
            }
            Some(_) if root().join(file).exists() => root().join(file),
            _ => crates.join(file),
        };
        if !path.exists() {
            return self.wrong(line, format_args!("`{file}` is not there"));
        }
        if let Some(test) = test {
            self.tests += 1;
            if !has_test(&path, test) {
                self.wrong(line, format_args!("`{file}` has no test `{test}`"));
            }
        }
        self.files.insert(path);
    }

    fn check_of_the_kit(&mut self, line: usize, name: &str) {
        let kit = root().join("crates/ioward-conformance");
        let check = name.trim_start_matches("kit::");
        let list = fs::read_to_string(kit.join("src/suite.rs")).unwrap_or_default();
        let listed = list.lines().any(|line| line.trim().ends_with(&format!("::{check},")));
        if !listed {
            self.wrong(line, format_args!("the kit has no check `{check}`"));
        }
        let runs =
            fs::read_to_string(kit.join("tests").join(format!("{}.rs", self.module))).unwrap_or_default();
        if !self.module.is_empty() && !runs.contains("ioward_conformance::suite!") {
            let why = format!("the kit does not run for `{}`", self.module);
            self.wrong(line, why);
        }
        self.tests += 1;
    }

    fn machine(&mut self, line: usize, name: &str) {
        let found: Vec<&str> = match name.strip_suffix('*') {
            Some(start) => qemu::names().filter(|machine| machine.starts_with(start)).collect(),
            None => qemu::names().filter(|machine| *machine == name).collect(),
        };
        if found.is_empty() {
            self.wrong(line, format_args!("no machine is called `{name}`"));
        }
        self.machines.extend(found);
    }

    fn row(&mut self, line: usize, cells: &[&str]) {
        let [feature, section, driver, model, test, judge] = cells else {
            return self.wrong(line, format_args!("{} columns instead of 6", cells.len()));
        };
        if feature.is_empty() || section.is_empty() {
            self.wrong(line, "a feature and its section");
        }
        for (krate, cell) in [("ioward-drivers", driver), ("ioward-models", model)] {
            let folder = root().join("crates").join(krate).join("src").join(&self.module);
            let named: Vec<&str> = names(cell).filter(|name| name.ends_with(".rs")).collect();
            if named.is_empty() && !(cell.starts_with("not yet: ") || cell.starts_with("none: ")) {
                self.wrong(line, "neither a file nor `not yet: why` nor `none: why`");
            }
            for name in named {
                if !folder.join(name).exists() {
                    self.wrong(line, format!("`{name}` is not in {krate}'s folder of this IOMMU"));
                }
                self.files.insert(folder.join(name));
            }
        }
        let before = self.tests;
        names(test).for_each(|name| self.path(line, name));
        let lacking = [driver, model].iter().all(|cell| !cell.contains('`'));
        if self.tests == before && !lacking {
            self.wrong(line, format_args!("no test of `{feature}`"));
        }
        let machines: Vec<&str> = names(judge).filter(|name| is_machine(name)).collect();
        if machines.is_empty() && !judge.starts_with("no") {
            self.wrong(line, "neither a machine nor `no`");
        }
        machines.into_iter().for_each(|name| self.machine(line, name));
    }

    /// Anything outside of the IOMMUs' tables.
    fn prose(&mut self, line: usize, text: &str) {
        for name in names(text) {
            if is_machine(name) {
                self.machine(line, name);
            } else if name.ends_with('…') {
                // The form of a name.
            } else if name.starts_with("kit::") || name.contains('/') && name.contains(".rs") {
                self.path(line, name);
            }
        }
    }

    fn read(text: &str) -> Self {
        let mut reader = Self::default();
        let mut fenced = false;
        for (line, text) in (1..).zip(text.lines()) {
            fenced ^= text.starts_with("```");
            if let Some(heading) = text.strip_prefix("## ") {
                reader.module = names(heading).next().unwrap_or_default().to_owned();
            }
            if fenced {
            } else if text.starts_with('|') && !reader.module.is_empty() {
                let cells: Vec<&str> = text.trim_matches('|').split('|').map(str::trim).collect();
                if cells != COLUMNS && !cells.iter().all(|cell| cell.chars().all(|c| c == '-')) {
                    reader.row(line, &cells);
                }
            } else {
                reader.prose(line, text);
            }
        }
        reader
    }

    /// What there is and the document does not name.
    fn left_out(&self) -> Vec<String> {
        let mut left: Vec<String> = qemu::names()
            .filter(|name| !self.machines.contains(name))
            .map(|name| format!("the machine `{name}` is not named"))
            .collect();
        let crates = root().join("crates");
        for module in ["smmuv3", "amdvi", "vtd", "riscv", "virtio"] {
            for folder in ["ioward-drivers/src", "ioward-models/src"].map(|src| crates.join(src).join(module))
            {
                let entries =
                    fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
                let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
                let files = files.filter(|path| path.extension().is_some_and(|end| end == "rs"));
                let missing = files.filter(|path| !path.ends_with("mod.rs") && !self.files.contains(path));
                left.extend(missing.map(|path| format!("{} is not named", path.display())));
            }
        }
        left
    }
}

fn is_machine(name: &str) -> bool {
    ARCHITECTURES.iter().any(|start| name.starts_with(start)) && !name.contains(['/', ' '])
}

#[test]
fn the_table_of_hardware_names_what_there_is() {
    let path = root().join("docs/hardware.md");
    let reader = Reader::read(&fs::read_to_string(&path).expect("the document is there"));
    let wrong: Vec<String> = reader.problems.iter().cloned().chain(reader.left_out()).collect();
    assert!(wrong.is_empty(), "docs/hardware.md:\n{}", wrong.join("\n"));
    assert!(reader.tests > 100, "{} tests are named", reader.tests);
}

#[test]
fn what_is_not_there_is_an_error() {
    let problems = |row: &str| {
        let table =
            format!("## SMMUv3 (`smmuv3`)\n\n| {} |\n|---|---|---|---|---|---|\n{row}", COLUMNS.join(" | "));
        Reader::read(&table).problems.len()
    };
    let good = "| Stream table | 5.2 | `ste.rs` | `ste.rs` | `tests/smmuv3_model.rs::lost_events_are_told` \
                `model/streams.rs::an_illegal_entry_is_a_bad_ste` `unit/tag.rs::a_tag_says_what_it_is` \
                `kit::attach` `ioward-pgtable/tests/suite/sizes.rs::every_page_size` | `aarch64-smmuv3-*` |";
    assert_eq!(problems(good), 0);
    for (old, new) in [
        ("`ste.rs` | `ste.rs`", "`stt.rs` | `ste.rs`"),
        ("`ste.rs` | `ste.rs`", "`ste.rs` | `cd_table.rs`"),
        ("`ste.rs` | `ste.rs`", "not yet | `ste.rs`"),
        ("lost_events_are_told", "lost_events_are_not_told"),
        ("smmuv3_model.rs", "smmuv3_models.rs"),
        ("an_illegal_entry_is_a_bad_ste", "streams"),
        ("a_tag_says_what_it_is", "numbers"),
        ("kit::attach", "kit::attached"),
        ("sizes.rs::every_page_size", "sizes.rs::map"),
        ("aarch64-smmuv3-*", "aarch64-smmuv4-*"),
        ("aarch64-smmuv3-*", "aarch64-smmuv3"),
        ("`aarch64-smmuv3-*`", "yes"),
        ("| 5.2 ", ""),
        ("| 5.2 ", "| "),
    ] {
        let bad = good.replace(old, new);
        assert!(bad != good && problems(&bad) > 0, "{old} -> {new}");
    }
    assert_eq!(problems("| Realm state | 3.10 | not yet: nobody asks | not yet: nobody asks | | no |"), 0);
    assert_eq!(problems("| Realm state | 3.10 | `ste.rs` | not yet: nobody asks | | no |"), 1);
    assert_eq!(Reader::read("see `ioward-machine/tests/nowhere.rs::x` on `x86_64-vt`").problems.len(), 2);
}
