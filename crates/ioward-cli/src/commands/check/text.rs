//! The findings for people.

use crate::show::{
    Catalogue, Style, counted,
    layout::{line, painted, wrapped},
};
use ioward_host::check::{Finding, Severity, Verdict};

/// The most findings of one id that are shown in full; `--json` has all.
const MOST_ALIKE: usize = 4;
/// The most devices in one list.
const MOST_PLACES: usize = 12;

/// The whole, ended by a newline.
pub fn render(book: &Catalogue<'_>, findings: &[Finding], verdict: Verdict, style: &Style) -> String {
    let mut out = String::new();
    let heading = format!("Passthrough on {}", book.machine.origin);
    painted(&mut out, "", &heading, style.width, |text| style.head(text));
    let mut ids: Vec<&str> = Vec::new();
    for finding in findings {
        if !ids.contains(&finding.id) {
            ids.push(finding.id);
            let alike: Vec<&Finding> = findings.iter().filter(|other| other.id == finding.id).collect();
            show(&mut out, book, &alike, style);
        }
    }
    out.push('\n');
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (dangers, obstacles, undecided) =
        (count(Severity::Danger), count(Severity::Obstacle), count(Severity::Undecided));
    let text = match verdict {
        Verdict::Safe => "Safe: nothing was found that matters.".to_owned(),
        Verdict::Unsafe if dangers == 0 => {
            format!("No danger was found, and {}.", counted(obstacles, "obstacle"))
        }
        Verdict::Unsafe => {
            format!("Not safe: {} and {}.", counted(dangers, "danger"), counted(obstacles, "obstacle"))
        }
        Verdict::Undecided => {
            format!("Undecided: {} could not be looked at; the rest is safe.", counted(undecided, "thing"))
        }
    };
    painted(&mut out, "", &text, style.width, |text| match verdict {
        Verdict::Safe => style.good(text),
        Verdict::Unsafe if dangers != 0 => style.bad(text),
        _ => style.odd(text),
    });
    out
}

/// Findings of one id: what each says, and once what they have in common.
fn show(out: &mut String, book: &Catalogue<'_>, alike: &[&Finding], style: &Style) {
    let Some(first) = alike.first() else { return };
    out.push('\n');
    let paint = |text: &str| match first.severity {
        Severity::Danger => style.bad(text),
        Severity::Obstacle | Severity::Undecided => style.odd(text),
        Severity::Note => text.to_owned(),
    };
    for (number, finding) in alike.iter().take(MOST_ALIKE).enumerate() {
        let word = if number == 0 { finding.severity.word() } else { "" };
        painted(out, &format!("{word:<10} "), &book.shorten(&finding.what), style.width, paint);
        if finding.devices.len() > 1 {
            let list = book.list(&finding.devices, MOST_PLACES);
            wrapped(out, "           which: ", &list, style.width);
        }
    }
    if alike.len() > MOST_ALIKE {
        line(out, &format!("           and {} more like this (see --json)", alike.len() - MOST_ALIKE));
    }
    wrapped(out, "           so: ", &first.why, style.width);
    wrapped(out, "           do: ", &first.remedy, style.width);
    painted(out, "           from: ", &first.source, style.width, |text| style.faint(text));
}
