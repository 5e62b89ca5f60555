//! The explanation for people.

use super::{
    study::{Study, Tied},
    words,
};
use crate::show::{
    Catalogue, Style,
    layout::{line, painted, wrapped},
};
use ioward::pci::{AcsBits, Bdf, groups::remedy::Remedy};
use ioward_host::Passthrough;

/// The most places in one list.
const MOST_PLACES: usize = 10;
/// The most remedies that are shown; `--json` has all.
const MOST_REMEDIES: usize = 6;

/// The whole, ended by a newline.
pub fn render(book: &Catalogue<'_>, study: &Study, style: &Style) -> String {
    let mut out = String::new();
    let driver = book.function(study.device).and_then(|function| function.driver.as_deref());
    let driver = driver.map_or_else(String::new, |driver| format!(" [{driver}]"));
    let heading = format!("{}{driver}", book.words(study.device));
    painted(&mut out, &format!("{}  ", book.at(study.device)), &heading, style.width, |text| {
        style.head(text)
    });
    place(&mut out, book, study, style);
    why(&mut out, book, study, style);
    path(&mut out, book, study, style);
    beyond(&mut out, book, study, style);
    remedies(&mut out, book, study, style);
    acs_override(&mut out, book, study, style);
    out
}

fn heading(out: &mut String, text: &str, style: &Style) {
    out.push('\n');
    painted(out, "", text, style.width, |text| style.head(text));
}

/// Which group, and whether it can be given away.
fn place(out: &mut String, book: &Catalogue<'_>, study: &Study, style: &Style) {
    let Some(group) = study.group() else {
        wrapped(out, "", "It has no group: it is an IOMMU, which translates for others.", style.width);
        return;
    };
    let kernel = book.function(study.device).and_then(|function| function.linux_group);
    let kernel = kernel.map_or_else(String::new, |number| format!(" (the kernel calls it {number})"));
    let with = match group.members.len() {
        1 => "alone".to_owned(),
        2 => "with 1 other function".to_owned(),
        more => format!("with {} other functions", more - 1),
    };
    let text = format!("Under the policy {} it is in group {}{kernel}, {with}.", study.policy, group.id);
    wrapped(out, "", &text, style.width);
    let whom = |of: Bdf| match of == study.device {
        true => "it".to_owned(),
        false => format!("{} of its group", book.at(of)),
    };
    let (good, text) = match &study.passthrough {
        None | Some(Passthrough::NoDevice) => {
            (None, "It is a bridge: nobody gives it to a guest.".to_owned())
        }
        Some(Passthrough::System) => {
            (None, "It is a part of the machine itself: nobody gives it to a guest.".to_owned())
        }
        Some(Passthrough::Alone) => (Some(true), "It can be given to a guest.".to_owned()),
        Some(Passthrough::With(own)) => (
            Some(true),
            format!(
                "It can be given to a guest, together with {} of the same device.",
                book.list(own, MOST_PLACES)
            ),
        ),
        Some(Passthrough::Shared(others)) => (
            Some(false),
            format!("It cannot be given to a guest without {}.", book.list(others, MOST_PLACES)),
        ),
        Some(Passthrough::Required { of, first, last }) => (
            Some(false),
            format!(
                "It cannot be given to a guest: firmware requires that {} reaches {first:#x} to {last:#x} of memory at all \
                 times.",
                whom(*of)
            ),
        ),
        Some(Passthrough::Unserved(of)) => {
            (Some(false), format!("It cannot be given to a guest: no IOMMU serves {}.", whom(*of)))
        }
        Some(Passthrough::Refused(of)) => (
            Some(false),
            format!(
                "It cannot be given to a guest: firmware names two IOMMUs for {}, or one that is not there.",
                whom(*of)
            ),
        ),
    };
    painted(out, "", &text, style.width, |text| match good {
        Some(true) => style.good(text),
        Some(false) => style.odd(text),
        None => text.to_owned(),
    });
    if study.grouping.unsure.binary_search(&study.device).is_ok() {
        let hint = if book.machine.needs_root() {
            "run as root to know"
        } else {
            "the input does not show all of it"
        };
        let text = format!("That is unsure, since something on its way to the root was assumed: {hint}.");
        painted(out, "", &text, style.width, |text| style.odd(text));
    }
}

fn why(out: &mut String, book: &Catalogue<'_>, study: &Study, style: &Style) {
    if study.tied.is_empty() {
        return;
    }
    heading(out, "Why it is with others", style);
    let mut told: Vec<&'static str> = Vec::new();
    for tied in &study.tied {
        ties(out, book, tied, &mut told, style);
    }
}

/// Who is tied by what, and what each fact means, once.
fn ties(out: &mut String, book: &Catalogue<'_>, tied: &Tied, told: &mut Vec<&'static str>, style: &Style) {
    wrapped(out, "  with ", &format!("{}:", book.list(&tied.members, MOST_PLACES)), style.width);
    for cause in &tied.causes {
        wrapped(out, "    - ", &format!("{}.", book.shorten(&cause.to_string())), style.width);
        let meaning = words::meaning(cause);
        if !told.contains(&meaning) {
            told.push(meaning);
            painted(out, "      ", meaning, style.width, |text| style.faint(text));
        }
    }
}

/// What each bridge up to the root does.
fn path(out: &mut String, book: &Catalogue<'_>, study: &Study, style: &Style) {
    if study.path.is_empty() {
        return;
    }
    heading(out, "On its way to the root", style);
    for (at, isolation) in &study.path {
        let is_enough = isolation.covers(AcsBits::ISOLATION);
        let text = words::isolation(isolation, is_enough);
        painted(out, &format!("  {}  ", book.at(*at)), &text, style.width, |text| match is_enough {
            true => text.to_owned(),
            false => style.odd(text),
        });
    }
}

/// What Linux does not see.
fn beyond(out: &mut String, book: &Catalogue<'_>, study: &Study, style: &Style) {
    if study.beyond.is_empty() || study.policy != "linux" {
        return;
    }
    out.push('\n');
    let text = "A hole: Linux keeps it apart from these, and the fabric does not. Requests pass between them without \
                reaching an IOMMU:";
    painted(out, "", text, style.width, |text| style.bad(text));
    let mut told = Vec::new();
    for tied in &study.beyond {
        ties(out, book, tied, &mut told, style);
    }
}

fn remedies(out: &mut String, book: &Catalogue<'_>, study: &Study, style: &Style) {
    let Some(advice) =
        study.advice.as_ref().filter(|advice| !advice.with.is_empty() || !advice.own.is_empty())
    else {
        return;
    };
    let from = if advice.with.is_empty() { "part it from its own functions" } else { "free it" };
    heading(out, &format!("What would {from} (each was tried on a copy of the machine)"), style);
    if advice.remedies.is_empty() {
        wrapped(out, "  ", "Nothing that is known here.", style.width);
    }
    for remedy in advice.remedies.iter().take(MOST_REMEDIES) {
        one_remedy(out, book, remedy, style);
    }
    if advice.remedies.len() > MOST_REMEDIES {
        line(out, &format!("  and {} more (see --json)", advice.remedies.len() - MOST_REMEDIES));
    }
    if !advice.blockers.is_empty() {
        let blockers: Vec<String> =
            advice.blockers.iter().map(|cause| book.shorten(&cause.to_string())).collect();
        wrapped(out, "  ", "What cannot be changed where it is:", style.width);
        for blocker in blockers {
            wrapped(out, "    - ", &format!("{blocker}."), style.width);
        }
    }
    if advice.untried != 0 {
        wrapped(out, "  ", &format!("{} more slots were not tried.", advice.untried), style.width);
    }
}

fn one_remedy(out: &mut String, book: &Catalogue<'_>, remedy: &Remedy, style: &Style) {
    let text = format!("{}.", book.shorten(&remedy.to_string()));
    painted(out, "  - ", &text, style.width, |text| match remedy.frees() {
        true => style.good(text),
        false => text.to_owned(),
    });
    for step in &remedy.steps {
        if let Some(parameter) = step.kernel_parameter() {
            let text = format!("{parameter} on the command line of Linux 6.11 or later");
            wrapped(out, "      ", &text, style.width);
        }
    }
}

fn acs_override(out: &mut String, book: &Catalogue<'_>, study: &Study, style: &Style) {
    let Some(taken) = &study.acs_override else { return };
    heading(out, "What an ACS override would do", style);
    let text = format!(
        "{} is a patch that Linux itself never took. It makes the kernel believe that ports and functions without ACS \
         isolate, and changes nothing in hardware. Linux would then keep it apart from {}.",
        taken.option,
        book.list(&taken.leave, MOST_PLACES)
    );
    wrapped(out, "  ", &text, style.width);
    let (text, good) = match taken.reached.len() {
        0 => (
            "By what is known of the hardware it reaches none of them directly; the promise is still nobody's.".to_owned(),
            true,
        ),
        _ => (
            format!("In truth it could still reach {}.", book.list(&taken.reached, MOST_PLACES)),
            false,
        ),
    };
    painted(out, "  ", &text, style.width, |text| if good { text.to_owned() } else { style.bad(text) });
}
