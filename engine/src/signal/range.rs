//! Where in the scale a take lies.

use super::f0::{MAX_F0_HZ, MIN_F0_HZ};

/// Resolution of the median: a tenth of a semitone.
const BINS_PER_OCTAVE: f32 = 120.0;
/// Bins from the lowest to the highest F0 there is.
const BINS: usize = 540;

/// Counts of the F0 of voiced hops.
pub struct PitchRange {
    counts: Box<[u32; BINS]>,
    voiced_hops: u32,
}

impl Default for PitchRange {
    fn default() -> Self {
        Self { counts: Box::new([0; BINS]), voiced_hops: 0 }
    }
}

impl PitchRange {
    /// Counts a voiced hop.
    pub fn add(&mut self, f0_hz: f32) {
        let bin = BINS_PER_OCTAVE * libm::log2f(f0_hz.clamp(MIN_F0_HZ, MAX_F0_HZ) / MIN_F0_HZ);
        let bin = (bin as usize).min(BINS - 1);
        self.counts[bin] = self.counts[bin].saturating_add(1);
        self.voiced_hops = self.voiced_hops.saturating_add(1);
    }

    /// Back to no hops.
    pub fn reset(&mut self) {
        self.counts.fill(0);
        self.voiced_hops = 0;
    }

    /// Median F0 in Hz, to a tenth of a semitone; none before there are voiced hops.
    pub fn median_f0_hz(&self) -> Option<f32> {
        let mut left = self.voiced_hops / 2;
        let bin = self.counts.iter().position(|count| {
            let here = left < *count;
            left -= left.min(*count);
            here
        })?;
        Some(MIN_F0_HZ * libm::exp2f((bin as f32 + 0.5) / BINS_PER_OCTAVE))
    }
}

/// The whole octaves, in semitones, that bring a take of one median F0 nearest to a singer of another. In a song with
/// other instruments nothing else keeps the key.
pub fn octaves_between(take_f0_hz: f32, singer_f0_hz: f32) -> f32 {
    // Plus zero, since minus zero would be shown as such.
    12.0 * libm::log2f(singer_f0_hz / take_f0_hz).round() + 0.0
}

/// The whole semitones that bring a take of one median F0 nearest to a singer of another: another key.
pub fn semitones_between(take_f0_hz: f32, singer_f0_hz: f32) -> f32 {
    (12.0 * libm::log2f(singer_f0_hz / take_f0_hz)).round() + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_that_of_the_sorted_pitches() {
        let mut range = PitchRange::default();
        assert_eq!(range.median_f0_hz(), None);
        let mut pitches: Vec<f32> = (0..401).map(|n| 80.0 + ((n * 193) % 401) as f32).collect();
        pitches.iter().for_each(|f0_hz| range.add(*f0_hz));
        pitches.sort_by(f32::total_cmp);
        let cents = 1200.0 * (range.median_f0_hz().unwrap() / pitches[200]).log2();
        assert!(cents.abs() <= 5.1, "{cents}");
        range.reset();
        assert_eq!(range.median_f0_hz(), None);
        for f0_hz in [1.0, 5_000.0, 5_000.0] {
            range.add(f0_hz);
        }
        assert!((range.median_f0_hz().unwrap() / MAX_F0_HZ - 1.0).abs() < 0.005);
    }

    #[test]
    fn a_woman_comes_down_to_a_man_by_an_octave_and_he_stays_where_he_is() {
        assert_eq!(octaves_between(330.0, 150.0), -12.0);
        assert_eq!(octaves_between(150.0, 180.0), 0.0);
        assert!(octaves_between(200.0, 180.0).is_sign_positive());
        assert_eq!(octaves_between(110.0, 440.0), 24.0);
        assert_eq!(semitones_between(330.0, 165.0), -12.0);
        assert_eq!(semitones_between(220.0, 247.0), 2.0);
    }
}
