//! `cargo xtask browser`: pages that `ioward map` draws, opened in a browser and used as people use them.
//!
//! [`devtools`] drives Chromium over a pipe, [`machines`] makes the pages, [`checks`] uses them: it asks for reasons by
//! address, by keyboard, by pointer and by search, looks at a narrow screen, and holds that nothing leaves the page and
//! that no script but the page's own runs in it.

mod checks;
mod devtools;
mod machines;

use crate::{shell::target, tally::Tally};
use devtools::Browser;
use std::fs;

/// What is skipped where there is no browser.
const NAME: &str = "browser";

/// Opens every page and checks it.
pub fn run(tally: &mut Tally) {
    let Some(program) = devtools::find() else {
        return tally.skip(NAME, "no Chromium is installed");
    };
    let folder = target().join("browser");
    if let Err(error) = fs::create_dir_all(&folder) {
        return tally.fail(format!("{}: {error}", folder.display()));
    }
    let pages = match machines::pages(&folder) {
        Ok(pages) => pages,
        Err(why) => return tally.fail(why),
    };
    let profile = folder.join(format!("profile-{}", std::process::id()));
    let mut browser = match Browser::start(&program, &profile) {
        Ok(browser) => browser,
        Err(why) => return tally.fail(format!("{program}: {why}")),
    };
    checks::all(&mut browser, &pages, tally);
    browser.close();
}

/// Whether there is a browser.
pub fn is_here() -> bool {
    devtools::find().is_some()
}
