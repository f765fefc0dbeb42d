//! Latency over load as an SVG picture, both axes logarithmic.

use std::fmt::Write as _;

use crate::curve::{Curves, Point};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// From a value to a place on its axis.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    /// Whole powers of ten around `values`.
    fn around(values: impl Iterator<Item = f64> + Clone, start: f64, end: f64) -> Self {
        let from = values.clone().fold(f64::INFINITY, f64::min).max(1e-6).log10().floor();
        let to = values.fold(f64::NEG_INFINITY, f64::max).max(1e-5).log10().ceil();
        Self { from, to: to.max(from + 1.0), start, end }
    }
    fn place(&self, value: f64) -> f64 {
        let share = (value.max(1e-6).log10() - self.from) / (self.to - self.from);
        self.start + share * (self.end - self.start)
    }
    fn powers(&self) -> impl Iterator<Item = f64> + use<> {
        ((self.from as i32)..=(self.to as i32)).map(|n| 10_f64.powi(n))
    }
}

/// The picture.
pub fn svg(title: &str, curves: &Curves) -> String {
    let points = || curves.gateway.iter().chain(&curves.floor);
    let x = Axis::around(points().map(|p| p.rate), LEFT, WIDTH - RIGHT);
    let y = Axis::around(points().flat_map(|p| [p.p50_ms, p.p99_ms]), HEIGHT - BOTTOM, TOP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{title}</text>\n"
    );
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for value in x.powers() {
        let at = x.place(value);
        let _ = writeln!(
            out,
            "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value}</text>",
            bottom + 18.0
        );
    }
    for value in y.powers() {
        let at = y.place(value);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">requests per second</text>\n\
         <text transform=\"translate(18 {:.1}) rotate(-90)\" text-anchor=\"middle\">latency, ms</text>",
        f64::midpoint(LEFT, right),
        HEIGHT - 10.0,
        f64::midpoint(TOP, bottom)
    );
    let p50: fn(&Point) -> f64 = |p| p.p50_ms;
    let p99: fn(&Point) -> f64 = |p| p.p99_ms;
    let lines = [
        ("gateway p99", &curves.gateway, p99, "#c0392b", ""),
        ("gateway p50", &curves.gateway, p50, "#c0392b", "5 4"),
        ("floor p99", &curves.floor, p99, "#7f8c8d", ""),
        ("floor p50", &curves.floor, p50, "#7f8c8d", "5 4"),
    ];
    for (n, (name, points, value, colour, dash)) in lines.into_iter().enumerate().filter(|(_, l)| !l.1.is_empty()) {
        let path: Vec<String> =
            points.iter().map(|p| format!("{:.1},{:.1}", x.place(p.rate), y.place(value(p)))).collect();
        let style = format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"");
        let row = TOP + 10.0 + 20.0 * n as f64;
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" {style}/>\n<path d=\"M{:.1} {row:.1}h24\" {style}/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
            path.join(" "),
            right + 12.0,
            right + 42.0,
            row + 4.0
        );
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_within_the_picture() {
        let point = |rate: f64, ms: f64| Point { rate, p50_ms: ms, p99_ms: 10.0 * ms };
        let curves = Curves { gateway: vec![point(1000.0, 0.05), point(64_000.0, 0.4)], floor: vec![] };
        let picture = svg("health", &curves);
        assert!(picture.contains("gateway p99") && !picture.contains("floor p99"));
        let points = picture.split("points=\"").nth(1).and_then(|p| p.split('"').next()).unwrap();
        for point in points.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            assert!((LEFT..=WIDTH - RIGHT).contains(&x.parse().unwrap()), "{point}");
            assert!((TOP..=HEIGHT - BOTTOM).contains(&y.parse().unwrap()), "{point}");
        }
    }
}
