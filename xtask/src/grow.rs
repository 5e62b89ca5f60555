//! `cargo xtask grow`: how cost grows with what is live, as plots in `docs/figures` and tables in `docs/performance.md`.

use crate::{
    plot::{Plot, Series},
    shell::{ask, cargo, root},
    tally::Tally,
};
use std::{fmt::Write as _, fs};

/// Where the written part begins and ends in `docs/performance.md`.
const BEGIN: &str = "<!-- cargo xtask grow: begin -->\n";
const END: &str = "<!-- cargo xtask grow: end -->\n";

/// How often the bench is run.
const RUNS: usize = 3;

/// What is drawn: the bench's name of it, the file's, title, axes, and whether the y axis is logarithmic.
struct Figure {
    key: &'static str,
    file: &'static str,
    title: &'static str,
    x: &'static str,
    y: &'static str,
    log: bool,
}

const FIGURES: [Figure; 4] = [
    Figure {
        key: "live",
        file: "growth-live.svg",
        title: "An allocation and a free, a map and an unmap, by what is live",
        x: "live mappings of 4 KiB in one address space",
        y: "ns for both",
        log: true,
    },
    Figure {
        key: "domains",
        file: "growth-domains.svg",
        title: "A map and an unmap, in each of so many domains in turn",
        x: "domains",
        y: "ns for both",
        log: true,
    },
    Figure {
        key: "probe",
        file: "growth-probe.svg",
        title: "A device is added, or removed, by how many there are",
        x: "devices, each a group and a domain",
        y: "µs each",
        log: false,
    },
    Figure {
        key: "memory",
        file: "growth-memory.svg",
        title: "Memory for each GiB that is mapped, by buffers of one size",
        x: "GiB mapped",
        y: "KiB for each GiB",
        log: true,
    },
];

/// One line of the bench.
#[derive(Debug, PartialEq)]
pub struct Cost {
    /// What is measured.
    pub figure: String,
    /// Of what.
    pub series: String,
    /// With how many.
    pub count: f64,
    /// What it takes, in the figure's unit.
    pub cost: f64,
}

/// Measures, draws and writes.
pub fn run(tally: &mut Tally) {
    tally.check("how cost grows", grow());
}

fn grow() -> Result<(), String> {
    let costs = measured("growth")?;
    let mut text = format!("{BEGIN}{}\n", place());
    for figure in &FIGURES {
        let plot = plot(figure, &costs);
        let svg = plot.svg().ok_or_else(|| format!("nothing was measured for {}", figure.key))?;
        let path = root().join("docs/figures").join(figure.file);
        fs::write(&path, svg).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("wrote  {}", path.display());
        text.push_str(&table(figure, &plot));
    }
    crate::bench::write(&(text + END), BEGIN, END)
}

/// What a bench that tells costs measures; of several runs the least.
pub fn measured(bench: &str) -> Result<Vec<Cost>, String> {
    let mut all = Vec::new();
    for _ in 0..RUNS {
        all.extend(once(bench)?);
    }
    Ok(least(all))
}

/// The same, of one run.
pub fn once(bench: &str) -> Result<Vec<Cost>, String> {
    let mut command = cargo();
    command.args(["bench", "-p", "ioward-bench-plugin", "--bench", bench]);
    println!("$ {}", crate::shell::line(&command));
    let output = command.output().map_err(|error| format!("the bench: {error}"))?;
    if !output.status.success() {
        return Err(format!("the bench: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    costs(&String::from_utf8_lossy(&output.stdout))
}

/// A line on where it is measured: the processor, how busy it is, and the compiler.
pub fn place() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": not known");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "Machine: {}, load {} at the end. {}.\n",
        model.trim_start_matches([' ', '\t', ':']),
        load.split_whitespace().next().unwrap_or("not known"),
        ask("rustc", &["--version"]).unwrap_or_default().trim()
    )
}

/// Of what was measured several times the least: whatever else a machine does only adds.
fn least(all: Vec<Cost>) -> Vec<Cost> {
    let mut costs: Vec<Cost> = Vec::new();
    for cost in all {
        let same = |other: &&mut Cost| {
            (&other.figure, &other.series, other.count) == (&cost.figure, &cost.series, cost.count)
        };
        match costs.iter_mut().find(same) {
            Some(known) => known.cost = known.cost.min(cost.cost),
            None => costs.push(cost),
        }
    }
    costs
}

/// Lines of four fields with tabs between; others are none of ours.
pub fn costs(output: &str) -> Result<Vec<Cost>, String> {
    let mut costs = Vec::new();
    for line in output.lines() {
        let [figure, series, count, cost] = line.split('\t').collect::<Vec<_>>()[..] else { continue };
        let number = |text: &str| text.parse::<f64>().map_err(|_| format!("no figure: `{line}`"));
        let (count, cost) = (number(count)?, number(cost)?);
        costs.push(Cost { figure: figure.into(), series: series.into(), count, cost });
    }
    Ok(costs)
}

/// The series of a figure, in the order in which they were measured.
fn plot(figure: &Figure, costs: &[Cost]) -> Plot {
    let mut series: Vec<Series> = Vec::new();
    for cost in costs.iter().filter(|cost| cost.figure == figure.key) {
        let point = (cost.count, cost.cost);
        match series.iter_mut().find(|series| series.name == cost.series) {
            Some(series) => series.points.push(point),
            None => series.push(Series { name: cost.series.clone(), points: vec![point] }),
        }
    }
    let (title, x, y) = (figure.title.into(), figure.x.into(), figure.y.into());
    Plot { title, x, y, log: figure.log, series }
}

/// The figure and its numbers.
fn table(figure: &Figure, plot: &Plot) -> String {
    let mut counts: Vec<f64> =
        plot.series.iter().flat_map(|series| series.points.iter().map(|point| point.0)).collect();
    counts.sort_by(f64::total_cmp);
    counts.dedup();
    let names: String = plot.series.iter().map(|series| format!(" {} |", series.name)).collect();
    let mut text = format!("![{}](figures/{})\n\n", figure.title, figure.file);
    let _ = writeln!(text, "| {} ({}) |{names}", figure.x, figure.y);
    let _ = writeln!(text, "| ---: |{}", " ---: |".repeat(plot.series.len()));
    for count in counts {
        let cell = |series: &Series| {
            let point = series.points.iter().find(|point| point.0 == count);
            point.map_or(" |".into(), |point| format!(" {:.1} |", point.1))
        };
        let cells: String = plot.series.iter().map(cell).collect();
        let _ = writeln!(text, "| {count} |{cells}");
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_drawn_and_written() {
        let output =
            "noise\nlive\tone\t1\t2.500\nlive\tother\t1\t3.000\nlive\tone\t10\t4.000\nprobe\tadd\t1\t9.0\n";
        let costs = costs(output).unwrap();
        assert_eq!(costs.len(), 4);
        let plot = plot(&FIGURES[0], &costs);
        let names: Vec<&str> = plot.series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["one", "other"]);
        assert_eq!(plot.series[0].points, [(1.0, 2.5), (10.0, 4.0)]);
        let table = table(&FIGURES[0], &plot);
        assert!(table.contains("| 1 | 2.5 | 3.0 |\n| 10 | 4.0 | |\n"), "{table}");
        assert!(super::costs("live\tone\t1\tmany\n").unwrap_err().contains("many"));
    }

    #[test]
    fn the_least_of_several_runs_counts() {
        let costs =
            costs("a\tone\t1\t3\na\tone\t2\t8\na\tone\t1\t2\na\tother\t1\t1\na\tone\t1\t4\n").unwrap();
        let left: Vec<(String, f64)> =
            least(costs).into_iter().map(|cost| (cost.series, cost.cost)).collect();
        assert_eq!(left, [("one".into(), 2.0), ("one".into(), 8.0), ("other".into(), 1.0)]);
    }

    #[test]
    fn the_document_has_a_place_for_it() {
        let document = fs::read_to_string(root().join("docs/performance.md")).unwrap();
        assert!(crate::bench::replaced(&document, "", BEGIN, END).is_ok());
        for figure in &FIGURES {
            assert!(document.contains(figure.file), "{} is shown", figure.file);
            assert!(root().join("docs/figures").join(figure.file).is_file(), "{} is there", figure.file);
        }
    }
}
