//! What the corpus's singers sound like on average, register by register.

use crate::voice::{REGISTERS, register_of};

/// Weight of a frame in a register this far off falls by a factor of `exp(-1/2)`: two semitones.
const SPREAD_REGISTERS: f32 = 0.67;
/// So much of every frame counts in every register, less the further off it lies, so that one where nobody sang has the mean
/// of its neighbours.
const FAR_WEIGHT: f32 = 1e-5;

/// Mean frames `[REGISTERS, bands]` of one singer.
pub(crate) struct MeanFrames {
    bands: usize,
    sums: Vec<f64>,
    weights: [f64; REGISTERS],
}

impl MeanFrames {
    pub(crate) fn new(bands: usize) -> Self {
        Self { bands, sums: vec![0.0; REGISTERS * bands], weights: [0.0; REGISTERS] }
    }

    /// Takes in a voiced frame at this F0.
    pub(crate) fn add(&mut self, f0_hz: f32, frame: &[f32]) {
        let at = register_of(f0_hz);
        for (register, sums) in self.sums.chunks_exact_mut(self.bands).enumerate() {
            let off = (at - register as f32).abs();
            let near = (-0.5 * (off / SPREAD_REGISTERS).powi(2)).exp();
            let weight = f64::from(near + FAR_WEIGHT * (-off).exp());
            self.weights[register] += weight;
            sums.iter_mut().zip(frame).for_each(|(sum, value)| *sum += weight * f64::from(*value));
        }
    }

    /// The means; `otherwise` if there was no frame at all.
    pub(crate) fn finish(self, otherwise: &[f32]) -> Vec<f32> {
        let rows = self.sums.chunks_exact(self.bands).zip(self.weights);
        rows.flat_map(|(sums, weight)| {
            let mean = move |(sum, otherwise): (&f64, &f32)| {
                if weight > 0.0 { (sum / weight) as f32 } else { *otherwise }
            };
            sums.iter().zip(otherwise).map(mean)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_register_has_the_mean_of_its_own_frames_and_an_empty_one_that_of_its_neighbours() {
        let mut means = MeanFrames::new(2);
        for _ in 0..50 {
            means.add(130.8, &[1.0, -1.0]); // register 4
            means.add(261.6, &[3.0, 5.0]); // register 8
        }
        let timbre = means.finish(&[9.0, 9.0]);
        let at = |register: usize| &timbre[2 * register..][..2];
        let near = |found: &[f32], wanted: [f32; 2]| {
            found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 0.01)
        };
        assert!(near(at(4), [1.0, -1.0]) && near(at(8), [3.0, 5.0]), "{timbre:?}");
        assert!(near(at(6), [2.0, 2.0]), "{:?}", at(6));
        assert!(at(17)[0] > 2.9 && at(0)[0] < 1.1, "{timbre:?}");
        assert_eq!(MeanFrames::new(2).finish(&[9.0, 7.0]), [9.0, 7.0].repeat(REGISTERS));
    }
}
