//! A walk, for people.

use super::Named;
use crate::show::{
    Style,
    layout::{line, table, wrapped},
};
use ioward_study::walk::{End, Lookup, StageWalk};

/// The whole, ended by a newline.
pub fn render(memory: &str, walks: &[Named], style: &Style) -> String {
    let mut out = String::new();
    for (number, walk) in walks.iter().enumerate() {
        if number != 0 {
            out.push('\n');
        }
        let of = if walk.of.is_empty() { String::new() } else { format!(" of {}", walk.of) };
        line(&mut out, &style.head(&format!("{:#x}{of}", walk.report.iova)));
        wrapped(&mut out, "in ", memory, style.width);
        for lookup in &walk.report.lookups {
            structure(&mut out, lookup, style);
        }
        for stage in &walk.report.walks {
            walked(&mut out, stage, style);
        }
        out.push('\n');
        end(&mut out, walk, style);
    }
    out
}

fn structure(out: &mut String, lookup: &Lookup, style: &Style) {
    out.push('\n');
    line(out, &style.head(&format!("{} at {:#x}", lookup.what, lookup.at)));
    let words: Vec<String> = lookup.words.iter().map(|word| format!("{word:#018x}")).collect();
    wrapped(out, "  holds  ", &words.join(" "), style.width);
    for says in &lookup.says {
        wrapped(out, "  says   ", says, style.width);
    }
}

fn walked(out: &mut String, stage: &StageWalk, style: &Style) {
    out.push('\n');
    let title = format!("{}: {:#x} from the root at {:#x}", stage.format, stage.input, stage.root);
    wrapped(out, "", &title, style.width);
    let rows: Vec<[String; 5]> = stage
        .steps
        .iter()
        .map(|step| {
            let bits =
                if step.flags.is_empty() { String::new() } else { format!(" [{}]", step.flags.join(" ")) };
            [
                format!("{} {}", step.level, step.called),
                step.index.to_string(),
                format!("{:#x}", step.at),
                step.raw.map_or_else(|| "nothing".into(), |raw| format!("{raw:#018x}")),
                format!("{}{bits}", step.meaning),
            ]
        })
        .collect();
    if !rows.is_empty() {
        table(out, ["level", "index", "entry at", "holds", "means"], &rows, style, |_, text| text.to_owned());
    }
}

fn end(out: &mut String, walk: &Named, style: &Style) {
    let right = |allowed, word: &'static str| if allowed { Some(word) } else { None };
    match &walk.report.end {
        End::Page { to, bytes, read, write, execute, privileged } => {
            let rights: Vec<&str> = [
                right(*read, "read"),
                right(*write, "write"),
                right(*execute, "execute"),
                right(*privileged, "privileged only"),
            ]
            .into_iter()
            .flatten()
            .collect();
            let rights = if rights.is_empty() { "nothing allowed".to_owned() } else { rights.join(", ") };
            line(out, &style.good(&format!("leads to {to:#x}, in a page of {bytes:#x} bytes: {rights}")));
        }
        End::Passes { read, write } => {
            let rights: Vec<&str> =
                [right(*read, "read"), right(*write, "write")].into_iter().flatten().collect();
            let rights = if rights.is_empty() { "nothing allowed".to_owned() } else { rights.join(", ") };
            line(out, &style.odd(&format!("passes untranslated, as {:#x}: {rights}", walk.report.iova)));
        }
        End::Fault { why } => line(out, &style.bad(&format!("faults: {why}"))),
        End::Unknown { why } => line(out, &style.odd(&format!("not known: {why}"))),
    }
}
