//! `cargo xtask bench`: what page tables, the IOVA allocator and whole mappings of the DMA API cost, by themselves and beside Linux's in one process, and
//! that part of `docs/performance.md`.
//!
//! The other side is a harness outside the repository: a folder with a script `run ROUNDS PLUGIN`, which builds Linux's code
//! with the compiler that `CC` names, measures it and the plugin in turns, and says where the figures are. A command line may
//! name the folder.

use crate::{
    setup,
    shell::{ask, cargo, root, show, target},
    tally::Tally,
};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Compilers that Linux is built with; the better figure of either counts.
const COMPILERS: [&str; 2] = ["clang-16", "clang-22"];
/// Rounds of the harness in a run, and runs with each compiler: the median run counts.
const ROUNDS: &str = "9";
const RUNS: usize = 3;
/// What our rows begin with.
const OURS: &str = "ioward ";
/// What our rows of whole mappings begin with: the harness measures them as if they were IOVAs.
const DMA: &str = "ioward DMA ";
/// Whole mappings: the row, the harness's row that measures ours, and the rows of Linux's that together do the same. Linux has
/// no row of two threads with its core's checks, so the tables alone are counted there.
const WHOLE: [(&str, &str, [&str; 3]); 4] = [
    ("whole DMA map plus unmap, 1 page", PAIR, [PAIR, CORE_MAP, CORE_UNMAP]),
    ("whole DMA, burst of 64 pages, first in first out", BURST_64, [BURST_64, CORE_MAP, CORE_UNMAP]),
    ("whole DMA, burst of 1024 pages, first in first out", BURST_1024, [BURST_1024, CORE_MAP, CORE_UNMAP]),
    (
        "whole DMA map plus unmap, 1 page, 2 threads, each",
        PAIR_2,
        [PAIR_2, "map 4K, 2 threads (ns/op/thread)", "unmap 4K, 2 threads (ns/op/thread)"],
    ),
];
const PAIR: &str = "alloc+free pair, 1 page";
const BURST_64: &str = "burst 64 x 1 page, FIFO free (per pair)";
const BURST_1024: &str = "burst 1024 x 1 page, FIFO free (per pair)";
const PAIR_2: &str = "2 threads: pair 1 page (ns/pair/thread)";
const CORE_MAP: &str = "map 4K via 6.12 iommu_map() core";
const CORE_UNMAP: &str = "unmap 4K via 6.12 iommu_unmap() core";
/// Where the written part begins and ends in `docs/performance.md`.
const BEGIN: &str = "<!-- cargo xtask bench: begin -->\n";
const END: &str = "<!-- cargo xtask bench: end -->\n";

/// Everything, with the harness in `../shared/linux-baseline` or where `folder` says.
pub fn run(tally: &mut Tally, folder: Option<&str>) {
    for bench in ["fast_path", "dma"] {
        let own = show(cargo().args(["bench", "-p", "ioward-bench-plugin", "--bench", bench]));
        tally.check(&format!("benches of our own, {bench}"), own);
    }
    tally.check("benches of our own, queues", crate::queues::run());
    match std::thread::available_parallelism() {
        Ok(cpus) if cpus.get() < 2 => tally.skip("benches of our own, threads", "there is one CPU"),
        _ => tally.check("benches of our own, threads", crate::threads::run()),
    }
    let folder = folder.map_or_else(|| root().join("../shared/linux-baseline"), PathBuf::from);
    if !folder.join("run").is_file() {
        return tally.skip("side by side", format!("no harness in {}", folder.display()));
    }
    let built = show(cargo().args(["build", "--release", "-p", "ioward-bench-plugin"]));
    if let Err(why) = built {
        return tally.fail(format!("the plugin: {why}"));
    }
    let plugin = target().join("release/libioward_bench_plugin.so");
    let mut runs = Vec::new();
    for compiler in COMPILERS {
        if ask(compiler, &["--version"]).is_none() {
            println!("       {compiler} is missing; installing it");
            if let Err(why) = setup::apt(&[compiler], None) {
                tally.skip(&format!("beside Linux by {compiler}"), why);
                continue;
            }
        }
        let Some(version) = ask(compiler, &["--version"]) else {
            tally
                .skip(&format!("beside Linux by {compiler}"), "it is still not there after its installation");
            continue;
        };
        let version = version.lines().next().unwrap_or(compiler).to_string();
        for number in 1..=RUNS {
            let what = format!("beside Linux by {compiler}, run {number}");
            match measure(&folder, compiler, &plugin) {
                Ok(figures) => {
                    tally.pass(1);
                    println!("ok     {what}");
                    runs.push(Run { compiler: version.clone(), figures });
                }
                Err(why) => tally.fail(format!("{what}: {why}")),
            }
        }
    }
    if !runs.is_empty() {
        tally.check("docs/performance.md", write(&report(&runs), BEGIN, END));
    }
}

/// The figures of one run: of a row and who is measured, in the row's unit.
type Figures = Vec<(String, String, f64)>;

struct Run {
    compiler: String,
    figures: Figures,
}

/// Runs the harness once.
fn measure(folder: &Path, compiler: &str, plugin: &Path) -> Result<Figures, String> {
    let mut command = Command::new(folder.join("run"));
    command.arg(ROUNDS).arg(plugin).env("CC", compiler);
    println!("$ CC={compiler} {}", crate::shell::line(&command));
    let output = command.output().map_err(|error| format!("the harness: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("the harness: {}: {}{}", output.status, text.trim(), errors.trim()));
    }
    let file = text.lines().find_map(|line| line.strip_prefix("full figures: "));
    let file = file.ok_or("the harness does not say where its figures are")?;
    let table = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let figures = with_whole(figures(&table)?);
    let all = figures.iter().any(|(_, who, _)| who.starts_with(OURS))
        && figures.iter().any(|(_, who, _)| !who.starts_with(OURS));
    all.then_some(figures).ok_or_else(|| format!("{file}: figures of one side alone"))
}

/// Reads the harness's table: what is measured (`pt` or `iova`), who, row, median, and more that is not needed. The floor's
/// lines have no "who".
fn figures(table: &str) -> Result<Figures, String> {
    let mut figures = Vec::new();
    for line in table.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let (row, who, median) = match fields[..] {
            ["pt" | "iova", who, row, median, ..] => (row, who, median),
            ["floor", row, median, ..] => (row, "floor", median),
            _ => continue,
        };
        let median: f64 = median.parse().map_err(|_| format!("no figure: `{line}`"))?;
        // The harness writes a negative number where it could not measure.
        if median >= 0.0 {
            figures.push((row.to_string(), who.to_string(), median));
        }
    }
    Ok(figures)
}

/// Puts whole mappings into rows of their own, beside the sum of what Linux's take for the same: of each part the best.
fn with_whole(figures: Figures) -> Figures {
    let (dma, mut figures): (Figures, Figures) =
        figures.into_iter().partition(|(_, who, _)| who.starts_with(DMA));
    let best = |row: &str| {
        let theirs = figures.iter().filter(|(name, who, _)| name == row && !who.starts_with(OURS));
        theirs.map(|(_, _, figure)| *figure).min_by(f64::total_cmp)
    };
    let mut whole = Vec::new();
    for (row, ours, parts) in WHOLE {
        let Some(sum) = parts.iter().map(|part| best(part)).sum::<Option<f64>>() else { continue };
        whole.push((row.to_string(), "Linux, the sum".to_string(), sum));
        let of_row = dma.iter().filter(|(name, _, _)| name == ours);
        whole.extend(of_row.map(|(_, who, figure)| (row.to_string(), who.clone(), *figure)));
    }
    figures.extend(whole);
    figures
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// For a row: the best of Linux in nanoseconds (or the row's unit), and of each of ours the figure's ratio to it. Ratios are
/// taken within a run, so that a busy machine slows both sides; the median run of each compiler counts, and of compilers the
/// one that is worse for us.
struct Row {
    name: String,
    linux: f64,
    ratios: BTreeMap<String, f64>,
}

fn rows(runs: &[Run]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for (row, who, _) in runs.iter().flat_map(|run| &run.figures) {
        if who != "floor" && !names.contains(&row.as_str()) {
            names.push(row);
        }
    }
    for name in names {
        let mut by_compiler: BTreeMap<&str, BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
        let mut linux: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for run in runs {
            let of_row = || run.figures.iter().filter(|(row, _, _)| row == name);
            let theirs = of_row().filter(|(_, who, _)| !who.starts_with(OURS) && who != "floor");
            let Some(best) = theirs.map(|(_, _, figure)| *figure).min_by(f64::total_cmp) else { continue };
            linux.entry(&run.compiler).or_default().push(best);
            for (_, who, figure) in of_row().filter(|(_, who, _)| who.starts_with(OURS)) {
                let ratios = by_compiler.entry(&run.compiler).or_default();
                ratios.entry(&who[OURS.len()..]).or_default().push(figure / best.max(0.01));
            }
        }
        let mut ratios: BTreeMap<String, f64> = BTreeMap::new();
        for (who, values) in by_compiler.into_values().flatten() {
            let worst = ratios.entry(who.to_string()).or_insert(0.0);
            *worst = worst.max(median(values));
        }
        let linux = linux.into_values().map(median).fold(f64::MAX, f64::min);
        rows.push(Row { name: name.to_string(), linux, ratios });
    }
    rows
}

/// The part of `docs/performance.md`.
fn report(runs: &[Run]) -> String {
    let mut text = String::from(BEGIN);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": not known");
    let cpus = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("not known");
    let rust = ask("rustc", &["--version"]).unwrap_or_default();
    let mut compilers: Vec<&str> = runs.iter().map(|run| run.compiler.as_str()).collect();
    compilers.dedup();
    let _ = writeln!(
        text,
        "Machine: {}, {cpus} CPUs, load {load} at the end.",
        model.trim_start_matches([' ', '\t', ':'])
    );
    let _ = writeln!(text, "Compilers: {}; {}. {} runs.\n", rust.trim(), compilers.join("; "), runs.len());
    let rows = rows(runs);
    let part_of = |who: &str| ["IOVA", "DMA"].iter().position(|part| who.starts_with(part));
    for part in [None, Some(0), Some(1)] {
        let mut who: Vec<&String> = rows.iter().flat_map(|row| row.ratios.keys()).collect();
        who.sort_unstable();
        who.dedup();
        who.retain(|who| part_of(who) == part);
        let head: String = who.iter().map(|who| format!(" {who} |")).collect();
        let _ = writeln!(text, "| row | Linux |{head}\n| --- | ---: |{}", " ---: |".repeat(who.len()));
        for row in rows.iter().filter(|row| who.iter().any(|who| row.ratios.contains_key(*who))) {
            let cells: String = who
                .iter()
                .map(|who| row.ratios.get(*who).map_or(" |".into(), |r| format!(" {r:.2} |")))
                .collect();
            let _ = writeln!(text, "| {} | {:.2} |{cells}", row.name, row.linux);
        }
        text.push('\n');
    }
    text.push_str("The floor, in nanoseconds:\n\n| what | time |\n| --- | ---: |\n");
    let mut floor: Vec<(&str, Vec<f64>)> = Vec::new();
    for (row, _, figure) in runs.iter().flat_map(|run| &run.figures).filter(|(_, who, _)| who == "floor") {
        match floor.iter_mut().find(|(name, _)| name == row) {
            Some((_, values)) => values.push(*figure),
            None => floor.push((row, vec![*figure])),
        }
    }
    for (what, values) in floor {
        let _ = writeln!(text, "| {what} | {:.2} |", median(values));
    }
    text + END
}

/// Puts what was measured into `docs/performance.md`, between two marks; the part has the marks too.
pub fn write(part: &str, begin: &str, end: &str) -> Result<(), String> {
    let path = root().join("docs/performance.md");
    let old = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let new = replaced(&old, part, begin, end)?;
    fs::write(&path, new).map_err(|error| format!("{}: {error}", path.display()))
}

/// A document with what stands between two marks, and the marks, replaced.
pub fn replaced(old: &str, part: &str, begin: &str, end: &str) -> Result<String, String> {
    let places = old.find(begin).zip(old.find(end)).filter(|(begin, end)| begin < end);
    let (first, last) = places.ok_or("the marks of the written part are missing")?;
    Ok(format!("{}{part}{}", &old[..first], &old[last + end.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(compiler: &str, table: &str) -> Run {
        Run { compiler: compiler.into(), figures: figures(table).unwrap() }
    }

    #[test]
    fn the_better_linux_figure_counts_and_ratios_are_taken_within_a_run() {
        let quiet = "pt\tA (6.12)\tmap\t10.0\t9\npt\tB\tmap\t8.0\t7\npt\tioward X\tmap\t4.0\t4\nfloor\tstore\t0.3\t0.2\n";
        // Everything takes twice as long, and this compiler's code is a little better.
        let busy = "pt\tA (6.12)\tmap\t18.0\t9\npt\tB\tmap\t10.0\t7\npt\tioward X\tmap\t8.0\t4\n";
        let rows = rows(&[run("one", quiet), run("two", busy)]);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].linux, 8.0);
        assert_eq!(rows[0].ratios["X"], 0.8);
    }

    #[test]
    fn whole_mappings_stand_beside_the_sum_of_what_linux_takes() {
        let table = format!(
            "iova\tlinux\t{PAIR}\t10.0\t9\niova\tioward DMA lazy\t{PAIR}\t24.0\t4\niova\tioward IOVA\t{PAIR}\t5.0\t4\n\
             pt\tA\t{CORE_MAP}\t30.0\t9\npt\tB\t{CORE_MAP}\t20.0\t9\npt\tA\t{CORE_UNMAP}\t18.0\t9\npt\tioward X\t{CORE_UNMAP}\t1.0\t9\n"
        );
        let figures = with_whole(figures(&table).unwrap());
        let rows = rows(&[Run { compiler: "one".into(), figures }]);
        let row = |name: &str| rows.iter().find(|row| row.name == name).unwrap();
        assert_eq!(row(WHOLE[0].0).linux, 48.0);
        assert_eq!(row(WHOLE[0].0).ratios["DMA lazy"], 0.5);
        assert_eq!(row(PAIR).ratios.keys().collect::<Vec<_>>(), ["IOVA"]);
        assert_eq!(rows.len(), 4, "rows of which Linux has no part are left out");
    }

    #[test]
    fn what_could_not_be_measured_is_no_figure_and_nonsense_is_named() {
        assert!(figures("pt\tA\tmap\t-1.00\t-1\n# pt\timpl\ttest\n").unwrap().is_empty());
        assert!(figures("pt\tA\tmap\tmany\n").unwrap_err().contains("many"));
    }

    #[test]
    fn the_report_goes_between_its_marks_and_nowhere_else() {
        let old = format!("before\n{BEGIN}old\n{END}after\n");
        assert_eq!(replaced(&old, "new\n", BEGIN, END).unwrap(), "before\nnew\nafter\n");
        assert!(replaced("no marks", "new", BEGIN, END).is_err());
        let document = fs::read_to_string(root().join("docs/performance.md")).unwrap();
        assert!(replaced(&document, "", BEGIN, END).is_ok());
    }
}
