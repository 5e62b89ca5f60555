//! The part of `cargo xtask bench` in which two threads are held against one, each CPU against itself, and its table in
//! `docs/performance.md`.

use crate::grow::{Cost, once, place};
use std::fmt::Write as _;

/// Where the written part begins and ends in `docs/performance.md`.
const BEGIN: &str = "<!-- cargo xtask bench, threads: begin -->\n";
const END: &str = "<!-- cargo xtask bench, threads: end -->\n";
/// What is told of each CPU: the series of the bench, and how many digits there are after the point.
const SERIES: [(&str, usize); 3] = [("alone", 1), ("both", 1), ("ratio", 2)];
/// The series that tells how far apart the CPUs were, which is told of both together.
const LINE: &str = "a line";

/// Measures and writes.
pub fn run() -> Result<(), String> {
    // Once: the least of several ratios would tell the luckiest run.
    let costs = once("threads")?;
    let text = format!("{BEGIN}{}\n{}{END}", place(), table(&costs)?);
    crate::bench::write(&text, BEGIN, END)
}

/// A row for what is measured, for each CPU a column of each series, and one for how far apart they were.
fn table(costs: &[Cost]) -> Result<String, String> {
    let (mut rows, mut cpus) = (Vec::new(), Vec::new());
    for cost in costs.iter().filter(|cost| cost.series != LINE) {
        if !rows.contains(&&cost.figure) {
            rows.push(&cost.figure);
        }
        if !cpus.contains(&cost.count) {
            cpus.push(cost.count);
        }
    }
    let [first, second] = cpus[..] else {
        return Err(format!("two threads on {} CPUs are not measured", cpus.len()));
    };
    let of = |cpu: f64| SERIES.map(|(series, digits)| (format!("CPU {cpu}, {series}"), series, cpu, digits));
    let line = (LINE.to_string(), LINE, 2.0, 0);
    let columns: Vec<_> = of(first).into_iter().chain(of(second)).chain([line]).collect();
    let head: String = columns.iter().map(|(name, ..)| format!(" {name} |")).collect();
    let mut text = format!("| ns for each |{head}\n| --- |{}\n", " ---: |".repeat(columns.len()));
    for what in rows {
        let _ = write!(text, "| {what} |");
        for (name, series, count, digits) in &columns {
            let same = |cost: &&Cost| (&cost.figure, &*cost.series, cost.count) == (what, *series, *count);
            let cost = costs.iter().find(same).ok_or_else(|| format!("{what}: no figure for `{name}`"))?;
            let _ = write!(text, " {:.digits$} |", cost.cost);
        }
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grow::costs;
    use crate::shell::root;
    use std::fs;

    const OUTPUT: &str = "map\talone\t0\t5.71\nmap\tboth\t0\t5.8\nmap\tratio\t0\t1.016\n\
                          map\talone\t3\t9\nmap\tboth\t3\t9.04\nmap\tratio\t3\t1.004\nmap\ta line\t2\t41.2\n";

    #[test]
    fn each_cpu_is_held_against_itself() {
        assert_eq!(
            table(&costs(OUTPUT).unwrap()).unwrap(),
            "| ns for each | CPU 0, alone | CPU 0, both | CPU 0, ratio | CPU 3, alone | CPU 3, both | CPU 3, ratio | a line |\n\
             | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n\
             | map | 5.7 | 5.8 | 1.02 | 9.0 | 9.0 | 1.00 | 41 |\n"
        );
    }

    #[test]
    fn a_figure_that_is_missing_is_named_and_one_cpu_is_no_table() {
        for (gone, told) in
            [("map\tboth\t3\t9.04\n", "`CPU 3, both`"), ("map\ta line\t2\t41.2\n", "`a line`")]
        {
            let error = table(&costs(&OUTPUT.replace(gone, "")).unwrap()).unwrap_err();
            assert_eq!(error, format!("map: no figure for {told}"));
        }
        assert!(table(&costs("map\talone\t0\t5\n").unwrap()).unwrap_err().contains("1 CPUs"));
        assert!(table(&[]).is_err());
    }

    #[test]
    fn the_document_has_a_place_for_it() {
        let document = fs::read_to_string(root().join("docs/performance.md")).unwrap();
        assert!(crate::bench::replaced(&document, "", BEGIN, END).is_ok());
    }
}
