//! What a singer sounds like on average, register by register: the tensor `singers.timbre`.

/// The singers' mean frames, `[singers, REGISTERS, bands]`.
pub(crate) const TIMBRE: &str = "singers.timbre";

/// Registers of a quarter of an octave each; the first is around C2, the last around E flat 6.
pub(crate) const REGISTERS: usize = 18;

const FIRST_REGISTER_HZ: f32 = 65.4;
const REGISTERS_PER_OCTAVE: f32 = 4.0;

/// Where F0 lies among the registers, from 0 to `REGISTERS - 1`.
pub(crate) fn register_of(f0_hz: f32) -> f32 {
    let register = libm::log2f(f0_hz / FIRST_REGISTER_HZ) * REGISTERS_PER_OCTAVE;
    // Not `clamp`: no number is the lowest.
    register.max(0.0).min((REGISTERS - 1) as f32)
}

/// Writes the mean frame at this F0, between those of the registers on either side, of one singer's
/// `[REGISTERS, bands]`.
pub(crate) fn mean_frame(timbre: &[f32], f0_hz: f32, frame: &mut [f32]) {
    let register = register_of(f0_hz);
    let below = (register as usize).min(REGISTERS - 2);
    let share = register - below as f32;
    let rows = timbre[below * frame.len()..].chunks_exact(frame.len());
    let mut rows = rows.take(2);
    let (Some(low), Some(high)) = (rows.next(), rows.next()) else { return };
    for ((value, low), high) in frame.iter_mut().zip(low).zip(high) {
        *value = low + share * (high - low);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_registers_lies_the_mean_of_both_and_beyond_the_last_the_last() {
        let bands = 3;
        let timbre: Vec<f32> =
            (0..REGISTERS * bands).map(|at| (at / bands) as f32 + (at % bands) as f32 * 100.0).collect();
        let at = |f0_hz: f32| {
            let mut frame = vec![f32::NAN; bands];
            mean_frame(&timbre, f0_hz, &mut frame);
            frame
        };
        let near = |frame: Vec<f32>, register: f32| {
            frame
                .iter()
                .enumerate()
                .all(|(band, value)| (value - register - band as f32 * 100.0).abs() < 1e-3)
        };
        assert!(near(at(130.8), 4.0));
        assert!(near(at(130.8 * 2f32.powf(0.125)), 4.5));
        assert!(near(at(20.0), 0.0) && near(at(0.0), 0.0) && near(at(f32::NAN), 0.0));
        assert!(near(at(9_000.0), 17.0) && near(at(f32::INFINITY), 17.0));
    }
}
