//! F0 moved from where the take sings to where the singer does, by the mean and the spread of its logarithm.
//!
//! The log-Gaussian map of statistical voice conversion: `ln f' = m_singer + s_singer / s_take (ln f - m_take)`. It is made
//! for speech: intervals come out as much wider or narrower as the two spreads differ.

/// Hops that what is assumed of a take counts for, until more is known.
const ASSUMED_HOPS: f64 = 100.0;

/// Mean and standard deviation of `ln F0`, F0 in Hz.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogF0 {
    /// Mean.
    pub mean: f32,
    /// Standard deviation.
    pub deviation: f32,
}

/// The map, with what is known of the take so far. The first note is taken for its mean, the singer's spread for its own.
#[derive(Clone, Debug, Default)]
pub struct F0Map {
    hops: f64,
    sum: f64,
    squares: f64,
}

impl F0Map {
    /// Back to knowing nothing.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// The singer's F0 in Hz for a voiced hop of the take, which then counts among those that are known.
    pub fn map(&mut self, f0_hz: f32, singer: LogF0) -> f32 {
        let log = libm::log(f64::from(f0_hz));
        let (mean, deviation) = (f64::from(singer.mean), f64::from(singer.deviation).max(0.01));
        if self.hops == 0.0 {
            self.hops = ASSUMED_HOPS;
            self.sum = ASSUMED_HOPS * log;
            self.squares = ASSUMED_HOPS * (log * log + deviation * deviation);
        }
        self.hops += 1.0;
        self.sum += log;
        self.squares += log * log;
        let take_mean = self.sum / self.hops;
        let take_deviation = (self.squares / self.hops - take_mean * take_mean).max(1e-4).sqrt();
        libm::exp(mean + deviation / take_deviation * (log - take_mean)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_take_comes_to_the_singers_mean_and_spread() {
        let singer = LogF0 { mean: 300f32.ln(), deviation: 0.2 };
        let mut map = F0Map::default();
        assert!((map.map(110.0, singer) - 300.0).abs() < 1.0);
        map.reset();
        // Two notes, 0.1 around their mean.
        let take = |hop: usize| 150.0 * if hop.is_multiple_of(2) { 0.1f32.exp() } else { (-0.1f32).exp() };
        let mapped: Vec<f32> = (0..20_000).map(|hop| map.map(take(hop), singer)).collect();
        let (high, low) = (mapped[19_998], mapped[19_999]);
        assert!((high / low).ln() / 0.4 > 0.97 && (high / low).ln() / 0.4 < 1.01, "{high} and {low}");
        assert!((high * low).sqrt() > 297.0 && (high * low).sqrt() < 303.0);
    }
}
