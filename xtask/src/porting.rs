//! `docs/porting.md` stays true: every piece of code in it is in the file that it is said to be from, and every rung takes as
//! many lines as it says.
//!
//! A piece of code is a block of Rust behind a line that ends with the file's name: "From `kernels/common/src/platform.rs`:".
//! A line `// …` leaves lines of the file out. How far a block is indented does not matter.
//!
//! Lines are counted where a row of a table ends with a count and names files in its first cells: those that hold more than
//! a comment or an attribute. A count may be off by a tenth, so that a change of a few lines needs no change of the document.

use crate::shell::root;
use std::fs;

/// What leaves lines out.
const ELLIPSIS: &str = "// …";

/// A block of Rust, and where it is said to be from.
struct Excerpt {
    /// Its first line in the document, counted from 1.
    line: usize,
    file: Option<String>,
    text: Vec<String>,
}

fn between_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn excerpts(document: &str) -> Vec<Excerpt> {
    let (mut found, mut open, mut above) = (Vec::new(), None::<Excerpt>, "");
    for (index, line) in document.lines().enumerate() {
        match &mut open {
            Some(_) if line == "```" => found.extend(open.take()),
            Some(excerpt) => excerpt.text.push(line.trim().to_owned()),
            None if line == "```rust" => {
                let file = above.strip_suffix("`:").and_then(|text| text.rsplit('`').next());
                let file = file.map(str::to_owned);
                open = Some(Excerpt { line: index + 2, file, text: Vec::new() });
            }
            None if line.is_empty() => {}
            None => above = line,
        }
    }
    found
}

/// The first line of a piece that is not in `source`, or not behind what comes before it.
fn missing<'a>(excerpt: &'a Excerpt, source: &str) -> Option<&'a str> {
    let source: Vec<&str> = source.lines().map(str::trim).collect();
    let mut from = 0;
    for piece in excerpt.text.split(|line| line == ELLIPSIS).filter(|piece| !piece.is_empty()) {
        let rest = &source[from..];
        let Some(at) = rest.windows(piece.len()).position(|lines| lines == piece) else {
            return piece.first().map(String::as_str);
        };
        from += at + piece.len();
    }
    None
}

/// Lines of a file that hold code.
fn lines_of_code(source: &str) -> usize {
    let holds = |line: &&str| !line.is_empty() && !line.starts_with("//") && !line.starts_with("#[");
    source.lines().map(str::trim).filter(holds).count()
}

/// What is wrong with the document, and how many excerpts and counts it has.
fn judge(document: &str, read: impl Fn(&str) -> Option<String>) -> (Vec<String>, usize, usize) {
    let (mut wrong, excerpts) = (Vec::new(), excerpts(document));
    for excerpt in &excerpts {
        let line = excerpt.line;
        let Some(file) = &excerpt.file else {
            wrong.push(format!("line {line}: no file is named above the code"));
            continue;
        };
        match read(file).as_deref().map(|source| missing(excerpt, source)) {
            None => wrong.push(format!("line {line}: `{file}` is not there")),
            Some(Some(first)) => wrong.push(format!("line {line}: `{file}` has not, from here on: {first}")),
            Some(None) => {}
        }
    }
    let mut counts = 0;
    for (index, row) in document.lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
        let Some((names, count)) = row.trim_end_matches('|').trim_end().rsplit_once('|') else { continue };
        let Ok(said) = count.trim().parse::<usize>() else { continue };
        counts += 1;
        let mut lines = 0;
        for name in between_backticks(names).filter(|name| name.ends_with(".rs")) {
            match read(name) {
                Some(source) => lines += lines_of_code(&source),
                None => wrong.push(format!("line {}: `{name}` is not there", index + 1)),
            }
        }
        if lines == 0 || lines.abs_diff(said) * 10 > lines {
            wrong.push(format!("line {}: {said} lines are said to be there, {lines} are", index + 1));
        }
    }
    (wrong, excerpts.len(), counts)
}

#[test]
fn what_the_page_on_porting_shows_is_there() {
    let document = fs::read_to_string(root().join("docs/porting.md")).expect("the document is there");
    let (wrong, excerpts, counts) = judge(&document, |file| fs::read_to_string(root().join(file)).ok());
    assert!(wrong.is_empty(), "docs/porting.md:\n{}", wrong.join("\n"));
    assert!(excerpts >= 6 && counts >= 5, "{excerpts} pieces of code, {counts} counts");
}

#[test]
fn code_that_is_not_there_is_an_error() {
    let source = "use x;\n/// A lock.\n#[derive(Debug)]\nfn one() {\n    two();\n    three();\n}\n";
    let read = |file: &str| (file == "a.rs").then(|| source.to_owned());
    let page = |block: &str, row: &str| format!("From `a.rs`:\n\n```rust\n{block}\n```\n\n{row}\n");
    let good = page("fn one() {\n// …\n    three();\n}", "| rung | `a.rs` | 5 |");
    assert_eq!(judge(&good, read), (Vec::new(), 1, 1));
    for (old, new) in [
        ("`a.rs`:", "`b.rs`:"),
        ("From `a.rs`:", "From a file:"),
        ("three", "four"),
        ("// …\n", ""),
        ("fn one() {\n// …\n    three();", "three();\n// …\nfn one() {"),
        ("| 5 |", "| 6 |"),
        ("| `a.rs` |", "| `b.rs` |"),
        ("| `a.rs` |", "| |"),
    ] {
        let bad = good.replace(old, new);
        assert!(bad != good && !judge(&bad, read).0.is_empty(), "{old} -> {new}");
    }
}
