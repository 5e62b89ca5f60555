//! Text from outside, before it becomes part of a page.

use std::fmt::{self, Write as _};

/// Text as the content of an element, or of an attribute between double quotes.
///
/// Characters that XML has no room for, and those that turn the direction of the text around them, are shown as
/// U+FFFD: a device's name must not rearrange what stands beside it.
pub struct Text<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => f.write_char(' ')?,
                _ if is_unfit(c) => f.write_char('\u{fffd}')?,
                _ => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

fn is_unfit(c: char) -> bool {
    let turns = matches!(c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control() || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// At most `most` characters of a text; the last becomes an ellipsis where some are left out.
pub fn clip(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_becomes_markup_or_turns_its_neighbours_around() {
        let hostile = "</text><script>alert('1')</script>&amp;\"\u{202e}\u{0}\u{7f}\n";
        let expected = "&lt;/text&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;amp;&quot;\u{fffd}\u{fffd}\u{fffd} ";
        assert_eq!(Text(hostile).to_string(), expected);
        assert_eq!(Text("Ärger ≠ 日本").to_string(), "Ärger ≠ 日本");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(clip("日本語", 3), "日本語");
        assert_eq!(clip("日本語です", 3), "日本…");
        assert_eq!(clip("a bcd", 3), "a…");
        assert_eq!(clip("ab", 0), "…");
    }
}
