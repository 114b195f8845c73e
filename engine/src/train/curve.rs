//! How a run went: what was measured at each validation, and its CSV.

/// What a step's batch was worth before it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Losses {
    /// Bits of a sample, or of a bin of an envelope.
    pub(crate) bits: f32,
    pub(crate) confusion_accuracy: f32,
    /// Mean square of octaves that the pitch guessed from the latent is off.
    pub(crate) pitch_error: f32,
    pub(crate) spectrum_distance: f32,
    pub(crate) perplexity: f32,
    /// Bits that a Gaussian latent says beyond a standard one, of a bin of an envelope.
    pub(crate) divergence: f32,
    /// The critic's own loss.
    pub(crate) critic: f32,
}

impl Losses {
    /// How many there are.
    pub(crate) const COUNT: usize = 7;

    /// All of them, to be averaged.
    pub(crate) fn values(self) -> [f32; Self::COUNT] {
        [
            self.bits,
            self.confusion_accuracy,
            self.pitch_error,
            self.spectrum_distance,
            self.perplexity,
            self.divergence,
            self.critic,
        ]
    }

    /// The other way round.
    pub(crate) fn from_values(values: [f32; Self::COUNT]) -> Self {
        let [bits, confusion_accuracy, pitch_error, spectrum_distance, perplexity, divergence, critic] =
            values;
        Self { bits, confusion_accuracy, pitch_error, spectrum_distance, perplexity, divergence, critic }
    }
}

/// One line of the curve.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Point {
    pub(crate) step: u64,
    /// Means over the steps since the line before.
    pub(crate) train: Losses,
    pub(crate) validation_bits: f32,
    pub(crate) tritone_bits: f32,
    pub(crate) wrong_singer_bits: f32,
    pub(crate) samples_per_second: f32,
}

/// Columns of the CSV.
pub(crate) const CSV_HEADER: &str = "step,train_bits,validation_bits,tritone_bits,wrong_singer_bits,confusion_accuracy,pitch_error,spectrum_distance,perplexity,divergence,critic,samples_per_second";

impl Point {
    pub(crate) fn csv(&self) -> String {
        format!(
            "{},{:.4},{:.4},{:.4},{:.4},{:.4},{:.4},{:.4},{:.2},{:.4},{:.3e},{:.0}",
            self.step,
            self.train.bits,
            self.validation_bits,
            self.tritone_bits,
            self.wrong_singer_bits,
            self.train.confusion_accuracy,
            self.train.pitch_error,
            self.train.spectrum_distance,
            self.train.perplexity,
            self.train.divergence,
            self.train.critic,
            self.samples_per_second
        )
    }

    /// Reads a line that [`Point::csv`] wrote.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (step, rest) = line.split_once(',')?;
        let mut values = rest.split(',').map(|text| text.parse::<f32>().ok());
        let mut next = || values.next().flatten();
        let step = step.parse().ok()?;
        let bits = next()?;
        let (validation_bits, tritone_bits, wrong_singer_bits) = (next()?, next()?, next()?);
        let train = Losses {
            bits,
            confusion_accuracy: next()?,
            pitch_error: next()?,
            spectrum_distance: next()?,
            perplexity: next()?,
            divergence: next()?,
            critic: next()?,
        };
        let samples_per_second = next()?;
        Some(Self { step, train, validation_bits, tritone_bits, wrong_singer_bits, samples_per_second })
    }
}
