//! Plots: lines over a logarithmic axis, as an SVG that reads well in light and dark.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 520.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 322.0;

/// Colours that people who see few tell apart, on white and on black; the shapes of points differ too.
const STYLE: &str = "\
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --soft: #57606a; --grid: #d8dee4; }
.s0 { --c: #0072b2; } .s1 { --c: #b34700; } .s2 { --c: #00785a; } .s3 { --c: #a8447c; } .s4 { --c: #8a6100; }
.s5 { --c: #6639ba; } .s6 { --c: #57606a; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171c; --ink: #e6e9ed; --soft: #a2abb5; --grid: #30363d; }
  .s0 { --c: #56b4e9; } .s1 { --c: #ff8f4a; } .s2 { --c: #2fd3a5; } .s3 { --c: #e79cc4; } .s4 { --c: #f0c14b; }
  .s5 { --c: #c9a5ff; } .s6 { --c: #a2abb5; }
}
.paper { fill: var(--paper); }
svg text { font: 12px system-ui, \"Segoe UI\", \"DejaVu Sans\", sans-serif; fill: var(--ink); }
svg .title { font-size: 14px; font-weight: 600; }
svg .tick { font-size: 11px; fill: var(--soft); }
.grid { stroke: var(--grid); stroke-width: 1; }
.axis { stroke: var(--soft); stroke-width: 1; }
.line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; }
.point { fill: var(--c); stroke: var(--paper); stroke-width: 1; }
";
const COLOURS: usize = 7;

/// A line and what it is called.
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// What is drawn. The x axis is logarithmic.
pub struct Plot {
    pub title: String,
    pub x: String,
    pub y: String,
    /// Whether the y axis is logarithmic; otherwise it begins at zero.
    pub log: bool,
    pub series: Vec<Series>,
}

/// From where to where an axis goes, and where it has marks.
struct Axis {
    from: f64,
    to: f64,
    log: bool,
    marks: Vec<f64>,
}

impl Axis {
    fn linear(most: f64) -> Self {
        let rough = (most / 6.0).max(f64::MIN_POSITIVE);
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        let count = (most / step).ceil().max(1.0) as u32;
        let marks = (0..=count).map(|n| f64::from(n) * step).collect();
        Self { from: 0.0, to: f64::from(count) * step, log: false, marks }
    }

    /// Whole powers of ten, or, where there are fewer than two of them, 1, 2 and 5 of each.
    fn logarithmic(least: f64, most: f64) -> Self {
        let narrow = most / least < 100.0;
        let digits: &[f64] = if narrow { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let powers = (least.log10().floor() as i32)..=(most.log10().ceil() as i32);
        let all = powers.flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)));
        let all: Vec<f64> = all.collect();
        // From the last mark that nothing is below to the first one that nothing is above.
        let first = all.iter().rposition(|mark| *mark <= least * 1.0001).unwrap_or(0);
        let last = all.iter().position(|mark| *mark >= most * 0.9999).unwrap_or(all.len() - 1).max(first + 1);
        let marks = all[first..=last.min(all.len() - 1)].to_vec();
        Self { from: marks[0], to: marks[marks.len() - 1], log: true, marks }
    }

    /// Where a value is, between `low` and `high` on the paper.
    fn place(&self, value: f64, low: f64, high: f64) -> f64 {
        let scale = |value: f64| if self.log { value.log10() } else { value };
        let part = (scale(value) - scale(self.from)) / (scale(self.to) - scale(self.from));
        low + part * (high - low)
    }
}

/// As few characters as will do.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e6 => (value / 1e6, " M"),
        value if value >= 1e3 => (value / 1e3, " k"),
        value => (value, ""),
    };
    let text = format!("{value:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A mark of its own for each series.
fn point(kind: usize, x: f64, y: f64) -> String {
    match kind % 4 {
        0 => format!("<circle class=\"point\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"),
        1 => format!("<path class=\"point\" d=\"M{:.1} {:.1}h7v7h-7z\"/>", x - 3.5, y - 3.5),
        2 => format!("<path class=\"point\" d=\"M{x:.1} {:.1}l4.5 8h-9z\"/>", y - 5.0),
        _ => format!("<path class=\"point\" d=\"M{x:.1} {:.1}l5 5l-5 5l-5 -5z\"/>", y - 5.0),
    }
}

impl Plot {
    /// The text of the SVG. A plot without points is none.
    pub fn svg(&self) -> Option<String> {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let most = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(f64::NEG_INFINITY, f64::max);
        let least = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(f64::INFINITY, f64::min);
        if all().next().is_none()
            || least(|point| point.0) <= 0.0
            || self.log && least(|point| point.1) <= 0.0
        {
            return None;
        }
        let x = Axis::logarithmic(least(|point| point.0), most(|point| point.0));
        let y = if self.log {
            Axis::logarithmic(least(|point| point.1), most(|point| point.1))
        } else {
            Axis::linear(most(|point| point.1))
        };
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"24\">{}</text>\n",
            escaped(&self.title),
            escaped(&self.title)
        );
        for mark in &y.marks {
            let at = y.place(*mark, BOTTOM, TOP);
            let _ = writeln!(
                text,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                at + 4.0,
                short(*mark)
            );
        }
        for mark in &x.marks {
            let at = x.place(*mark, LEFT, RIGHT);
            let _ = writeln!(
                text,
                "<path class=\"axis\" d=\"M{at:.1} {BOTTOM}v5\"/><text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{}</text>",
                BOTTOM + 19.0,
                short(*mark)
            );
        }
        let _ = writeln!(text, "<path class=\"axis\" d=\"M{LEFT} {BOTTOM}H{RIGHT}\"/>");
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            (LEFT + RIGHT) / 2.0,
            BOTTOM + 44.0,
            escaped(&self.x)
        );
        let middle = (TOP + BOTTOM) / 2.0;
        let _ = writeln!(
            text,
            "<text x=\"18\" y=\"{middle:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {middle:.1})\">{}</text>",
            escaped(&self.y)
        );
        for (number, series) in self.series.iter().enumerate() {
            let on_paper =
                |point: &(f64, f64)| (x.place(point.0, LEFT, RIGHT), y.place(point.1, BOTTOM, TOP));
            let points: Vec<(f64, f64)> = series.points.iter().map(on_paper).collect();
            let line: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let marks: String = points.iter().map(|(x, y)| point(number, *x, *y)).collect();
            let _ = writeln!(
                text,
                "<g class=\"s{}\"><polyline class=\"line\" points=\"{}\"/>{marks}</g>",
                number % COLOURS,
                line.join(" ")
            );
        }
        // The names beside it, in the order in which the lines end.
        let last = |series: &&Series| series.points.last().map_or(0.0, |point| point.1);
        let mut order: Vec<(usize, &Series)> = self.series.iter().enumerate().collect();
        order.sort_by(|(_, one), (_, other)| last(other).total_cmp(&last(one)));
        for (place, (number, series)) in order.into_iter().enumerate() {
            let at = TOP + 10.0 + 22.0 * place as f64;
            let _ = writeln!(
                text,
                "<g class=\"s{}\"><path class=\"line\" d=\"M{:.1} {at:.1}h24\"/>{}</g><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                number % COLOURS,
                RIGHT + 16.0,
                point(number, RIGHT + 28.0, at),
                RIGHT + 48.0,
                at + 4.0,
                escaped(&series.name)
            );
        }
        Some(text + "</svg>\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(log: bool, points: &[(f64, f64)]) -> Plot {
        let series = |name: &str| Series { name: name.into(), points: points.to_vec() };
        let (title, x, y) = ("Title".into(), "so many".into(), "ns <each>".into());
        Plot { title, x, y, log, series: vec![series("one & two"), series("three")] }
    }

    #[test]
    fn a_value_is_where_its_axis_has_it() {
        let svg = plot(false, &[(1.0, 0.0), (100.0, 60.0), (10_000.0, 30.0)]).svg().unwrap();
        // A hundred is half of four decades; the axis ends at 60.
        let middle = (LEFT + RIGHT) / 2.0;
        let half = (TOP + BOTTOM) / 2.0;
        let line = format!("points=\"{LEFT:.1},{BOTTOM:.1} {middle:.1},{TOP:.1} {RIGHT:.1},{half:.1}\"");
        assert_eq!(svg.matches(&line).count(), 2, "{line} in {svg}");
        for text in ["one &amp; two", "ns &lt;each&gt;", "so many", ">10 k<", ">60<"] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn a_logarithmic_axis_has_marks_of_its_width() {
        assert_eq!(Axis::logarithmic(1.0, 16.0).marks, [1.0, 2.0, 5.0, 10.0, 20.0]);
        assert_eq!(Axis::logarithmic(1.0, 1e7).marks.len(), 8);
        assert_eq!(Axis::logarithmic(0.7, 2000.0).marks, [0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        assert_eq!(Axis::logarithmic(3.0, 3.0).marks, [2.0, 5.0]);
        assert_eq!(Axis::linear(57.0).marks, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
    }

    #[test]
    fn what_cannot_be_drawn_is_not() {
        assert!(plot(false, &[]).svg().is_none());
        assert!(plot(true, &[(1.0, 0.0)]).svg().is_none());
        assert!(plot(false, &[(0.0, 1.0)]).svg().is_none());
        assert!(plot(false, &[(1.0, 0.0)]).svg().is_some());
    }
}
