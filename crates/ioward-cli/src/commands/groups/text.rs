//! The groups for people.

use super::study::Study;
use crate::show::{
    Catalogue, Style, counted,
    layout::{line, painted, wrapped},
};
use ioward::pci::{
    Bdf,
    groups::{Cause, Group},
};
use ioward_host::{
    Degraded, Passthrough, Split,
    passthrough::{is_passive, same_device},
};

/// The most causes of a group, holes, and other lists that are shown; `--json` has all.
const MOST: usize = 8;
/// The most places in one list.
const MOST_PLACES: usize = 6;

/// The whole, ended by a newline.
pub fn render(book: &Catalogue<'_>, study: &Study, style: &Style) -> String {
    let mut out = String::new();
    let whose = match study.policy {
        "linux" => "as Linux makes them",
        _ => "as the fabric can keep devices apart",
    };
    painted(
        &mut out,
        "",
        &format!("IOMMU groups of {}, {whose}", book.machine.origin),
        style.width,
        |text| style.head(text),
    );
    wrapped(&mut out, "", &iommus(book, study), style.width);
    holes(&mut out, book, study, style);
    disagreement(&mut out, book, study, style);
    out.push('\n');
    let numbers = Numbers::of(study);
    line(&mut out, &style.head(if numbers.kernel { "group  (the kernel's numbers)" } else { "group" }));
    for group in &study.grouping.groups {
        show(&mut out, book, study, group, &numbers.of_group(book, group), style);
    }
    for &at in &study.grouping.without {
        device(&mut out, book, study, at, 0, "none", style);
    }
    out.push('\n');
    summary(&mut out, book, study, style);
    out
}

/// What there is of IOMMUs, and what that means for the groups.
fn iommus(book: &Catalogue<'_>, study: &Study) -> String {
    let machine = book.machine;
    let mut kinds: Vec<String> = study.found.iommus.iter().map(|unit| unit.kind.to_string()).collect();
    kinds.sort();
    kinds.dedup();
    let count = study.found.iommus.len();
    match (count, machine.kernel.iommus.len(), study.agreement.is_some()) {
        (1.., 0, false) if machine.origin.is_live() => format!(
            "Firmware describes {count} IOMMUs ({}), but the kernel uses none: these are the groups that there would be.",
            kinds.join(", ")
        ),
        (1.., ..) => format!("IOMMUs: {count} ({}).", kinds.join(", ")),
        (0, 1.., _) => format!("IOMMUs that the kernel uses: {}.", machine.kernel.iommus.len()),
        (0, 0, true) => "The kernel uses an IOMMU; no firmware table that describes it was read.".to_owned(),
        (0, 0, false) if tables_denied(book) => {
            "No IOMMU is in use; whether firmware describes one, only root may read. These are the groups that there \
             would be with one."
                .to_owned()
        }
        (0, 0, false) => {
            "No IOMMU is known here: these are the groups that there would be with one.".to_owned()
        }
    }
}

/// Whether a table may be there that only root may read.
fn tables_denied(book: &Catalogue<'_>) -> bool {
    book.machine.degraded.iter().any(|degraded| matches!(degraded, Degraded::TablesDenied { .. }))
}

fn holes(out: &mut String, book: &Catalogue<'_>, study: &Study, style: &Style) {
    let holes: Vec<&Split> = study.holes.iter().filter(|hole| !hole.harmless).collect();
    if holes.is_empty() {
        return;
    }
    let count = if holes.len() == 1 { "1 hole".to_owned() } else { format!("{} holes", holes.len()) };
    out.push('\n');
    let text = format!(
        "{count}: Linux splits what the fabric joins. These have groups of their own, but requests pass between them \
         without reaching an IOMMU:"
    );
    painted(out, "", &text, style.width, |text| style.bad(text));
    let mut by_causes: Vec<(&[Cause], Vec<Bdf>)> = Vec::new();
    for Split { pair, causes, .. } in holes {
        match by_causes.iter_mut().find(|(known, apart)| *known == causes && apart[0] == pair.with) {
            Some((_, apart)) => apart.push(pair.joined),
            None => by_causes.push((causes, vec![pair.with, pair.joined])),
        }
    }
    for (causes, apart) in by_causes.iter().take(MOST) {
        let because: Vec<String> = causes.iter().map(|cause| book.shorten(&cause.to_string())).collect();
        let text = format!("{}: {}", book.list(apart, MOST_PLACES), because.join(", and "));
        wrapped(out, "  ", &text, style.width);
    }
    if by_causes.len() > MOST {
        line(out, &format!("  and {} more (see --json)", by_causes.len() - MOST));
    }
}

/// What the kernel has otherwise.
fn disagreement(out: &mut String, book: &Catalogue<'_>, study: &Study, style: &Style) {
    let Some(agreement) = study.agreement.as_ref().filter(|agreement| !agreement.differences.is_empty())
    else {
        return;
    };
    out.push('\n');
    let text =
        format!("The kernel's own {} groups differ from what is computed for Linux:", agreement.groups);
    painted(out, "", &text, style.width, |text| style.odd(text));
    for difference in agreement.differences.iter().take(MOST) {
        let how = if difference.kernel_joins { "together" } else { "apart" };
        let text =
            format!("the kernel has {} and {} {how}", book.at(difference.one), book.at(difference.other));
        wrapped(out, "  ", &text, style.width);
    }
    if agreement.differences.len() > MOST {
        line(out, &format!("  and {} more (see --json)", agreement.differences.len() - MOST));
    }
}

/// By what groups are called: the kernel's numbers, if it has groups and they are the ones that are shown.
struct Numbers {
    kernel: bool,
}

impl Numbers {
    fn of(study: &Study) -> Self {
        let agrees = study.agreement.as_ref().is_some_and(|agreement| agreement.differences.is_empty());
        Self { kernel: agrees && study.policy == "linux" }
    }

    fn of_group(&self, book: &Catalogue<'_>, group: &Group) -> String {
        let number = match self.kernel {
            true => group.members.iter().find_map(|&at| book.function(at)?.linux_group),
            false => Some(group.id),
        };
        number.map_or_else(|| "-".to_owned(), |number| number.to_string())
    }
}

fn show(out: &mut String, book: &Catalogue<'_>, study: &Study, group: &Group, number: &str, style: &Style) {
    let mut number = number;
    for &member in &group.members {
        device(out, book, study, member, depth(book, group, member), number, style);
        number = "";
    }
    if let Some((good, text)) = verdict(book, study, group) {
        painted(
            out,
            "        ",
            &text,
            style.width,
            |text| if good { style.good(text) } else { style.odd(text) },
        );
    }
    causes(out, book, group, style);
}

/// Whether a group of several devices or functions can be given to a guest, in words, and why another cannot.
fn verdict(book: &Catalogue<'_>, study: &Study, group: &Group) -> Option<(bool, String)> {
    let active: Vec<&Passthrough> = group
        .members
        .iter()
        .filter_map(|at| study.passthrough.get(at))
        .filter(|verdict| **verdict != Passthrough::NoDevice)
        .collect();
    let is = |wanted: fn(&Passthrough) -> bool| active.iter().any(|verdict| wanted(verdict));
    let text = if is(|verdict| matches!(verdict, Passthrough::Refused(_))) {
        "cannot be given away: firmware contradicts itself about it".to_owned()
    } else if is(|verdict| matches!(verdict, Passthrough::Unserved(_))) {
        "cannot be given away: no IOMMU serves all of it".to_owned()
    } else if is(|verdict| matches!(verdict, Passthrough::Required { .. })) {
        "cannot be given away: firmware requires that it reaches memory of its own".to_owned()
    } else if is(|verdict| matches!(verdict, Passthrough::Shared(_))) {
        let all = if active.len() == 2 { "both".to_owned() } else { format!("all {}", active.len()) };
        match one_device(book, &group.members) {
            true => format!("only {all} together, and parts of the chipset are among them"),
            false => format!("only {all} together: they are not one device"),
        }
    } else if is(|verdict| matches!(verdict, Passthrough::With(_))) {
        return Some((true, "together: functions of one device".to_owned()));
    } else {
        return None;
    };
    Some((false, text))
}

/// Whether all functions that count are of one device.
fn one_device(book: &Catalogue<'_>, members: &[Bdf]) -> bool {
    let counts = |at: &&Bdf| book.function(**at).is_some_and(|function| !is_passive(function));
    let active: Vec<Bdf> = members.iter().filter(counts).copied().collect();
    active.windows(2).all(|pair| same_device(&book.machine.topology, pair[0], pair[1]))
}

/// How many bridges of the same group are above a member.
fn depth(book: &Catalogue<'_>, group: &Group, member: Bdf) -> usize {
    let topology = &book.machine.topology;
    let Some(index) = topology.find(member) else { return 0 };
    topology
        .path(index)
        .filter(|&bridge| group.members.binary_search(&topology.functions()[bridge].at).is_ok())
        .count()
}

fn device(
    out: &mut String,
    book: &Catalogue<'_>,
    study: &Study,
    at: Bdf,
    depth: usize,
    number: &str,
    style: &Style,
) {
    const DEEPEST: usize = 6;
    let Some(function) = book.function(at) else { return };
    let verdict = study.passthrough.get(&at);
    let mark = match verdict {
        Some(verdict) if verdict.is_possible() => '+',
        Some(Passthrough::NoDevice | Passthrough::System) | None => ' ',
        Some(_) => '-',
    };
    let mut text = book.words(at);
    if let Some(driver) = &function.driver {
        text.push_str(&format!(" [{driver}]"));
    }
    if study.is_unsure(at) {
        text.push_str(" (unsure)");
    }
    if let Some(Passthrough::Required { first, last, .. }) = verdict.filter(|verdict| verdict.is_of(at)) {
        text.push_str(&format!(" (must reach {first:#x} to {last:#x})"));
    }
    let place = book.at(at);
    let prefix = format!("{number:>5} {mark} {:indent$}{place}  ", "", indent = 2 * depth.min(DEEPEST));
    let mut lines = String::new();
    wrapped(&mut lines, &prefix, &text, style.width);
    let painted = match mark {
        '+' => style.good(&place),
        '-' => style.odd(&place),
        _ if is_passive(function) => style.faint(&place),
        _ => place.clone(),
    };
    out.push_str(&lines.replacen(&place, &painted, 1));
}

/// Why a group is one: facts that are alike in one sentence, with those whom they tie.
fn causes(out: &mut String, book: &Catalogue<'_>, group: &Group, style: &Style) {
    let mut found: Vec<(String, Vec<Bdf>, Vec<Bdf>)> = Vec::new();
    for reason in &group.reasons {
        for cause in &reason.causes {
            let subject = cause.subject();
            let sentence = cause.to_string().replacen(&subject.to_string(), "{}", 1);
            let alike = found.iter_mut().find(|(known, subjects, members)| {
                *known == sentence
                    // One port ties many, or many functions tie themselves.
                    && (subjects[..] == [subject] || reason.member == subject && subjects == members)
            });
            match alike {
                Some((_, subjects, members)) => {
                    members.push(reason.member);
                    if !subjects.contains(&subject) {
                        subjects.push(subject);
                    }
                }
                None => found.push((sentence, vec![subject], vec![reason.member])),
            }
        }
    }
    for (sentence, subjects, members) in found.iter().take(MOST) {
        let mut text = book.shorten(&sentence_of(book, sentence, subjects));
        if group.members.len() > 2 && members != subjects {
            text.push_str(&format!(" (ties {})", book.list(members, MOST_PLACES)));
        }
        painted(out, "        because ", &text, style.width, |text| style.faint(text));
    }
    if found.len() > MOST {
        let text = format!("and {} more; ask `ioward explain DEVICE`", found.len() - MOST);
        painted(out, "        ", &text, style.width, |text| style.faint(text));
    }
}

/// A sentence about several functions.
fn sentence_of(book: &Catalogue<'_>, sentence: &str, subjects: &[Bdf]) -> String {
    let list = book.list(subjects, MOST_PLACES);
    let Some((kind, rest)) = sentence.split_once(" {}").filter(|_| subjects.len() > 1) else {
        return sentence.replacen("{}", &list, 1);
    };
    let rest = rest
        .strip_prefix(" has ")
        .map(|rest| format!(" have {rest}"))
        .or_else(|| rest.strip_prefix(" is ").map(|rest| format!(" are {rest}")))
        .unwrap_or_else(|| rest.to_owned());
    format!("{kind}s {list}{rest}")
}

fn summary(out: &mut String, book: &Catalogue<'_>, study: &Study, style: &Style) {
    let functions = book.machine.topology.functions().len();
    let possible = study.passthrough.values().filter(|verdict| verdict.is_possible()).count();
    let text = format!(
        "{} in {}. The {possible} marked + can be given to a guest, those marked - cannot; \
         bridges and parts of the machine itself have no mark.",
        counted(functions, "function"),
        counted(study.grouping.groups.len(), "group")
    );
    wrapped(out, "", &text, style.width);
    if let Some(agreement) = study.agreement.as_ref().filter(|agreement| agreement.differences.is_empty()) {
        let text = format!("The kernel's own {} groups are the same.", agreement.groups);
        if study.policy == "linux" {
            wrapped(out, "", &text, style.width);
        }
    }
    if !study.spare.is_empty() {
        let text = format!(
            "Linux joins {} that the fabric could keep apart (see --policy fabric).",
            study.spare.len()
        );
        wrapped(out, "", &text, style.width);
    }
    if !study.grouping.unsure.is_empty() {
        let hint = match (book.machine.needs_root(), book.machine.origin.is_live()) {
            (true, true) => ": run as root to know",
            (true, false) => ": the input was made without root",
            _ => ": the input lacks what decides them",
        };
        let many = study.grouping.unsure.len();
        let are = if many == 1 { "is" } else { "are" };
        let text = format!("{} {are} unsure{hint}.", counted(many, "function"));
        painted(out, "", &text, style.width, |text| style.odd(text));
    }
    for degraded in &book.machine.degraded {
        painted(out, "degraded: ", &degraded.to_string(), style.width, |text| style.odd(text));
    }
    let unread = &book.machine.unread;
    for error in unread.iter().take(MOST) {
        painted(out, "not read: ", &error.to_string(), style.width, |text| style.odd(text));
    }
    if unread.len() > MOST {
        line(out, &format!("and {} more that could not be read (see --json)", unread.len() - MOST));
    }
    let findings = book.machine.topology.findings();
    for finding in findings.iter().take(MOST) {
        painted(out, "odd: ", &book.shorten(&finding.to_string()), style.width, |text| style.odd(text));
    }
    if findings.len() > MOST {
        line(
            out,
            &format!("and {} more oddities of configuration space (see --json)", findings.len() - MOST),
        );
    }
}
