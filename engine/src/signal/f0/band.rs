//! The part of the spectrum that tells the pitch, at about 16 kHz whatever the rate of the take.

/// Upper edge of what is kept, in Hz.
const CUTOFF_HZ: f64 = 3_000.0;
/// Half the length of the low-pass filter, in seconds: its delay.
const HALF_LENGTH_SECONDS: f64 = 0.000_5;
/// Lower edge, in Hz: hum and rumble lie below.
const HIGH_PASS_HZ: f64 = 45.0;

/// High-pass (second order), low-pass (symmetric) and decimation by a whole number.
pub(super) struct Band {
    rate_hz: f64,
    decimation: usize,
    taps: Vec<f32>,
    recent: Vec<f32>,
    samples_in: usize,
    kept: Vec<f32>,
    kept_end: usize,
    high_pass: HighPass,
}

impl Band {
    /// A band that keeps at least `kept_samples` of the take's newest samples, in decimated form.
    pub(super) fn new(sample_rate_hz: u32, kept_samples: usize) -> Self {
        let rate = f64::from(sample_rate_hz);
        let decimation = (rate / 16_000.0).floor().max(1.0) as usize;
        let half = (HALF_LENGTH_SECONDS * rate).round() as i64;
        let cutoff = CUTOFF_HZ.min(0.4 * rate) / rate;
        let mut taps: Vec<f64> = (-half..=half)
            .map(|i| {
                let t = i as f64;
                let sinc = if i == 0 {
                    2.0 * cutoff
                } else {
                    libm::sin(std::f64::consts::TAU * cutoff * t) / (std::f64::consts::PI * t)
                };
                sinc * (0.5 + 0.5 * libm::cos(std::f64::consts::PI * t / (half + 1) as f64))
            })
            .collect();
        let sum: f64 = taps.iter().sum();
        taps.iter_mut().for_each(|tap| *tap /= sum);
        let rate_hz = rate / decimation as f64;
        Self {
            rate_hz,
            decimation,
            recent: vec![0.0; taps.len()],
            taps: taps.iter().map(|tap| *tap as f32).collect(),
            samples_in: 0,
            kept: vec![0.0; kept_samples / decimation + 2],
            kept_end: 0,
            high_pass: HighPass::new(HIGH_PASS_HZ / rate),
        }
    }

    /// Rate of what [`around`](Self::around) returns.
    pub(super) fn rate_hz(&self) -> f64 {
        self.rate_hz
    }

    pub(super) fn decimation(&self) -> usize {
        self.decimation
    }

    /// Delay of the low-pass, in samples of the take: sample `j` of the band needs sample `j * decimation + delay`.
    pub(super) fn delay_samples(&self) -> usize {
        self.taps.len() / 2
    }

    pub(super) fn reset(&mut self) {
        self.recent.fill(0.0);
        self.samples_in = 0;
        self.kept.fill(0.0);
        self.kept_end = 0;
        self.high_pass = HighPass { state: [0.0; 2], ..self.high_pass };
    }

    /// Takes the next samples of the take.
    pub(super) fn push(&mut self, samples: &[f32]) {
        let delay = self.delay_samples();
        let ready = |samples_in: usize| samples_in.saturating_sub(delay).div_ceil(self.decimation);
        let new = ready(self.samples_in + samples.len()) - ready(self.samples_in);
        self.kept.copy_within(new.., 0);
        let mut slot = self.kept.len() - new;
        for sample in samples {
            self.recent.copy_within(1.., 0);
            let last = self.recent.len() - 1;
            self.recent[last] = self.high_pass.next(*sample);
            if self.samples_in >= delay && (self.samples_in - delay).is_multiple_of(self.decimation) {
                self.kept[slot] = crate::signal::dot(&self.taps, &self.recent);
                slot += 1;
            }
            self.samples_in += 1;
        }
        self.kept_end += new;
    }

    /// The `2 * half_span` samples around sample `centre` of the decimated stream; zeros lie before its start. The window
    /// must not reach beyond what has been pushed, nor further back than was asked for.
    pub(super) fn around(&self, centre: usize, half_span: usize) -> &[f32] {
        let start = self.kept.len() + centre - half_span - self.kept_end;
        &self.kept[start..start + 2 * half_span]
    }
}

/// Butterworth high-pass of second order, transposed direct form II, in double precision against its own noise.
#[derive(Clone, Copy)]
struct HighPass {
    b0: f64,
    a1: f64,
    a2: f64,
    state: [f64; 2],
}

impl HighPass {
    fn new(cutoff: f64) -> Self {
        let k = libm::tan(std::f64::consts::PI * cutoff);
        let norm = 1.0 / (1.0 + std::f64::consts::SQRT_2 * k + k * k);
        Self {
            b0: norm,
            a1: 2.0 * (k * k - 1.0) * norm,
            a2: (1.0 - std::f64::consts::SQRT_2 * k + k * k) * norm,
            state: [0.0; 2],
        }
    }

    fn next(&mut self, sample: f32) -> f32 {
        let x = f64::from(sample) * self.b0;
        let y = x + self.state[0];
        self.state[0] = self.state[1] - 2.0 * x - self.a1 * y;
        self.state[1] = x - self.a2 * y;
        y as f32
    }
}
