//! A take and its conversion, one above the other: spectrograms with the F0 line on them.

use std::path::Path;

use plotters::prelude::*;
use realfft::RealFftPlanner;

use super::glyphs::write_text;
use super::melody;
use crate::error::{ChoreError, Result};

const WIDTH: u32 = 1200;
const PANEL_HEIGHT: u32 = 300;
const LEFT: u32 = 60;
const GAP: u32 = 30;
/// The frequency axis is logarithmic, so that the melody is as easy to see as the formants.
const BOTTOM_HZ: f64 = 60.0;
const TOP_HZ: f64 = 8000.0;
const LABELS: [(&str, f64); 6] = [
    ("125 HZ", 125.0),
    ("250 HZ", 250.0),
    ("500 HZ", 500.0),
    ("1 KHZ", 1000.0),
    ("2 KHZ", 2000.0),
    ("4 KHZ", 4000.0),
];
const WINDOW_SECONDS: f64 = 0.04;
/// Darkest level below the loudest, in dB.
const RANGE_DB: f32 = 75.0;
const F0_COLOUR: RGBColor = RGBColor(90, 220, 255);

/// Draws `take` above `sung`, both mono at the same rate, into a PNG file.
pub fn draw(path: &Path, sample_rate_hz: u32, take: &[f32], sung: &[f32]) -> Result<()> {
    let size = (WIDTH, 2 * (PANEL_HEIGHT + GAP));
    let area = BitMapBackend::new(path, size).into_drawing_area();
    let failed = |e: &dyn std::fmt::Display| ChoreError::Picture { path: path.into(), reason: e.to_string() };
    area.fill(&WHITE).map_err(|e| failed(&e))?;
    for (index, (title, sound)) in [("TAKE", take), ("SUNG", sung)].into_iter().enumerate() {
        let top = index as u32 * (PANEL_HEIGHT + GAP);
        let panel = area.clone().shrink((LEFT, top + GAP / 2), (WIDTH - LEFT - GAP, PANEL_HEIGHT));
        draw_spectrogram(&panel, sample_rate_hz, sound).map_err(|e| failed(&e))?;
        draw_f0(&panel, sample_rate_hz, sound).map_err(|e| failed(&e))?;
        let labels = area.clone().shrink((0, top), (WIDTH, PANEL_HEIGHT + GAP));
        draw_axes(&labels, title, sound.len() as f64 / f64::from(sample_rate_hz)).map_err(|e| failed(&e))?;
    }
    area.present().map_err(|e| failed(&e))
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;
type Drawn<'a> =
    std::result::Result<(), DrawingAreaErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw_spectrogram<'a>(panel: &Area<'a>, sample_rate_hz: u32, sound: &[f32]) -> Drawn<'a> {
    let (width, height) = panel.dim_in_pixel();
    let window = ((f64::from(sample_rate_hz) * WINDOW_SECONDS) as usize).next_multiple_of(2).max(2);
    let hann: Vec<f32> =
        (0..window).map(|i| 0.5 - 0.5 * (std::f32::consts::TAU * i as f32 / window as f32).cos()).collect();
    let transform = RealFftPlanner::<f32>::new().plan_fft_forward(window);
    let (mut input, mut spectrum) = (transform.make_input_vec(), transform.make_output_vec());
    let bin_of_row = |y: u32| {
        let hz = BOTTOM_HZ * (TOP_HZ / BOTTOM_HZ).powf(1.0 - (f64::from(y) + 0.5) / f64::from(height));
        (hz / f64::from(sample_rate_hz) * window as f64).round() as usize
    };
    for x in 0..width {
        let start = (sound.len() as f64 * f64::from(x) / f64::from(width)) as isize - window as isize / 2;
        for (i, (slot, weight)) in input.iter_mut().zip(&hann).enumerate() {
            let sample = usize::try_from(start + i as isize).ok().and_then(|at| sound.get(at));
            *slot = weight * sample.copied().unwrap_or(0.0);
        }
        // The lengths fit by construction; a failed column would only stay dark.
        if transform.process(&mut input, &mut spectrum).is_err() {
            continue;
        }
        for y in 0..height {
            let power = spectrum.get(bin_of_row(y)).map_or(0.0, |c| c.norm_sqr());
            // A full-scale sine has the power (window / 4)^2 under a Hann window.
            let level_db = 10.0 * (16.0 * power / (window * window) as f32 + 1e-12).log10();
            panel.draw_pixel((x as i32, y as i32), &heat((level_db + RANGE_DB + 10.0) / RANGE_DB))?;
        }
    }
    Ok(())
}

fn draw_f0<'a>(panel: &Area<'a>, sample_rate_hz: u32, sound: &[f32]) -> Drawn<'a> {
    let (width, height) = panel.dim_in_pixel();
    let f0_hz = melody::f0_hz(sample_rate_hz, sound);
    let seconds = sound.len() as f64 / f64::from(sample_rate_hz);
    let mut line: Vec<(i32, i32)> = Vec::new();
    let style = F0_COLOUR.stroke_width(2);
    for (index, f0) in f0_hz.iter().enumerate() {
        if let Some(hz) = *f0 {
            let time = (index as f64 + 0.5) * melody::HOP_SECONDS;
            let x = time / seconds * f64::from(width);
            line.push((x as i32, row_of(hz, height) as i32));
        }
        if f0.is_none() || index + 1 == f0_hz.len() {
            panel.draw(&PathElement::new(std::mem::take(&mut line), style))?;
        }
    }
    Ok(())
}

fn draw_axes<'a>(area: &Area<'a>, title: &str, seconds: f64) -> Drawn<'a> {
    let top = (GAP / 2) as i32;
    write_text(area, (2, top), title)?;
    for (label, hz) in LABELS {
        let y = top + row_of(hz, PANEL_HEIGHT) as i32;
        write_text(area, (4, y - 4), label)?;
        area.draw(&PathElement::new(vec![(LEFT as i32 - 5, y), (LEFT as i32, y)], BLACK))?;
    }
    let plot_width = f64::from(WIDTH - LEFT - GAP);
    let bottom = top + PANEL_HEIGHT as i32;
    for second in 0..=seconds as i32 {
        let x = LEFT as i32 + (plot_width * f64::from(second) / seconds.max(1e-9)) as i32;
        area.draw(&PathElement::new(vec![(x, bottom), (x, bottom + 3)], BLACK))?;
        write_text(area, (x - 3, bottom + 5), &second.to_string())?;
    }
    Ok(())
}

/// Where a frequency lies, in pixels from the panel's top.
fn row_of(hz: f64, height: u32) -> f64 {
    (TOP_HZ / hz.clamp(BOTTOM_HZ, TOP_HZ)).ln() / (TOP_HZ / BOTTOM_HZ).ln() * f64::from(height)
}

/// Black over purple and orange to white, for 0 to 1.
fn heat(level: f32) -> RGBColor {
    const STOPS: [[f32; 3]; 5] = [
        [0.0, 0.0, 8.0],
        [70.0, 15.0, 110.0],
        [190.0, 55.0, 85.0],
        [250.0, 150.0, 40.0],
        [255.0, 250.0, 220.0],
    ];
    let place = level.clamp(0.0, 1.0) * (STOPS.len() - 1) as f32;
    let below = (place as usize).min(STOPS.len() - 2);
    let share = place - below as f32;
    let mixed = |i: usize| (STOPS[below][i] * (1.0 - share) + STOPS[below + 1][i] * share) as u8;
    RGBColor(mixed(0), mixed(1), mixed(2))
}

#[cfg(test)]
mod tests {
    use falsetto_tests::take::sung;

    #[test]
    fn a_picture_is_written_without_any_font() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.png");
        let take = sung(48_000, 3.0, 1);
        super::draw(&path, 48_000, &take, &vec![0.0; take.len()]).expect("a picture");
        let bytes = std::fs::read(&path).expect("the picture");
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 10_000, "{} bytes", bytes.len());
        if let Some(keep) = std::env::var_os("KEEP") {
            std::fs::copy(&path, keep).expect("kept");
        }
    }
}
