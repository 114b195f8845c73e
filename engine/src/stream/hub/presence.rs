//! The fade between the worker's sound and the dry signal where results are missing.

/// Counts how present the worker's sound is, sample by sample, so that the fade depends on which positions were late and on
/// nothing else.
///
/// Nobody knows that a result will be late before it is, so what fades out is the last sound turned round in time: it
/// joins without a step and has the right spectrum for the few milliseconds of the fade.
pub(super) struct Presence {
    /// 0 is dry, `fade_samples` is the worker's sound untouched.
    level: usize,
    /// Weights of wet and dry at each level; sine and cosine, so that the power of the sum stays.
    weights: Box<[(f32, f32)]>,
    /// The last `fade_samples` of the worker's sound, as a ring.
    history: Box<[f32]>,
    newest: usize,
    /// Samples missing without a break.
    missing: usize,
}

const FADE_MS: usize = 5;

impl Presence {
    pub fn new(host_rate_hz: u32) -> Self {
        let fade_samples = (host_rate_hz as usize * FADE_MS / 1000).max(1);
        let weights = (0..=fade_samples)
            .map(|level| {
                let angle = level as f64 / fade_samples as f64 * std::f64::consts::FRAC_PI_2;
                (libm::sin(angle) as f32, libm::cos(angle) as f32)
            })
            .collect();
        let history = vec![0.0; fade_samples].into();
        Self { level: fade_samples, weights, history, newest: 0, missing: 0 }
    }

    /// As new: the sound is there, and silent so far.
    pub fn reset(&mut self) {
        self.level = self.history.len();
        self.history.fill(0.0);
        self.newest = 0;
        self.missing = 0;
    }

    /// Samples that are there: fades in where there was a gap.
    pub fn present(&mut self, wet: &mut [f32], dry_share: &mut [f32]) {
        self.missing = 0;
        for (wet, share) in wet.iter_mut().zip(dry_share) {
            self.newest = if self.newest + 1 == self.history.len() { 0 } else { self.newest + 1 };
            self.history[self.newest] = *wet;
            if self.level == self.history.len() {
                *share = 0.0;
            } else {
                self.level += 1;
                if self.level < self.history.len() {
                    let (wet_weight, dry_weight) = self.weights[self.level];
                    *wet *= wet_weight;
                    *share = dry_weight;
                } else {
                    *share = 0.0;
                }
            }
        }
    }

    /// Samples that are missing: fades the last sound out, mirrored.
    pub fn absent(&mut self, wet: &mut [f32], dry_share: &mut [f32]) {
        let length = self.history.len();
        for (wet, share) in wet.iter_mut().zip(dry_share) {
            self.level = self.level.saturating_sub(1);
            if self.level == 0 {
                *wet = 0.0;
                *share = 1.0;
            } else {
                let (wet_weight, dry_weight) = self.weights[self.level];
                let back = self.missing % length;
                *wet = self.history[(self.newest + length - back) % length] * wet_weight;
                *share = dry_weight;
            }
            self.missing += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_passes_bit_for_bit() {
        let mut presence = Presence::new(48_000);
        let mut wet: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin()).collect();
        let before = wet.clone();
        let mut share = vec![9.0; 1000];
        presence.present(&mut wet, &mut share);
        assert_eq!(wet, before);
        assert!(share.iter().all(|&share| share == 0.0));
    }

    #[test]
    fn a_gap_fades_with_equal_power_and_without_a_step() {
        let mut presence = Presence::new(48_000);
        let mut wet = vec![1.0; 480];
        let mut share = vec![0.0; 480];
        presence.present(&mut wet, &mut share);
        let (mut out, mut dry) = (vec![0.0; 600], vec![0.0; 600]);
        presence.absent(&mut out, &mut dry);
        for (wet, dry) in out.iter().zip(&dry) {
            assert!((wet * wet + dry * dry - 1.0).abs() < 1e-5);
        }
        assert!(1.0 - out[0] < 1e-3 && out[599] == 0.0 && dry[599] == 1.0);
        let (mut wet, mut share) = (vec![1.0; 600], vec![0.0; 600]);
        presence.present(&mut wet, &mut share);
        for (wet, dry) in wet.iter().zip(&share) {
            assert!((wet * wet + dry * dry - 1.0).abs() < 1e-5);
        }
        assert_eq!((wet[599], share[599]), (1.0, 0.0));
    }
}
