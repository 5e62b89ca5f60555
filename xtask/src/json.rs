//! JSON as far as this repository's own programs print it: read whole, with bounds on depth and no numbers' meaning.

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A number, `true`, `false` or `null`, as it is written.
    Word(String),
    /// Text.
    Text(String),
    /// An array.
    Many(Vec<Value>),
    /// An object, in the order in which it is written.
    Named(Vec<(String, Value)>),
}

impl Value {
    /// The member of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Named(members) = self else { return None };
        members.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    /// The elements of an array.
    pub fn many(&self) -> Option<&[Self]> {
        if let Self::Many(values) = self { Some(values) } else { None }
    }

    /// The text.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// Reads one value with nothing but space around it; else the byte at which that is not JSON.
pub fn parse(text: &str) -> Result<Value, usize> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0).filter(|_| {
        reader.space();
        reader.at == text.len()
    });
    value.ok_or(reader.at)
}

const DEEPEST: u32 = 64;

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn take(&mut self, what: char) -> Option<()> {
        self.space();
        self.text[self.at..].starts_with(what).then(|| self.at += what.len_utf8())
    }

    fn value(&mut self, depth: u32) -> Option<Value> {
        self.space();
        if depth == DEEPEST {
            return None;
        }
        match self.text[self.at..].chars().next()? {
            '{' => {
                let mut members = Vec::new();
                self.list('{', '}', |reader| {
                    let name = reader.string()?;
                    reader.take(':')?;
                    members.push((name, reader.value(depth + 1)?));
                    Some(())
                })?;
                Some(Value::Named(members))
            }
            '[' => {
                let mut values = Vec::new();
                self.list('[', ']', |reader| {
                    values.push(reader.value(depth + 1)?);
                    Some(())
                })?;
                Some(Value::Many(values))
            }
            '"' => self.string().map(Value::Text),
            _ => {
                let rest = &self.text[self.at..];
                let part = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
                let word = &rest[..rest.find(|c| !part(c)).unwrap_or(rest.len())];
                self.at += word.len();
                (!word.is_empty()).then(|| Value::Word(word.to_owned()))
            }
        }
    }

    fn list(&mut self, open: char, close: char, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(open)?;
        if self.take(close).is_some() {
            return Some(());
        }
        loop {
            each(self)?;
            if self.take(close).is_some() {
                return Some(());
            }
            self.take(',')?;
        }
    }

    fn string(&mut self) -> Option<String> {
        self.take('"')?;
        let mut text = String::new();
        loop {
            let c = self.text[self.at..].chars().next()?;
            self.at += c.len_utf8();
            match c {
                '"' => return Some(text),
                '\\' => {
                    let escape = self.text[self.at..].chars().next()?;
                    self.at += escape.len_utf8();
                    text.push(match escape {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'u' => {
                            let digits = self.text.get(self.at..self.at + 4)?;
                            self.at += 4;
                            // One half of a pair alone is no character; nothing here is told apart by what it would be.
                            char::from_u32(u32::from_str_radix(digits, 16).ok()?)
                                .unwrap_or(char::REPLACEMENT_CHARACTER)
                        }
                        other => other,
                    });
                }
                other => text.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_prints_is_read() {
        let value = parse(
            "{\"policy\": \"li\\\"\\u006e\\n\", \"groups\": [{\"id\": 1.5e-3, \"x\": []}, {}, null]}\n",
        )
        .expect("it is JSON");
        assert_eq!(value.get("policy").and_then(Value::text), Some("li\"n\n"));
        let groups = value.get("groups").and_then(Value::many).expect("an array");
        assert_eq!(groups[0].get("id"), Some(&Value::Word("1.5e-3".into())));
        assert_eq!(groups[0].get("x"), Some(&Value::Many(Vec::new())));
        assert_eq!((groups[1].clone(), groups.len()), (Value::Named(Vec::new()), 3));
    }

    #[test]
    fn what_breaks_off_is_no_value() {
        let text = "{\"a\": [1, \"é\\u00e9\", {\"b\": true}]}";
        assert!(parse(text).is_ok());
        for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
            assert!(parse(&text[..end]).is_err(), "{}", &text[..end]);
        }
        assert!(parse("{} x").is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
