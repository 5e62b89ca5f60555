//! The report of a run for people.

use crate::show::{
    Style,
    layout::{fold, line, table, wrapped},
};
use ioward_machine::{
    Outcome, Verdict,
    checks::Check,
    rows::{DeviceRow, IommuRow},
};

/// The most problems and notes of a kind that are shown; `--json` has all.
const MOST_PROBLEMS: usize = 24;

/// The whole report, ended by a newline.
pub fn render(outcome: &Outcome, style: &Style) -> String {
    let mut out = String::new();
    let of = match outcome.machine.as_str() {
        "embedded" => "the embedded machine".to_owned(),
        path => path.to_owned(),
    };
    line(&mut out, &style.head(&format!("ioward: {of}")));
    iommus(&mut out, &outcome.iommus, style);
    devices(&mut out, &outcome.devices, style);
    for note in &outcome.notes {
        out.push('\n');
        wrapped(&mut out, "", note, style.width);
    }
    problems(&mut out, outcome, style);
    checks(&mut out, &outcome.checks, style);
    out.push('\n');
    line(&mut out, &verdict(outcome, style));
    out
}

fn iommus(out: &mut String, rows: &[IommuRow], style: &Style) {
    if rows.is_empty() {
        return;
    }
    out.push('\n');
    let cells = rows.iter().map(|row| {
        let state = match (&row.why, row.state) {
            (Some(why), state) => format!("{state}: {why}"),
            (None, "unsupported") => "not supported".to_owned(),
            (None, state) => state.to_owned(),
        };
        [row.id.to_string(), row.kind.clone(), row.name.clone(), row.described.clone(), state]
    });
    let cells: Vec<[String; 5]> = cells.collect();
    table(out, ["IOMMU", "kind", "name", "described by", "state"], &cells, style, |row, text| {
        match rows[row].state {
            "translates" => style.good(text),
            _ => style.odd(text),
        }
    });
}

fn devices(out: &mut String, rows: &[DeviceRow], style: &Style) {
    if rows.is_empty() {
        return;
    }
    out.push('\n');
    let cells: Vec<[String; 7]> = rows
        .iter()
        .map(|row| {
            [
                row.name.clone(),
                sources(row),
                iommus_of(row),
                row.group.clone().unwrap_or_else(|| "-".into()),
                if row.status == "served" { row.domain.to_owned() } else { row.status.to_owned() },
                if row.formats.is_empty() { "-".into() } else { row.formats.join(", ") },
                row.why.clone(),
            ]
        })
        .collect();
    let headings = ["device", "sources", "IOMMU", "group", "domain", "format", "why"];
    table(out, headings, &cells, style, |row, text| match rows[row].status {
        "served" => text.to_owned(),
        "refused" => style.bad(text),
        _ => style.odd(text),
    });
}

/// Sources as hexadecimal numbers; the first few where there are many.
fn sources(row: &DeviceRow) -> String {
    const SHOWN: usize = 3;
    let shown = row.sources.iter().take(SHOWN).map(|source| format!("{:#x}", source.source));
    let mut text = shown.collect::<Vec<_>>().join(" ");
    if row.sources.len() > SHOWN {
        text.push_str(&format!(" +{}", row.sources.len() - SHOWN));
    }
    if text.is_empty() { "-".into() } else { text }
}

fn iommus_of(row: &DeviceRow) -> String {
    let mut ids: Vec<u32> = row.sources.iter().map(|source| source.iommu).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() { "-".into() } else { ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ") }
}

fn problems(out: &mut String, outcome: &Outcome, style: &Style) {
    if outcome.problems.is_empty() {
        return;
    }
    out.push('\n');
    line(out, &style.head("problems in the input"));
    for problem in outcome.problems.iter().take(MOST_PROBLEMS) {
        let mut text = String::new();
        wrapped(&mut text, &format!("  {:<8}  ", problem.severity), &problem.text, style.width);
        let text = text.trim_end();
        match problem.severity {
            "broken" => line(out, &style.bad(text)),
            "degraded" => line(out, &style.odd(text)),
            _ => line(out, text),
        }
    }
    if outcome.problems.len() > MOST_PROBLEMS {
        line(out, &format!("  and {} more (see --json)", outcome.problems.len() - MOST_PROBLEMS));
    }
}

fn checks(out: &mut String, checks: &[Check], style: &Style) {
    if checks.iter().all(|check| check.held + check.failed == 0) {
        return;
    }
    out.push('\n');
    line(out, &style.head("  checked  what"));
    let idle = checks.iter().filter(|check| check.held + check.failed == 0).count();
    for check in checks.iter().filter(|check| check.held + check.failed != 0) {
        let count = check.held + check.failed;
        let mark = format!("{count:>9}  ");
        let (mark, text) = match check.failed {
            0 => (style.good(&mark), check.claim.to_owned()),
            1 => (style.bad(&mark), format!("{}: FAILED once", check.claim)),
            failed => (style.bad(&mark), format!("{}: FAILED {failed} times", check.claim)),
        };
        let mut lines = fold(&text, style.width.saturating_sub(11)).into_iter();
        line(out, &format!("{mark}{}", lines.next().unwrap_or_default()));
        lines.for_each(|rest| line(out, &format!("{:11}{rest}", "")));
        for failure in &check.failures {
            let mut text = String::new();
            wrapped(&mut text, "             ", failure, style.width);
            line(out, &style.bad(text.trim_end()));
        }
        let kept = check.failures.len() as u64;
        if check.failed > kept {
            line(out, &format!("             and {} more", check.failed - kept));
        }
    }
    if idle != 0 {
        let claims = if idle == 1 { "claim" } else { "claims" };
        line(
            out,
            &style.odd(&format!("{:>9}  for {idle} other {claims} there is nothing here to check", "-")),
        );
    }
}

fn verdict(outcome: &Outcome, style: &Style) -> String {
    let count: u64 = outcome.checks.iter().map(|check| check.held + check.failed).sum();
    let failed: u64 = outcome.checks.iter().map(|check| check.failed).sum();
    let served = outcome.devices.iter().filter(|device| device.status == "served").count();
    let of = outcome.devices.len();
    match outcome.verdict {
        Verdict::Green => style.good(&format!(
            "All green: {count} checks held, {served} of {of} devices are served and isolated by group."
        )),
        Verdict::Failed if count == 0 => style.bad("Failed: the machine does not come up."),
        Verdict::Failed => style.bad(&format!("Failed: {failed} of {count} checks did not hold.")),
        Verdict::Broken if of == 0 => style.bad("The input is broken: no device could be read of it."),
        Verdict::Broken => style.bad(&format!(
            "The input is broken. Of what was readable, {served} of {of} devices are served, and {count} checks held."
        )),
        Verdict::Unserved => {
            style.odd(&format!("Nothing here can be served: {of} devices are listed, none has an IOMMU that runs."))
        }
    }
}
