//! One policy's drawing as SVG.

use super::{
    Subject, Words,
    escape::{Text, clip},
    layout::{ANCHOR, Above, Item, Layout, NODE, Piece, height},
    scene::Node,
    styles::Style,
    view::Seen,
};
use ioward::pci::{Bdf, topology::Index};
use ioward_host::names::brief;
use std::{collections::BTreeSet, fmt::Write as _};

/// The rules of the drawing, for pages and for files of their own.
pub const RULES: &str = include_str!("drawing.css");
/// The width that names are cut to, as long as they keep [`LEAST_NAME`].
const WIDTH: u32 = 740;
/// The least room for names.
const LEAST_NAME: u32 = 170;
/// The room for names in a file of its own.
const FIGURE_NAME: u32 = 120;
/// A file of its own is not wider where its views can stand one above the other.
#[cfg(test)]
const FIGURE: u32 = 900;
/// About the width of a letter of a name.
const LETTER: f32 = 6.1;
/// The width of a node's left part, which shows its group.
const SWATCH: u32 = 23;
/// From a node's left edge to its text.
const INSET: u32 = 28;

/// A drawing of one view.
pub struct Drawing<'a, 's> {
    /// The machine.
    pub subject: &'a Subject<'s>,
    /// The groups.
    pub seen: &'a Seen<'s>,
    /// The places.
    pub layout: &'a Layout<'a>,
    /// Functions whose companions differ between the policies.
    pub differ: &'a BTreeSet<Bdf>,
    /// Nodes are links to their function's entry, and say what they are to those who do not see them.
    pub links: bool,
    /// Nodes have a text that shows under a pointer, with the first reason.
    pub hints: bool,
}

impl Drawing<'_, '_> {
    /// The width of the drawing.
    pub fn width(&self) -> u32 {
        match self.links {
            true => WIDTH.max(self.layout.nodes_width + LEAST_NAME),
            false => self.layout.nodes_width + FIGURE_NAME,
        }
    }

    /// A piece, as an element for a page.
    pub fn piece(&self, piece: &Piece<'_>) -> String {
        let (width, height) = (self.width(), piece.height);
        let mut out = format!(
            "<svg class=\"map\" role=\"none\" style=\"--w:{width}\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n"
        );
        self.items(piece, &mut out);
        out.push_str("</svg>\n");
        out
    }

    /// What is in a piece.
    pub fn items(&self, piece: &Piece<'_>, out: &mut String) {
        // Lines first, so that nodes cover their ends.
        for item in &piece.items {
            let line = |virtual_| if virtual_ { "wire virtual" } else { "wire" };
            let _ = match *item {
                Item::Heading { y, text } => {
                    writeln!(out, "<text class=\"bus\" x=\"2\" y=\"{y}\">{}</text>", Text(text))
                }
                Item::Bus { x, from, to, virtual_: false } => {
                    writeln!(out, "<path class=\"line\" d=\"M{x} {from}V{to}\"/>")
                }
                Item::Bus { x, from, to, virtual_: true } => {
                    writeln!(out, "<path class=\"wire virtual\" d=\"M{x} {from}V{to}\"/>")
                }
                Item::Wire { y, from, to, virtual_ } => {
                    writeln!(out, "<path class=\"{}\" d=\"M{from} {y}H{to}\"/>", line(virtual_))
                }
                Item::Node { .. } => Ok(()),
            };
        }
        for item in &piece.items {
            if let Item::Node { node, x, y, depth, above } = *item {
                self.node(node, above, (x, y), depth, out);
            }
        }
    }

    fn at(&self, index: Index) -> Bdf {
        self.subject.topology.functions()[index].at
    }

    fn node(&self, node: &Node, above: Above, (x, y): (u32, u32), depth: u32, out: &mut String) {
        let at = self.at(node.first());
        let group = self.seen.group(at);
        let style = group.and_then(|group| self.seen.styles.get(&group.id));
        let mut classes = String::from("n");
        if let Some(Style { colour, pattern }) = style {
            let _ = write!(classes, " g c{colour} p{pattern}");
        }
        for (on, class) in [
            (self.seen.is_unsure(at), " unsure"),
            (self.differs(node), " differs"),
            (node.functions.iter().any(|&index| self.seen.culprits.contains(&self.at(index))), " culprit"),
            (node.is_folded(), " folded"),
        ] {
            classes.push_str(if on { class } else { "" });
        }
        let number = group.map_or(String::new(), |group| match group.members.len() {
            1 if node.is_folded() => format!("×{}", node.functions.len()),
            _ => group.id.to_string(),
        });
        let place = format!("class=\"{classes}\" transform=\"translate({x} {y})\"");
        if self.links {
            let members: Vec<String> =
                node.functions[1..].iter().map(|&index| self.at(index).to_string()).collect();
            let folded = match members.is_empty() {
                true => String::new(),
                false => format!(" data-more=\"{}\"", members.join(" ")),
            };
            let group = group.map_or(String::new(), |group| format!(" data-g=\"{}\"", group.id));
            let _ = write!(
                out,
                "<a href=\"#{at}\" role=\"treeitem\" aria-level=\"{}\"{group}{folded} aria-label=\"{}\" {place}>",
                depth + 1,
                Text(&self.label(node, at))
            );
            if self.hints {
                let _ = write!(out, "<title>{}</title>", Text(&self.hint(node, at)));
            }
        } else {
            let _ = write!(out, "<g {place}>");
        }
        self.face(node, at, style.is_some(), &number, x, out);
        self.served(node, above, out);
        out.push_str(if self.links { "</a>\n" } else { "</g>\n" });
    }

    /// What is seen of a node.
    fn face(&self, node: &Node, at: Bdf, tied: bool, number: &str, x: u32, out: &mut String) {
        let tall = height(node);
        if node.is_folded() {
            let _ = write!(out, "<path class=\"box\" d=\"M3 {tall}v3h{NODE}v-{tall}h-3\"/>");
        }
        let _ = write!(out, "<rect class=\"box\" width=\"{NODE}\" height=\"{tall}\" rx=\"3\"/>");
        if tied {
            let _ = write!(out, "<rect class=\"sw\" width=\"{SWATCH}\" height=\"{tall}\" rx=\"3\"/>");
            let _ = write!(out, "<rect class=\"pat\" y=\"15\" width=\"{SWATCH}\" height=\"{}\"/>", tall - 15);
        }
        let small = if number.chars().count() > 3 { " small" } else { "" };
        let _ = write!(out, "<text class=\"num{small}\" x=\"11\" y=\"12\">{}</text>", Text(number));
        let name = format!("{:02x}:{:02x}.{}", at.bus, at.device(), at.function());
        let doubt = if self.seen.is_unsure(at) { "<tspan class=\"doubt\" dx=\"3\">?</tspan>" } else { "" };
        let _ = write!(out, "<text class=\"bdf\" x=\"{INSET}\" y=\"13\">{name}{doubt}</text>");
        let kind = match node.is_folded() {
            true => format!("{} functions", node.functions.len()),
            false if node.external => format!("{}, outside", node.kind),
            false => node.kind.to_owned(),
        };
        // What a bridge lacks has a line of its own. What another function lacks is worth more than what it is, which its
        // class tells too.
        let lines = [Some(("kind", kind.as_str())), node.lacks.as_deref().map(|lacks| ("lack", lacks))];
        let shown = if node.bridge || node.is_folded() {
            &lines[..]
        } else {
            &lines[usize::from(node.lacks.is_some())..]
        };
        for ((class, line), y) in shown.iter().flatten().zip([25, 37]) {
            let _ = write!(out, "<text class=\"{class}\" x=\"{INSET}\" y=\"{y}\">{}</text>", Text(line));
        }
        if self.differs(node) {
            let _ = write!(
                out,
                "<path class=\"badge\" d=\"M{NODE} -6l7 7-7 7-7-7z\"/><text class=\"not\" x=\"{NODE}\" y=\"4.5\">≠</text>"
            );
        }
        if node.below.is_empty() {
            let room = self.width().saturating_sub(x + NODE + 10);
            let most = (room as f32 / LETTER) as usize;
            let words = (self.subject.words)(node.first());
            let words = Words { name: brief(&words.name), ..words };
            let first = if words.name.is_empty() { words.class.clone() } else { words.name };
            let parts = match node.bridge {
                true => ["nothing below it", "", ""],
                false if node.is_folded() => [node.kind, &words.class, &words.driver],
                false => [&words.class, &words.driver, ""],
            };
            let parts = parts.into_iter().filter(|part| !part.is_empty() && *part != first);
            let second = parts.collect::<Vec<&str>>().join(" · ");
            let x = NODE + 9;
            let _ =
                write!(out, "<text class=\"name\" x=\"{x}\" y=\"13\">{}</text>", Text(&clip(&first, most)));
            if !second.is_empty() {
                // It is smaller, so more of it fits.
                let second = clip(&second, most * 11 / 10);
                let _ = write!(out, "<text class=\"sub\" x=\"{x}\" y=\"25\">{}</text>", Text(&second));
            }
        }
    }

    /// The number of its IOMMU, where that differs from that of what is above.
    fn served(&self, node: &Node, above: Above, out: &mut String) {
        let served = &self.subject.served;
        let known = match above {
            Above::Bus(unit) => unit,
            Above::Node(index) => served.get(&index).copied(),
        };
        if let Some(&unit) = served.get(&node.first()).filter(|&&unit| Some(unit) != known) {
            let _ = write!(
                out,
                "<circle class=\"unit\" cx=\"-6\" cy=\"{ANCHOR}\" r=\"5.5\"/><text class=\"unit\" x=\"-6\" y=\"18\">{unit}</text>"
            );
        }
    }

    fn differs(&self, node: &Node) -> bool {
        node.functions.iter().any(|&index| self.differ.contains(&self.at(index)))
    }

    /// A node in a sentence.
    fn label(&self, node: &Node, at: Bdf) -> String {
        let words = (self.subject.words)(node.first());
        let mut label = format!("{at}, {}", node.kind);
        if node.is_folded() {
            let last = node.functions.last().map_or(at, |&index| self.at(index));
            let _ = write!(label, ", {} functions up to {last}", node.functions.len());
        }
        if !words.name.is_empty() {
            let _ = write!(label, ", {}", clip(&words.name, 60));
        }
        let _ = match self.seen.group(at) {
            Some(group) if group.members.len() > 1 => {
                write!(label, ", group {} of {}", group.id, group.members.len())
            }
            Some(_) if node.is_folded() => write!(label, ", each alone in a group"),
            Some(group) => write!(label, ", alone in group {}", group.id),
            None => write!(label, ", no group"),
        };
        if let Some(lacks) = &node.lacks {
            let _ = write!(label, ", does not isolate: {lacks}");
        }
        if self.seen.is_unsure(at) {
            label.push_str(", unsure");
        }
        if self.differs(node) {
            label.push_str(", the policies differ");
        }
        label
    }

    /// What shows under a pointer where there is no script.
    fn hint(&self, node: &Node, at: Bdf) -> String {
        let reason = self.seen.reasons.get(&at).and_then(|reasons| reasons.first());
        reason.map_or_else(|| self.label(node, at), |reason| reason.to_string())
    }
}

/// The patterns that [`RULES`] name, as definitions.
pub fn patterns() -> &'static str {
    concat!(
        "<defs>\n",
        r#"<pattern id="p1" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path d="M0 0V5"/></pattern>"#,
        r#"<pattern id="p2" width="4" height="4" patternUnits="userSpaceOnUse"><circle cx="2" cy="2" r="1.1"/></pattern>"#,
        r#"<pattern id="p3" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)"><path d="M0 0V5"/></pattern>"#,
        r#"<pattern id="p4" width="4" height="4" patternUnits="userSpaceOnUse"><path d="M0 1H4"/></pattern>"#,
        r#"<pattern id="p5" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path d="M0 0V5M0 1H5"/></pattern>"#,
        "\n</defs>\n"
    )
}

/// Both views as one file, for documents.
#[cfg(test)]
pub fn figure(subject: &Subject<'_>) -> String {
    let roots = super::scene::roots(subject);
    let layout = super::layout::layout(&roots);
    let seen = super::view::both(subject, &roots);
    let differ = super::prose::differ(&seen);
    let drawings = seen.each_ref().map(|seen| Drawing {
        subject,
        seen,
        layout: &layout,
        differ: &differ,
        links: false,
        hints: false,
    });
    let (width, gap, top) = (drawings[0].width(), 24, 30);
    let tall: u32 = top + layout.pieces.iter().map(|piece| piece.height).sum::<u32>();
    let stacked = width * 2 + gap > FIGURE;
    let (all_wide, all_tall) = if stacked { (width, tall * 2) } else { (width * 2 + gap, tall) };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{all_wide}\" height=\"{all_tall}\" viewBox=\"0 0 {all_wide} {all_tall}\" role=\"img\">\n<title>{}</title>\n<style>\n{RULES}</style>\n{}<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n",
        Text(&subject.title),
        patterns()
    );
    for (number, drawing) in drawings.iter().enumerate() {
        let number = number as u32;
        let (x, y) = if stacked { (0, number * tall) } else { (number * (width + gap), 0) };
        let _ = writeln!(out, "<g transform=\"translate({x} {y})\">");
        let _ = writeln!(out, "<text class=\"policy\" x=\"2\" y=\"18\">{}</text>", Text(drawing.seen.name));
        let mut y = top;
        for piece in &layout.pieces {
            let _ = writeln!(out, "<g transform=\"translate(0 {y})\">");
            drawing.items(piece, &mut out);
            out.push_str("</g>\n");
            y += piece.height;
        }
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}
