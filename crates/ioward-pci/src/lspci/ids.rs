//! Vendor and device IDs from the kernel's log, for a listing that lacks them.

use crate::{Bdf, Function, function::Ids};

/// Adds IDs and classes from lines like `0000:00:1c.0 8086:a110 type 01 class 0x060400`, or as the kernel logs them,
/// `pci 0000:00:1c.0: [8086:a110] type 01 class 0x060400`. Tells how many functions got IDs.
pub fn add_ids(functions: &mut [Function], log: &str) -> usize {
    log.lines().filter_map(line).filter(|&(at, ids, class)| add(functions, at, ids, class)).count()
}

fn line(line: &str) -> Option<(Bdf, Ids, Option<u16>)> {
    let mut words = line.split_whitespace();
    let at = words.find_map(|word| word.trim_end_matches(':').parse().ok())?;
    let ids = words.next()?;
    let (vendor, device) = ids.trim_start_matches('[').trim_end_matches(']').split_once(':')?;
    let hex = |digits: &str| (digits.len() == 4).then(|| u16::from_str_radix(digits, 16).ok()).flatten();
    let ids = Ids { vendor: hex(vendor)?, device: hex(device)? };
    let class = words
        .skip_while(|&word| word != "class")
        .nth(1)
        .and_then(|digits| u32::from_str_radix(digits.strip_prefix("0x")?, 16).ok())
        .map(|class| (class >> 8) as u16);
    Some((at, ids, class))
}

fn add(functions: &mut [Function], at: Bdf, ids: Ids, class: Option<u16>) -> bool {
    let Ok(index) = functions.binary_search_by_key(&at, |function| function.at) else { return false };
    let function = &mut functions[index];
    function.class = function.class.or(class);
    let missing = function.ids.is_none();
    function.ids = function.ids.or(Some(ids));
    missing
}
