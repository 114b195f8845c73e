//! Butterworth filters of order four, as two sections whose corner may move.

/// Damping `1 / Q` of the two sections: `2 sin(pi/8)` and `2 sin(3 pi/8)`.
const DAMPINGS: [f32; 2] = [0.765_366_9, 1.847_759_1];

/// Two state-variable sections in the trapezoidal form, which stays stable and free of clicks while its corner moves
/// (Zavalishin, "The Art of VA Filter Design", 2012, section 4). `warped` is `tan(pi corner / rate)`.
#[derive(Clone, Debug, Default)]
pub(super) struct Butterworth {
    sections: [Section; 2],
}

impl Butterworth {
    /// What lies above the corner.
    pub fn high_pass(&mut self, input: f32, warped: f32) -> f32 {
        let sections = self.sections.iter_mut().zip(DAMPINGS);
        sections.fold(input, |sample, (section, damping)| section.split(sample, warped, damping).high)
    }

    /// What lies below the corner.
    pub fn low_pass(&mut self, input: f32, warped: f32) -> f32 {
        let sections = self.sections.iter_mut().zip(DAMPINGS);
        sections.fold(input, |sample, (section, damping)| section.split(sample, warped, damping).low)
    }
}

#[derive(Clone, Debug, Default)]
struct Section {
    states: [f32; 2],
}

struct Split {
    high: f32,
    low: f32,
}

impl Section {
    fn split(&mut self, input: f32, warped: f32, damping: f32) -> Split {
        let [first, second] = self.states;
        let high = (input - (warped + damping) * first - second) / (1.0 + warped * (warped + damping));
        let band = warped * high + first;
        let low = warped * band + second;
        self.states = [warped * high + band, warped * band + low];
        Split { high, low }
    }
}
