//! Tables for people.

use crate::show::{Style, layout};
use ioward_study::tables::{Listing, Part, Setting, TreeNode, Trouble, Value};

/// One file for people.
pub fn render(name: &str, listing: &Listing, style: &Style) -> String {
    let mut page = Page { out: String::new(), style };
    let bytes = listing.table.as_ref().map(|table| table.bytes);
    let bytes = bytes.or(listing.tree.as_ref().map(|tree| tree.bytes)).unwrap_or(0);
    let head = format!("{name}: {}, {bytes} bytes; names as in {}", listing.kind, listing.specification);
    page.wrapped("", &head, |style, text| style.head(text));
    if let Some(table) = &listing.table {
        let digits = format!("{:x}", table.bytes.saturating_sub(1)).len().max(4);
        page.problems(digits + 2, &table.problems);
        page.parts(&table.parts, digits, 0);
    }
    if let Some(tree) = &listing.tree {
        page.problems(2, &tree.problems);
        tree.nodes.iter().for_each(|node| page.node(node));
        let hidden = tree.nodes_read - tree.nodes.len();
        page.line("");
        let told =
            format!("{hidden} of {} nodes have nothing to do with IOMMUs and are left out", tree.nodes_read);
        page.wrapped("", &told, |_, text| text.to_owned());
    }
    page.out
}

/// Lines that are being written.
struct Page<'s> {
    out: String,
    style: &'s Style,
}

/// The narrowest column of meanings; with less room they go below.
const LEAST_ROOM: usize = 24;

impl Page<'_> {
    fn line(&mut self, text: &str) {
        layout::line(&mut self.out, text);
    }

    /// Words in lines that begin below the first one's end of `before`.
    fn wrapped(&mut self, before: &str, text: &str, paint: impl Fn(&Style, &str) -> String) {
        let indent = before.chars().count();
        let mut lines = layout::fold(text, self.style.width.saturating_sub(indent)).into_iter();
        let first = lines.next().unwrap_or_default();
        self.line(&format!("{before}{}", paint(self.style, &first)));
        for rest in lines {
            self.line(&format!("{:indent$}{}", "", paint(self.style, &rest)));
        }
    }

    fn problems(&mut self, indent: usize, problems: &[Trouble]) {
        for Trouble { severity, text } in problems {
            let paint = |style: &Style, text: &str| match *severity {
                "broken" => style.bad(text),
                _ => style.odd(text),
            };
            self.wrapped(&" ".repeat(indent), &format!("! {severity}: {text}"), paint);
        }
    }

    fn parts(&mut self, parts: &[Part], digits: usize, depth: usize) {
        let name_width = |part: &Part| part.name.chars().count();
        let fields = || parts.iter().filter(|part| part.value.is_some());
        let names = fields().map(name_width).max().unwrap_or(0);
        let values = fields().map(|part| shown(part).chars().count());
        // What is longer has lines of its own, and is no reason to push the meanings of the others aside.
        let values = values.filter(|width| *width <= 18).max().unwrap_or(0);
        for part in parts {
            if part.value.is_none() {
                self.structure(part, digits, depth);
            } else {
                self.field(part, digits, depth, names, values);
            }
        }
    }

    fn structure(&mut self, part: &Part, digits: usize, depth: usize) {
        if depth == 0 {
            self.line("");
        }
        let offset = format!("{:0digits$x}  {:indent$}", part.offset, "", indent = depth * 2);
        let about = part.meaning.as_deref().unwrap_or_default();
        let before = format!("{offset}{}  ", part.name);
        let indent = before.chars().count();
        let mut lines = layout::fold(about, self.style.width.saturating_sub(indent)).into_iter();
        let first = lines.next().unwrap_or_default();
        self.line(&format!("{offset}{}  {first}", self.style.head(&part.name)));
        lines.for_each(|rest| self.line(&format!("{:indent$}{rest}", "")));
        self.problems(digits + 4 + depth * 2, &part.problems);
        self.parts(&part.parts, digits, depth + 1);
    }

    fn field(&mut self, part: &Part, digits: usize, depth: usize, names: usize, values: usize) {
        let indent = digits + 2 + depth * 2;
        let value = shown(part);
        let before =
            format!("{:0digits$x}  {:pad$}{:<names$}  ", part.offset, "", part.name, pad = depth * 2);
        let means = means(part);
        let room = self.style.width.saturating_sub(before.chars().count());
        if value.chars().count() > values {
            // Long values take the rest of the line, and what they mean follows them.
            self.wrapped(&before, &value, |_, text| text.to_owned());
            if !means.is_empty() {
                self.wrapped(&" ".repeat(before.chars().count()), &means, |_, text| text.to_owned());
            }
        } else if room < values + 2 + LEAST_ROOM && !means.is_empty() {
            self.line(&format!("{before}{value}"));
            self.wrapped(&" ".repeat(indent + 4), &means, |_, text| text.to_owned());
        } else {
            self.wrapped(&format!("{before}{value:<values$}  "), &means, |_, text| text.to_owned());
        }
        self.problems(indent + 2, &part.problems);
    }

    fn node(&mut self, node: &TreeNode) {
        self.line("");
        let state = if node.enabled { "" } else { ", disabled" };
        let offset = format!("{:04x}  ", node.offset);
        self.wrapped(&offset, &node.path, |style, text| style.head(text));
        self.wrapped("        ", &format!("{}{state}", node.about), |_, text| text.to_owned());
        self.problems(8, &node.problems);
        let names = node.properties.iter().map(|property| property.name.chars().count()).max().unwrap_or(0);
        for property in &node.properties {
            let before = format!("        {:<names$}  ", property.name);
            self.wrapped(&before, &property.value, |_, text| text.to_owned());
            for meaning in &property.meaning {
                self.wrapped(&format!("{:1$}= ", "", before.chars().count()), meaning, |_, text| {
                    text.to_owned()
                });
            }
        }
    }
}

/// A field's value; many bytes of zero by their number.
fn shown(part: &Part) -> String {
    match &part.value {
        Some(Value::Bytes(bytes)) if bytes.len() > 12 && bytes.iter().all(|byte| *byte == 0) => {
            format!("{} bytes of zero", bytes.len())
        }
        Some(value) => value.shown(),
        None => String::new(),
    }
}

/// What a field means: its own words, then its bits that are set or that mean something by being clear.
fn means(part: &Part) -> String {
    let own = part.meaning.iter().cloned();
    let bits = part.bits.iter().filter_map(setting);
    own.chain(bits).collect::<Vec<_>>().join(", ")
}

fn setting(setting: &Setting) -> Option<String> {
    let Setting { name, low, width, value, meaning } = setting;
    let meaning = meaning.map(|meaning| format!(" ({meaning})")).unwrap_or_default();
    match (width, value) {
        (_, 0) if meaning.is_empty() => None,
        _ if *name == "reserved" => Some(format!("reserved bits {:#x}", u128::from(*value) << low)),
        (1, 0) => Some(format!("no {name}{meaning}")),
        (1, _) => Some(format!("{name}{meaning}")),
        _ => Some(format!("{name}={value}{meaning}")),
    }
}
