//! Text of foreign files, such that a terminal only shows it.

use crate::{Kernel, Parts};

/// The text with U+FFFD in place of each character that moves a cursor, changes colours or turns text around.
pub fn harmless(text: &str) -> String {
    let is_harmful =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if is_harmful(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn make(text: &mut String) {
    *text = harmless(text);
}

/// Makes all names and words of a machine harmless, wherever they were read. Paths and causes of what could not be read
/// are made so where they are shown.
pub fn parts(parts: &mut Parts) {
    for function in &mut parts.functions {
        make(&mut function.name);
        function.driver.iter_mut().for_each(make);
    }
    parts.records.iter_mut().for_each(|record| record.driver.iter_mut().for_each(make));
    parts.tables.iter_mut().for_each(|table| make(&mut table.file));
    parts.passed_over.iter_mut().for_each(make);
    kernel(&mut parts.kernel);
}

fn kernel(kernel: &mut Kernel) {
    kernel.version.iter_mut().for_each(make);
    kernel.options.iter_mut().flatten().for_each(make);
    for group in kernel.groups.values_mut() {
        group.devices.iter_mut().for_each(make);
        group.kind.iter_mut().for_each(make);
    }
    kernel.iommus.iter_mut().for_each(|iommu| make(&mut iommu.name));
    let thunderbolt = std::mem::take(&mut kernel.thunderbolt);
    kernel.thunderbolt = thunderbolt.into_iter().map(|(name, safe)| (harmless(&name), safe)).collect();
}
