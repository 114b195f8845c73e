//! How a run went: what was measured at each validation, and its CSV.

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
