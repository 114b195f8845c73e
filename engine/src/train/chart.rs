//! The loss curve as a picture. Without text: fonts are not to be counted on; the CSV beside it has the figures.

use std::path::Path;

use plotters::prelude::*;

/// One line of the curve.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Point {
    pub(crate) step: u64,
    pub(crate) train_bits: f32,
    pub(crate) validation_bits: f32,
    pub(crate) tritone_bits: f32,
    pub(crate) wrong_singer_bits: f32,
    pub(crate) confusion_accuracy: f32,
    pub(crate) pitch_error: f32,
    pub(crate) spectrum_distance: f32,
    pub(crate) perplexity: f32,
    pub(crate) divergence: f32,
    pub(crate) critic: f32,
    pub(crate) samples_per_second: f32,
}

/// Columns of the CSV.
pub(crate) const CSV_HEADER: &str = "step,train_bits,validation_bits,tritone_bits,wrong_singer_bits,confusion_accuracy,pitch_error,spectrum_distance,perplexity,divergence,critic,samples_per_second";

impl Point {
    pub(crate) fn csv(&self) -> String {
        format!(
            "{},{:.4},{:.4},{:.4},{:.4},{:.4},{:.4},{:.4},{:.2},{:.4},{:.3e},{:.0}",
            self.step,
            self.train_bits,
            self.validation_bits,
            self.tritone_bits,
            self.wrong_singer_bits,
            self.confusion_accuracy,
            self.pitch_error,
            self.spectrum_distance,
            self.perplexity,
            self.divergence,
            self.critic,
            self.samples_per_second
        )
    }

    /// Reads a line that [`Point::csv`] wrote.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (step, rest) = line.split_once(',')?;
        let mut values = rest.split(',').map(|text| text.parse::<f32>().ok());
        let mut next = || values.next().flatten();
        Some(Self {
            step: step.parse().ok()?,
            train_bits: next()?,
            validation_bits: next()?,
            tritone_bits: next()?,
            wrong_singer_bits: next()?,
            confusion_accuracy: next()?,
            pitch_error: next()?,
            spectrum_distance: next()?,
            perplexity: next()?,
            divergence: next()?,
            critic: next()?,
            samples_per_second: next()?,
        })
    }
}

/// Draws training bits (grey), validation bits (blue) and the tritone test (red, own axis from 0 to 2 bits).
pub(crate) fn draw(path: &Path, points: &[Point]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let Some(last) = points.last() else { return Ok(()) };
    let losses = points.iter().flat_map(|point| [point.train_bits, point.validation_bits]);
    let (low, high) = losses
        .filter(|bits| bits.is_finite())
        .fold((f32::MAX, f32::MIN), |(low, high), bits| (low.min(bits), high.max(bits)));
    if low >= high {
        return Ok(());
    }
    let root = BitMapBackend::new(path, (960, 540)).into_drawing_area();
    root.fill(&WHITE)?;
    let margin = 0.05 * (high - low);
    let area = root.margin(20, 20, 20, 20).apply_coord_spec(Cartesian2d::<
        plotters::coord::types::RangedCoordf32,
        plotters::coord::types::RangedCoordf32,
    >::new(
        0f32..last.step as f32,
        low - margin..high + margin,
        (0..920, 0..500),
    ));
    let line = |value: fn(&Point) -> f32| points.iter().map(move |point| (point.step as f32, value(point)));
    // One grey line for every tenth of a bit.
    for tenth in (low * 10.0).ceil() as i32..=(high * 10.0).floor() as i32 {
        let bits = tenth as f32 / 10.0;
        area.draw(&PathElement::new(vec![(0.0, bits), (last.step as f32, bits)], RGBColor(230, 230, 230)))?;
    }
    area.draw(&PathElement::new(
        line(|point| point.train_bits).collect::<Vec<_>>(),
        RGBColor(150, 150, 150),
    ))?;
    area.draw(&PathElement::new(
        line(|point| point.validation_bits).collect::<Vec<_>>(),
        BLUE.stroke_width(2),
    ))?;
    let scaled = points
        .iter()
        .map(|point| (point.step as f32, low + (high - low) * (point.tritone_bits / 2.0).clamp(0.0, 1.0)));
    area.draw(&PathElement::new(scaled.collect::<Vec<_>>(), RED.stroke_width(2)))?;
    root.present()?;
    Ok(())
}
