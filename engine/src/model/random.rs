//! Random numbers of the trainer: a stream for each (seed, purpose), so that step n of a resumed run draws what step
//! n of an unbroken run draws.

/// A SplitMix64 generator (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators").
pub(crate) struct Generator {
    state: u64,
}

impl Generator {
    /// The stream number `stream` of `seed`.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut generator = Self { state: seed };
        generator.state ^= generator.next().wrapping_add(stream.wrapping_mul(0xD1B5_4A32_D192_ED03));
        generator.next();
        generator
    }

    /// The next 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Uniform in [low, high).
    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// Uniform integer below `bound` (at least 1; the bias of the multiplication is below 2^-32 for our bounds).
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (((self.next() >> 32) * bound as u64) >> 32) as usize
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f32) -> bool {
        self.uniform() < probability
    }

    /// A whole number whose mean is `expected`: rounded down, or up with the probability that its fraction says.
    pub(crate) fn count(&mut self, expected: f32) -> usize {
        expected as usize + usize::from(self.chance(expected.fract()))
    }

    /// Standard normal (Box-Muller).
    pub(crate) fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - f64::from(self.uniform())).ln()).sqrt();
        let angle = std::f64::consts::TAU * f64::from(self.uniform());
        (radius * angle.cos()) as f32
    }
}
