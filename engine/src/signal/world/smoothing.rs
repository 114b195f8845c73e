//! Spectra made smooth over a width that follows the fundamental.

/// Smooths spectra of one size.
pub struct Smoother {
    /// Running sums of a spectrum that is continued by its mirror images.
    sums: Vec<f64>,
}

impl Smoother {
    pub fn new(bins: usize) -> Self {
        Self { sums: vec![0.0; 3 * bins] }
    }

    /// Moving average over `width_bins`, a fraction of bins included; beyond its ends the spectrum goes on as its mirror
    /// image.
    pub fn smooth(&mut self, spectrum: &mut [f64], width_bins: f64) {
        let last = spectrum.len() - 1;
        let width = width_bins.clamp(1e-3, last as f64 - 1.0);
        let margin = width as usize + 1;
        let sums = &mut self.sums[..last + 2 * margin + 1];
        let mut sum = 0.0;
        for (k, slot) in sums.iter_mut().enumerate() {
            let bin = k.abs_diff(margin);
            sum += spectrum[if bin > last { 2 * last - bin } else { bin }];
            *slot = sum;
        }
        // A bin's power is spread evenly from half a bin before it to half a bin after.
        let integral = |bin: f64| {
            let position = bin + margin as f64 - 0.5;
            let below = position as usize;
            let above = (below + 1).min(sums.len() - 1);
            sums[below] + (position - below as f64) * (sums[above] - sums[below])
        };
        for (i, value) in spectrum.iter_mut().enumerate() {
            let bin = i as f64;
            *value = (integral(bin + 0.5 * width) - integral(bin - 0.5 * width)) / width;
        }
    }

    /// Fills what is missing below the fundamental: adds to each bin up to it what lies as far below the fundamental as
    /// the bin lies above 0 Hz.
    pub fn fill_low(&mut self, spectrum: &mut [f64], f0_bins: f64) {
        let count = (f0_bins as usize + 1).min(spectrum.len() - 1);
        let mirrored = &mut self.sums[..count];
        for (i, slot) in mirrored.iter_mut().enumerate() {
            let position = (f0_bins - i as f64).max(0.0);
            let below = (position as usize).min(spectrum.len() - 2);
            *slot = spectrum[below] + (position - below as f64) * (spectrum[below + 1] - spectrum[below]);
        }
        spectrum.iter_mut().zip(mirrored).for_each(|(value, image)| *value += *image);
    }
}
