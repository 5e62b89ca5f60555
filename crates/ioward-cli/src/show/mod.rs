//! What all commands share on the way to whoever reads: width and colours, columns, progress, output.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`catalogue`] | functions by their names |
//! | [`style`] | width and colours |
//! | [`layout`] | columns and folded lines |
//! | [`changes`] | groups that changed |
//! | [`progress`] | one line that tells what is going on |
//! | [`output`] | standard output and files |

pub mod catalogue;
pub mod changes;
pub mod layout;
pub mod output;
pub mod progress;
pub mod style;

pub use catalogue::Catalogue;
pub use style::Style;

/// So many of something, in words: no things, 1 thing, 2 things.
pub fn counted(count: usize, what: &str) -> String {
    match count {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        more => format!("{more} {what}s"),
    }
}

/// Adds what of a machine was read in part, could not be read or contradicts itself, the first of each.
pub fn doubts(out: &mut String, machine: &ioward_host::Machine, style: &Style) {
    const MOST: usize = 8;
    let mut told = |label: &str, words: Vec<String>| {
        for text in words.iter().take(MOST) {
            layout::painted(out, label, text, style.width, |text| style.odd(text));
        }
        if words.len() > MOST {
            layout::line(out, &format!("{label}and {} more (see --json)", words.len() - MOST));
        }
    };
    told("degraded: ", machine.degraded.iter().map(ToString::to_string).collect());
    told("not read: ", machine.unread.iter().map(ToString::to_string).collect());
    told("odd: ", machine.topology.findings().iter().map(ToString::to_string).collect());
}
