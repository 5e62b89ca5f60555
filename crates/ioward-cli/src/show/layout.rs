//! Text in columns and lines of a given width.

use super::Style;

/// The least width of a table's last column; with less it goes into lines of its own.
const LEAST_ROOM: usize = 14;

/// Adds a line, without white space at its end.
pub fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

/// A table whose last column takes what is left of the width, and goes on in the next line where that is too little.
pub fn table<const N: usize>(
    out: &mut String,
    headings: [&str; N],
    rows: &[[String; N]],
    style: &Style,
    paint: impl Fn(usize, &str) -> String,
) {
    let mut widths = headings.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let before: usize = widths[..N - 1].iter().map(|width| width + 2).sum();
    // Where the last column has no room, it goes below the others.
    let room = style.width.saturating_sub(before);
    let below = room < LEAST_ROOM;
    let (indent, room) = if below { (4, style.width - 4) } else { (before, room) };
    let fixed = |cells: &[String]| {
        let padded = cells[..N - 1].iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  "));
        padded.collect::<String>()
    };
    let mut heading = fixed(&headings.map(str::to_owned));
    if !below {
        heading.push_str(headings[N - 1]);
    }
    line(out, &style.head(heading.trim_end()));
    for (number, row) in rows.iter().enumerate() {
        let lines = fold(&row[N - 1], room);
        let first = lines.first().map_or("", String::as_str);
        let head = fixed(row);
        if below {
            line(out, &paint(number, head.trim_end()));
        } else {
            line(out, &paint(number, format!("{head}{first}").trim_end()));
        }
        for rest in lines.iter().skip(usize::from(!below)) {
            line(out, &paint(number, &format!("{:indent$}{rest}", "")));
        }
    }
}

/// Words in lines of at most `width` columns; a longer word has a line of its own.
pub fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Adds words in lines of at most `width` columns: the first after `prefix`, the others below it.
pub fn wrapped(out: &mut String, prefix: &str, text: &str, width: usize) {
    let indent = prefix.chars().count();
    for (number, text) in fold(text, width.saturating_sub(indent)).iter().enumerate() {
        let before = if number == 0 { prefix.to_owned() } else { " ".repeat(indent) };
        line(out, &format!("{before}{text}"));
    }
}

/// The same, each line painted.
pub fn painted(out: &mut String, prefix: &str, text: &str, width: usize, paint: impl Fn(&str) -> String) {
    let mut plain = String::new();
    wrapped(&mut plain, prefix, text, width);
    plain.lines().for_each(|text| line(out, &paint(text)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded_at_the_width() {
        assert_eq!(fold("one two three", 7), ["one two", "three"]);
        assert_eq!(fold("incomprehensibilities are long", 5), ["incomprehensibilities", "are", "long"]);
        assert!(fold("", 5).is_empty());
    }

    #[test]
    fn no_line_of_a_table_is_wider_than_asked() {
        let rows = [["a".to_owned(), "many words that need more than one line to be told".to_owned()]];
        for width in [60, 16] {
            let mut out = String::new();
            table(&mut out, ["x", "why"], &rows, &Style::plain(width), |_, text| text.to_owned());
            assert!(out.lines().all(|line| line.chars().count() <= width), "{out}");
            assert!(out.contains("more"));
        }
    }
}
