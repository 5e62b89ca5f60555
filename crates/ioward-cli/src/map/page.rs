//! The page as a whole.

use super::{
    Subject,
    escape::Text,
    layout,
    prose::{self, Prose, swatch},
    scene,
    styles::{COLOURS, PATTERNS, Style},
    svg::{self, Drawing, RULES},
    view,
};
use std::fmt::Write as _;

const SHEET: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// The digest of [`SCRIPT`] as the page's policy names it: nothing but this script runs. A test holds it.
const SCRIPT_DIGEST: &str = include_str!("page.js.sha256");
/// Machines of more functions than this have no texts under the pointer: the drawing has them twice, once a policy.
const MOST_HINTS: usize = 2000;

/// A page that needs nothing else: no request leaves it.
pub fn page(subject: &Subject<'_>) -> String {
    let topology = subject.topology;
    let roots = scene::roots(subject);
    let layout = layout::layout(&roots);
    let seen = view::both(subject, &roots);
    let differ = prose::differ(&seen);
    let prose = Prose { subject, seen: &seen };
    let title = Text(&subject.title).to_string();
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>IOMMU groups of {title}</title>\n<style>\n{RULES}{SHEET}</style>\n</head>\n<body>\n",
        SCRIPT_DIGEST.trim()
    );
    let functions = topology.functions().len();
    let counts = seen.each_ref().map(|seen| seen.grouping.groups.len());
    let _ = writeln!(
        out,
        "<svg width=\"0\" height=\"0\" aria-hidden=\"true\" class=\"patterns\">{}</svg>\n\
         <header>\n<h1>IOMMU groups of {title}</h1>\n\
         <p>{functions} functions: {} groups under <b>{}</b>, {} under <b>{}</b>.</p>\n</header>",
        svg::patterns(),
        counts[0],
        subject.views[0].name,
        counts[1],
        subject.views[1].name,
    );
    out.push_str("<section class=\"found\" aria-label=\"Findings\">\n");
    prose.findings(&mut out);
    out.push_str("</section>\n");
    controls(subject, &mut out);
    out.push_str("<a class=\"to-signs\" href=\"#signs\">What the signs mean</a>\n<main class=\"views\">\n");
    for (seen, what) in seen.iter().zip(WHAT) {
        let _ = writeln!(
            out,
            "<section class=\"view {0}\" aria-label=\"{0}\">\n<h2>{0} <small>{what}</small></h2>\n\
             <div class=\"scroll\" role=\"tree\" aria-label=\"Fabric with the groups of {0}\" data-view=\"{0}\">",
            seen.name
        );
        let drawing = Drawing {
            subject,
            seen,
            layout: &layout,
            differ: &differ,
            links: true,
            hints: functions <= MOST_HINTS,
        };
        layout.pieces.iter().for_each(|piece| out.push_str(&drawing.piece(piece)));
        out.push_str("</div>\n</section>\n");
    }
    out.push_str("</main>\n");
    legend(subject, &mut out);
    out.push_str("<h2>Groups, and why</h2>\n<div class=\"both\">\n");
    seen.iter().for_each(|seen| prose.groups(seen, &mut out));
    out.push_str("</div>\n<details class=\"entries\"><summary>Every function</summary>\n");
    (0..functions).for_each(|index| prose.entry(index, &mut out));
    let _ = write!(
        out,
        "</details>\n<footer>Drawn by ioward {}.</footer>\n\
         <aside id=\"panel\" hidden aria-live=\"polite\" aria-label=\"The chosen function\"></aside>\n\
         <script>{SCRIPT}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    );
    out
}

/// What the policies are, in a few words.
const WHAT: [&str; 2] = ["what the kernel computes", "what ports let through, by the specification"];

/// The switch between the policies, which needs no script, and the search, which does.
fn controls(subject: &Subject<'_>, out: &mut String) {
    for (number, view) in subject.views.iter().enumerate() {
        let checked = if number == 0 { " checked" } else { "" };
        let _ = writeln!(
            out,
            "<input type=\"radio\" name=\"view\" id=\"show-{0}\" class=\"switch\"{checked}><label for=\"show-{0}\">{0}</label>",
            view.name
        );
    }
    out.push_str(
        "<form id=\"find\" role=\"search\" hidden><label>Find <input type=\"search\" placeholder=\"address, name, driver\" autocomplete=\"off\"></label> <output></output></form>\n",
    );
}

/// What the signs mean.
fn legend(subject: &Subject<'_>, out: &mut String) {
    out.push_str("<section class=\"legend\" id=\"signs\">\n<h2>Signs</h2>\n<ul>\n<li>");
    for number in 0..COLOURS {
        out.push_str(&swatch(Style { colour: number, pattern: number % PATTERNS }));
    }
    out.push_str(
        " A colour with a pattern is a group of two or more; the number is the group's. What is not coloured is alone in its group.</li>\n\
         <li>A thick line is a bus. What stands on it can be one port away from each other. A dashed line leads to virtual functions.</li>\n\
         <li><b class=\"bad\">RR UF off</b>, <b class=\"bad\">no ACS</b>: what a port or function lacks to send its neighbours' requests up to the IOMMU: source validation (SV), request redirect (RR), completion redirect (CR), upstream forwarding (UF). Where it is bold, it ties a group.</li>\n\
         <li><b class=\"differs\">≠</b> The two policies disagree about its companions.</li>\n\
         <li><b class=\"bad\">?</b> with a dashed outline: unsure, since something could not be read or was assumed.</li>\n\
         <li>A node with a second edge stands for several functions that nothing tells apart; ×12 are twelve groups of one.</li>\n",
    );
    for (number, name) in subject.iommus.iter().enumerate() {
        let _ = writeln!(
            out,
            "<li>({number}) in a circle: from here on served by IOMMU {number}, {}.</li>",
            Text(name)
        );
    }
    out.push_str(
        "<li class=\"keys\"><kbd>↑</kbd> <kbd>↓</kbd> go through the drawing, <kbd>←</kbd> to what is above, <kbd>→</kbd> to what is below, <kbd>g</kbd> to the next of the group, <kbd>/</kbd> finds, <kbd>Esc</kbd> closes.</li>\n\
         </ul>\n</section>\n",
    );
}
