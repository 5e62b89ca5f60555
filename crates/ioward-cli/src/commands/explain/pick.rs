//! Which device somebody means.

use crate::show::Catalogue;
use ioward::pci::{Bdf, Function};

/// The most candidates that are listed.
const MOST: usize = 12;

/// Nobody can tell which device is meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PickError {
    /// No function is at this place.
    NotThere(Bdf),
    /// No function has this ID, or this in its name.
    Unknown(String),
    /// Several have.
    Ambiguous(String, Vec<Bdf>),
}

impl PickError {
    /// What is wrong, with candidates, in lines that end with a newline.
    pub fn words(&self, book: &Catalogue<'_>) -> String {
        let functions = book.machine.topology.functions();
        let list = |places: &[Bdf]| -> String {
            let mut text = String::new();
            for &at in places.iter().take(MOST) {
                text.push_str(&format!("  {}  {}\n", book.at(at), book.words(at)));
            }
            if places.len() > MOST {
                text.push_str(&format!("  and {} more\n", places.len() - MOST));
            }
            text
        };
        match self {
            Self::NotThere(at) => {
                let near: Vec<Bdf> = functions
                    .iter()
                    .map(|function| function.at)
                    .filter(|other| {
                        other.on() == at.on() || other.bus.abs_diff(at.bus) <= 1 && other.devfn == at.devfn
                    })
                    .collect();
                let list = list(&near);
                match near.is_empty() {
                    true => {
                        format!("no function is at {at}; `ioward groups` lists all {}\n", functions.len())
                    }
                    false => format!("no function is at {at}; near it are\n{list}"),
                }
            }
            Self::Unknown(text) => format!(
                "no device is called \"{}\": a place is like 01:00.0, an ID like 10de:2684, and of a name any part will do; \
                 `ioward groups` lists all {}\n",
                text.escape_debug(),
                functions.len()
            ),
            Self::Ambiguous(text, places) => {
                format!("\"{}\" is any of {}:\n{}", text.escape_debug(), places.len(), list(places))
            }
        }
    }
}

/// The function that a text means.
pub fn pick(book: &Catalogue<'_>, text: &str) -> Result<Bdf, PickError> {
    let text = text.trim();
    let functions = book.machine.topology.functions();
    if let Ok(at) = text.parse::<Bdf>() {
        return match book.function(at) {
            Some(_) => Ok(at),
            None => Err(PickError::NotThere(at)),
        };
    }
    let by_ids = |function: &&Function| {
        function
            .ids
            .is_some_and(|ids| format!("{:04x}:{:04x}", ids.vendor, ids.device).eq_ignore_ascii_case(text))
    };
    let mut found: Vec<Bdf> = functions.iter().filter(by_ids).map(|function| function.at).collect();
    if found.is_empty() && !text.is_empty() {
        let part = text.to_lowercase();
        let has = |at: Bdf| {
            book.words(at).to_lowercase().contains(&part) || book.name(at).to_lowercase().contains(&part)
        };
        found = functions.iter().map(|function| function.at).filter(|&at| has(at)).collect();
    }
    match found[..] {
        [] => Err(PickError::Unknown(text.to_owned())),
        [at] => Ok(at),
        _ => Err(PickError::Ambiguous(text.to_owned(), found)),
    }
}
