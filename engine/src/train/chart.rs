//! A page that shows how a run goes: a panel for each loss, and the previews to be heard. It loads itself anew while it is open.

use std::fmt::Write;

use super::curve::Point;
use crate::page::{END, address, begin, escape};

const WIDTH: f32 = 420.0;
const HEIGHT: f32 = 150.0;
/// Space inside a panel, around its lines.
const MARGIN: f32 = 8.0;

/// Not while a preview plays.
const LOAD_ANEW: &str = "<script>setInterval(() => { \
    if ([...document.querySelectorAll('audio')].every(sound => sound.paused)) location.reload(); }, 30000);</script>\n";

/// A figure over the steps.
struct Line {
    colour: &'static str,
    value: fn(&Point) -> f32,
}

/// Lines that share their axes.
struct Panel {
    title: &'static str,
    lines: &'static [Line],
}

const fn line(colour: &'static str, value: fn(&Point) -> f32) -> Line {
    Line { colour, value }
}

const BLUE: &str = "#2060c0";
const GREY: &str = "#999";

/// What is shown, if the run has it.
const PANELS: [Panel; 10] = [
    Panel {
        title: "bits, in training (grey) and held out (blue)",
        lines: &[line(GREY, |point| point.train.bits), line(BLUE, |point| point.validation_bits)],
    },
    Panel { title: "bits that F0 a tritone off costs", lines: &[line(BLUE, |point| point.tritone_bits)] },
    Panel { title: "bits that another singer costs", lines: &[line(BLUE, |point| point.wrong_singer_bits)] },
    Panel {
        title: "share of singers guessed from the latent",
        lines: &[line(BLUE, |point| point.train.confusion_accuracy)],
    },
    Panel {
        title: "pitch guessed from the latent, square octaves off",
        lines: &[line(BLUE, |point| point.train.pitch_error)],
    },
    Panel {
        title: "expected spectrum, half nepers off",
        lines: &[line(BLUE, |point| point.train.spectrum_distance)],
    },
    Panel { title: "codes in even use", lines: &[line(BLUE, |point| point.train.perplexity)] },
    Panel { title: "divergence of the latent, bits", lines: &[line(BLUE, |point| point.train.divergence)] },
    Panel { title: "the critic's loss", lines: &[line(BLUE, |point| point.train.critic)] },
    Panel { title: "samples trained on in a second", lines: &[line(BLUE, |point| point.samples_per_second)] },
];

/// The page of a run named `name`, that is to take `steps`. `previews` are sounds beside the page.
pub(crate) fn page(name: &str, steps: u64, points: &[Point], previews: &[String]) -> String {
    let done = points.last().map_or(0, |point| point.step);
    let mut page = begin(name, &format!("{name}: step {done} of {steps}"));
    for panel in &PANELS {
        page += &drawn(panel, points).unwrap_or_default();
    }
    if !previews.is_empty() {
        page += "<h2>Held-out phrases, sung by the bank as it is</h2>\n";
    }
    for preview in previews {
        let _ = writeln!(
            page,
            "<article><span>{}</span><audio controls preload=\"none\" src=\"{}\"></audio></article>",
            escape(preview),
            address(preview)
        );
    }
    page + LOAD_ANEW + END
}

/// A panel with its newest figures; none if the run has no such thing.
fn drawn(panel: &Panel, points: &[Point]) -> Option<String> {
    let values = || panel.lines.iter().flat_map(|line| points.iter().map(line.value));
    let (low, high) = values()
        .filter(|value| value.is_finite())
        .fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(value), high.max(value)));
    if low > high || (low, high) == (0.0, 0.0) {
        return None;
    }
    let last_step = points.last()?.step.max(1) as f32;
    let x = |step: u64| MARGIN + (WIDTH - 2.0 * MARGIN) * step as f32 / last_step;
    let y = |value: f32| HEIGHT - MARGIN - (HEIGHT - 2.0 * MARGIN) * (value - low) / (high - low).max(1e-9);
    let mut text = format!("<article><span>{}</span>", panel.title);
    for line in panel.lines {
        let newest = points.last().map_or(f32::NAN, line.value);
        let _ = write!(text, "<span style=\"color: {}\">{}</span>", line.colour, shown(newest));
    }
    let _ = write!(text, "<small>{} to {}</small>", shown(low), shown(high));
    let _ = write!(text, "<svg width=\"{WIDTH}\" height=\"{HEIGHT}\">");
    for line in panel.lines {
        let known = points.iter().map(|point| (point.step, (line.value)(point)));
        let places: Vec<String> = known
            .filter(|(_, value)| value.is_finite())
            .map(|(step, value)| format!("{:.1},{:.1}", x(step), y(value)))
            .collect();
        let _ = write!(
            text,
            "<polyline fill=\"none\" stroke=\"{0}\" stroke-width=\"1.5\" points=\"{1}\"/>",
            line.colour,
            places.join(" ")
        );
        // One point alone makes no line.
        if let Some((place_x, place_y)) = places.last().and_then(|place| place.split_once(',')) {
            let _ = write!(
                text,
                "<circle cx=\"{place_x}\" cy=\"{place_y}\" r=\"2.5\" fill=\"{}\"/>",
                line.colour
            );
        }
    }
    Some(text + "</svg></article>\n")
}

/// A figure in four digits or so.
fn shown(value: f32) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 0.01 || size == 0.0 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::curve::Losses;

    fn points() -> Vec<Point> {
        let point = |step: u64, bits: f32| Point {
            step,
            train: Losses { bits, confusion_accuracy: 0.25, ..Losses::default() },
            validation_bits: bits + 0.5,
            samples_per_second: 12_345.0,
            ..Point::default()
        };
        vec![point(100, 4.0), point(200, 3.0)]
    }

    #[test]
    fn what_a_run_has_is_shown_and_what_it_has_not_is_left_out() {
        let page = page("a <run>", 400, &points(), &["previews/a#1_as_b.wav".into()]);
        assert!(page.contains("a &lt;run&gt;: step 200 of 400"));
        assert_eq!(page.matches("<svg").count(), 3);
        for title in ["held out", "guessed from the latent", "in a second"] {
            assert!(page.contains(title), "{title}");
        }
        assert!(!page.contains("codes in even use"));
        assert!(page.contains("src=\"previews/a%231_as_b.wav\""));
    }

    #[test]
    fn lines_go_from_the_first_step_to_the_last_within_the_panel() {
        let text = drawn(&PANELS[0], &points()).unwrap();
        // Training bits fall from 4 to 3, held-out bits from 4.5 to 3.5: the axis is 3 to 4.5.
        let (middle, right) = (MARGIN + 0.5 * (WIDTH - 2.0 * MARGIN), WIDTH - MARGIN);
        let third = (HEIGHT - 2.0 * MARGIN) / 3.0;
        let training = format!("{middle:.1},{:.1} {right:.1},{:.1}", MARGIN + third, HEIGHT - MARGIN);
        assert!(text.contains(&training), "{text} has no {training}");
        assert!(text.contains("3.500") && text.contains("<small>3.000 to 4.500</small>"), "{text}");
    }

    #[test]
    fn what_is_no_number_is_no_place() {
        let mut points = points();
        points[1].validation_bits = f32::NAN;
        let text = page("run", 2, &points, &[]);
        assert!(text.contains("NaN") && !text.contains(",NaN"));
        assert!(!page("run", 2, &[], &[]).contains("<svg"));
    }
}
