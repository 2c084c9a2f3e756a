//! The states of a container as a small picture: drawn as SVG, sent as PNG.
//!
//! There are no words in it, so that it needs no fonts; what it shows is said beside it. Its bytes
//! follow from the states alone.

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};

use crate::clock::Timestamp;
use crate::event::State;
use crate::message::{States, Stretch};

/// What it measures, in CSS pixels.
pub(super) const SIZE: (u32, u32) = (560, 60);

/// How many dots a pixel has: it is sharp on a phone, and still a few KiB.
const SCALE: u16 = 2;

/// Where the stretches stand, and what the highest measures.
const GROUND: f32 = 50.0;
const HIGHEST: f32 = 36.0;

/// However short a stretch is, it can be seen.
const NARROWEST: f32 = 8.0;

/// What is before all that is known takes this much, in stripes of this width: nobody knows how long
/// it was.
const BEFORE: f32 = 28.0;
const STRIPE: f32 = 3.0;
const STRIPES: u8 = 5;

/// A colour that can be told from white and from the black of dark mode alike (WCAG 2.2, 1.4.11),
/// and how high the state stands: who cannot tell the colours sees the height.
pub(super) fn look(state: &State) -> (&'static str, f32) {
    match state {
        State::Crashed => ("#d32f2f", 1.0),
        State::Starved => ("#b8650f", 0.85),
        State::Running => ("#2e8b57", 0.6),
        State::Other(_) => ("#9a5cd0", 0.45),
        State::Creating
        | State::Scheduling
        | State::Starting
        | State::Stopping
        | State::Deleting => ("#4682b4", 0.35),
        State::Init | State::Stopped | State::Scheduled | State::Terminated | State::Deleted => {
            ("#808080", 0.2)
        }
    }
}

/// The PNG; `mark` is the colour of the line below while the alert fires, and of the arrow where it
/// began. `None` should it not be possible: a mail does well without.
pub(super) fn png(states: &States, mark: &str) -> Option<Vec<u8>> {
    let tree = Tree::from_str(&svg(states, mark), &Options::default()).ok()?;
    let (width, height) = SIZE;
    let mut pixmap = Pixmap::new(width * u32::from(SCALE), height * u32::from(SCALE))?;
    let scale = f32::from(SCALE);
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixmap.as_mut());
    pixmap.encode_png().ok()
}

fn svg(states: &States, mark: &str) -> String {
    let (width, height) = SIZE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         shape-rendering=\"crispEdges\">\n"
    );
    let places = places(&states.stretches);
    for (stretch, (x, width)) in states.stretches.iter().zip(&places) {
        let (colour, part) = look(&stretch.state);
        let height = HIGHEST * part;
        let y = GROUND - height;
        for (x, width) in bars(stretch, *x, *width) {
            svg.push_str(&format!(
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
                 fill=\"{colour}\"/>\n"
            ));
        }
    }
    if let Some((from, until)) = states.alert {
        let at = |at| x_of(at, &states.stretches, &places);
        // Of several states that began with it, it is the one that is said.
        let said = states.stretches.iter().zip(&places).find(|(it, _)| it.alert_began);
        let said = said.filter(|(it, _)| it.from == Some(from)).map(|(_, (x, _))| *x);
        let (from, until) = (said.unwrap_or_else(|| at(from)), at(until));
        let (line, arrow) = ((until - from).max(2.0), from.clamp(6.0, width as f32 - 6.0));
        let (left, right) = (arrow - 6.0, arrow + 6.0);
        svg.push_str(&format!(
            "<rect x=\"{from:.1}\" y=\"54\" width=\"{line:.1}\" height=\"4\" fill=\"{mark}\"/>\n\
             <path d=\"M{left:.1} 0 H{right:.1} L{arrow:.1} 10 Z\" fill=\"{mark}\"/>\n"
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

/// A stretch as bars: one, or stripes where nobody knows since when it was.
fn bars(stretch: &Stretch, x: f32, width: f32) -> Vec<(f32, f32)> {
    match stretch.from {
        Some(_) => vec![(x, (width - 1.0).max(1.0))],
        None => (0..STRIPES).map(|at| (x + f32::from(at) * 2.0 * STRIPE, STRIPE)).collect(),
    }
}

/// Where each stretch begins and how wide it is: by its length, once each has what it needs to be
/// seen.
fn places(stretches: &[Stretch]) -> Vec<(f32, f32)> {
    let seconds = |stretch: &Stretch| {
        stretch.from.map(|from| stretch.until.since(from).as_secs_f32().max(0.001))
    };
    let narrowest = NARROWEST.min(SIZE.0 as f32 / stretches.len().max(1) as f32);
    let least = |stretch: &Stretch| stretch.from.map_or(BEFORE.max(narrowest), |_| narrowest);
    let rest = SIZE.0 as f32 - stretches.iter().map(least).sum::<f32>();
    let all: f32 = stretches.iter().filter_map(seconds).sum();
    let mut x = 0.0;
    let place = |stretch: &Stretch| {
        let share = seconds(stretch).map_or(0.0, |seconds| seconds / all);
        let width = least(stretch) + rest.max(0.0) * share;
        x += width;
        (x - width, width)
    };
    stretches.iter().map(place).collect()
}

/// Where an instant is.
fn x_of(at: Timestamp, stretches: &[Stretch], places: &[(f32, f32)]) -> f32 {
    let mut x = 0.0;
    for (stretch, (start, width)) in stretches.iter().zip(places) {
        let before = stretch.from.is_some_and(|from| at < from);
        if before {
            break;
        }
        let length = stretch.from.map(|from| stretch.until.since(from).as_secs_f32());
        let part = match (stretch.from, length) {
            (Some(from), Some(length)) if length > 0.0 && at < stretch.until => {
                at.since(from).as_secs_f32() / length
            }
            (None, _) if at < stretch.until => 0.5,
            _ => 1.0,
        };
        x = start + width * part;
    }
    x.min(SIZE.0 as f32 - 2.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(minutes: u64) -> Timestamp {
        let start = Timestamp::parse("2015-11-20T14:00:00Z").unwrap();
        start.plus(Duration::from_secs(60 * minutes))
    }

    fn stretch(state: &str, from: Option<u64>, until: u64) -> Stretch {
        let state = State::named(state);
        Stretch {
            state,
            from: from.map(at),
            until: at(until),
            alert_began: false,
            line: String::new(),
        }
    }

    fn states(stretches: Vec<Stretch>, alert: Option<(u64, u64)>) -> States {
        let alert = alert.map(|(from, until)| (at(from), at(until)));
        States { heading: String::new(), stretches, alert }
    }

    /// The colour of a pixel, or `None` where it is transparent.
    fn pixel(png: &[u8], x: u32, y: u32) -> Option<String> {
        let pixmap = Pixmap::decode_png(png).unwrap();
        let scale = u32::from(SCALE);
        let colour = pixmap.pixel(x * scale, y * scale).unwrap().demultiply();
        let (red, green, blue) = (colour.red(), colour.green(), colour.blue());
        (colour.alpha() > 0).then(|| format!("#{red:02x}{green:02x}{blue:02x}"))
    }

    #[test]
    fn each_state_has_its_colour_and_the_alert_is_marked() {
        let stretches = vec![stretch("RUNNING", Some(0), 30), stretch("CRASHED", Some(30), 60)];
        let png = png(&states(stretches, Some((30, 60))), "#d32f2f").unwrap();
        assert_eq!(pixel(&png, 100, 45).as_deref(), Some("#2e8b57"));
        assert_eq!(pixel(&png, 100, 20), None, "what runs stands lower than what crashed");
        assert_eq!(pixel(&png, 400, 20).as_deref(), Some("#d32f2f"));
        assert_eq!((pixel(&png, 100, 56), pixel(&png, 300, 56)), (None, Some("#d32f2f".into())));
        assert_eq!(pixel(&png, 280, 3).as_deref(), Some("#d32f2f"), "the arrow");
    }

    #[test]
    fn of_states_that_began_in_one_instant_the_mark_is_at_the_one_in_which_the_alert_began() {
        let mut stretches = vec![stretch("RUNNING", Some(0), 30), stretch("CRASHED", Some(30), 30)];
        stretches[1].alert_began = true;
        stretches.push(stretch("STARTING", Some(30), 60));
        let crashed = places(&stretches)[1].0;
        let svg = svg(&states(stretches, Some((30, 60))), "#d32f2f");
        assert!(svg.contains(&format!("<rect x=\"{crashed:.1}\" y=\"54\"")), "{svg}");
    }

    #[test]
    fn what_was_before_all_that_is_known_is_striped_in_its_full_colour() {
        let stretches = vec![stretch("RUNNING", None, 30), stretch("CRASHED", Some(30), 60)];
        let png = png(&states(stretches, None), "#d32f2f").unwrap();
        let colours: Vec<_> = (0..28).map(|x| pixel(&png, x, 45)).collect();
        let striped = colours.chunks(3).map(|stripe| stripe[0].as_deref());
        let expected = [Some("#2e8b57"), None].into_iter().cycle().take(9);
        assert_eq!(striped.take(9).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        assert_eq!(pixel(&png, 30, 45).as_deref(), Some("#d32f2f"));
    }

    #[test]
    fn a_second_can_be_seen_beside_a_month() {
        let mut stretches = vec![stretch("RUNNING", Some(0), 43_200)];
        stretches.push(Stretch {
            until: at(43_200).plus(Duration::from_secs(1)),
            ..stretch("CRASHED", Some(43_200), 0)
        });
        let places = places(&stretches);
        assert!(places[1].1 >= NARROWEST, "{places:?}");
        assert!(places[0].1 > 500.0, "{places:?}");
    }

    #[test]
    fn it_is_full_to_the_right_edge_and_no_further_whatever_is_shown() {
        for stretches in [
            vec![stretch("RUNNING", None, 5)],
            vec![stretch("RUNNING", None, 0), stretch("CRASHED", Some(0), 0)],
            (0..100).map(|n| stretch("STARTING", Some(n), n + 1)).collect(),
        ] {
            let places = places(&stretches);
            let (x, width) = places.last().unwrap();
            assert!(x + width <= SIZE.0 as f32 + 0.5, "{places:?}");
            for from in [0, 3, 1_000] {
                let png = png(&states(stretches.clone(), Some((from, from))), "#d32f2f").unwrap();
                assert!(png.len() < 8_000, "{} bytes", png.len());
            }
        }
    }

    #[test]
    fn the_same_states_are_the_same_bytes() {
        let stretches = vec![stretch("RUNNING", None, 30), stretch("NAPPING", Some(30), 60)];
        let states = states(stretches, Some((30, 60)));
        assert_eq!(png(&states, "#d32f2f"), png(&states, "#d32f2f"));
    }

    #[test]
    fn every_colour_can_be_told_from_white_and_from_black() {
        let luminance = |colour: &str| {
            let part = |index| {
                let value = u8::from_str_radix(&colour[index..index + 2], 16).unwrap();
                let value = f64::from(value) / 255.0;
                if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
        };
        let states = State::KNOWN.into_iter().chain([State::named("NAPPING")]);
        let mut looks: Vec<(&str, f32)> = states.map(|state| look(&state)).collect();
        looks.sort_by(|one, other| one.0.cmp(other.0));
        looks.dedup();
        for (colour, _) in &looks {
            let colour = luminance(colour) + 0.05;
            assert!(1.05 / colour >= 3.0, "on white: {looks:?}");
            assert!(colour / (luminance("#121212") + 0.05) >= 3.0, "on black: {looks:?}");
        }
        let mut heights: Vec<f32> = looks.iter().map(|(_, height)| *height).collect();
        heights.sort_by(f32::total_cmp);
        heights.dedup();
        assert_eq!((looks.len(), heights.len()), (6, 6), "each has a height of its own");
    }
}
