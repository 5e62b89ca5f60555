//! The part of `cargo xtask bench` in which whole mappings of the DMA API are measured behind the models' queues, and its
//! table in `docs/performance.md`.

use crate::grow::{Cost, measured, place};
use std::fmt::Write as _;

/// Where the written part begins and ends in `docs/performance.md`.
const BEGIN: &str = "<!-- cargo xtask bench, queues: begin -->\n";
const END: &str = "<!-- cargo xtask bench, queues: end -->\n";

/// Measures and writes.
pub fn run() -> Result<(), String> {
    let costs = measured("queues")?;
    let text = format!("{BEGIN}{}\n{}{END}", place(), table(&costs)?);
    crate::bench::write(&text, BEGIN, END)
}

/// A row for what is measured by so many threads, a column for each IOMMU, in the order in which they were measured.
fn table(costs: &[Cost]) -> Result<String, String> {
    let (mut rows, mut iommus) = (Vec::new(), Vec::new());
    for cost in costs {
        if !rows.contains(&(&cost.figure, cost.count)) {
            rows.push((&cost.figure, cost.count));
        }
        if !iommus.contains(&&cost.series) {
            iommus.push(&cost.series);
        }
    }
    let head: String = iommus.iter().map(|iommu| format!(" {iommu} |")).collect();
    let mut text = format!("| map plus unmap, ns | threads |{head}\n");
    let _ = writeln!(text, "| --- | ---: |{}", " ---: |".repeat(iommus.len()));
    for (what, threads) in rows {
        let _ = write!(text, "| {what} | {threads} |");
        for iommu in &iommus {
            let same = |cost: &&Cost| (&cost.figure, cost.count, &cost.series) == (what, threads, *iommu);
            let cost = costs.iter().find(same);
            let cost = cost.ok_or_else(|| format!("{what}: nothing was measured of {iommu}"))?;
            let _ = write!(text, " {:.0} |", cost.cost);
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

    #[test]
    fn each_iommu_has_a_column_and_threads_have_rows_of_their_own() {
        let output = "strict\tone\t1\t2.6\nstrict\tother\t1\t9\nstrict\tone\t2\t5\nstrict\tother\t2\t8\n";
        let text = table(&costs(output).unwrap()).unwrap();
        assert_eq!(
            text,
            "| map plus unmap, ns | threads | one | other |\n| --- | ---: | ---: | ---: |\n\
             | strict | 1 | 3 | 9 |\n| strict | 2 | 5 | 8 |\n"
        );
    }

    #[test]
    fn a_figure_that_is_missing_is_named() {
        let output = "strict\tone\t1\t2\nstrict\tother\t1\t9\nlazy\tone\t1\t5\n";
        assert_eq!(table(&costs(output).unwrap()).unwrap_err(), "lazy: nothing was measured of other");
    }

    #[test]
    fn the_document_has_a_place_for_it() {
        let document = fs::read_to_string(root().join("docs/performance.md")).unwrap();
        assert!(crate::bench::replaced(&document, "", BEGIN, END).is_ok());
    }
}
