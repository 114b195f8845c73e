use std::f64::consts::TAU;

use super::*;

/// A voice whose F0 at a time in seconds is `f0_hz(t)`: harmonics `first..` up to 4 kHz, falling by 1/k.
fn voice(rate: u32, seconds: f64, first: usize, f0_hz: impl Fn(f64) -> f64) -> Vec<f32> {
    let mut phase = 0.0;
    (0..(seconds * f64::from(rate)) as usize)
        .map(|t| {
            let f0 = f0_hz(t as f64 / f64::from(rate));
            phase += f0 / f64::from(rate);
            let top = (4_000f64.min(0.45 * f64::from(rate)) / f0) as usize;
            (first..=top.max(first)).map(|k| (TAU * phase * k as f64).sin() / k as f64).sum::<f64>() as f32
                * 0.2
        })
        .collect()
}

fn noise(samples: usize, amplitude: f32) -> Vec<f32> {
    let mut state = 0x1234_5678_9abc_def0u64;
    (0..samples)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            amplitude * ((state >> 40) as f32 / 8_388_608.0 - 1.0)
        })
        .collect()
}

fn track(rate: u32, hop: usize, sound: &[f32]) -> Vec<Pitch> {
    let mut tracker = F0Tracker::new(rate, hop, PATIENT_DECISION_MS);
    let mut padded = sound.to_vec();
    padded.truncate(sound.len() / hop * hop);
    let hops = padded.len() / hop;
    padded.resize((hops + tracker.look_ahead_hops()) * hop, 0.0);
    let pitches: Vec<Pitch> = padded.chunks_exact(hop).filter_map(|hop| tracker.push(hop)).collect();
    assert_eq!(pitches.len(), hops);
    pitches
}

/// Largest error in cents over the voiced hops between `skip` hops from either end, and the share of unvoiced ones.
fn errors(pitches: &[Pitch], rate: u32, hop: usize, skip: usize, f0_hz: impl Fn(f64) -> f64) -> (f64, f64) {
    let inner = skip..pitches.len() - skip;
    let count = inner.len() as f64;
    let (mut worst, mut unvoiced) = (0.0f64, 0.0);
    for f in inner {
        let expected = f0_hz((f as f64 + 0.5) * hop as f64 / f64::from(rate));
        if pitches[f].voiced {
            worst = worst.max((1_200.0 * (f64::from(pitches[f].f0_hz) / expected).log2()).abs());
        } else {
            unvoiced += 1.0;
        }
    }
    (worst, unvoiced / count)
}

#[test]
fn steady_tones_over_the_whole_range_at_every_rate_and_hop() {
    for (rate, hop) in [
        (16_000, 160),
        (8_000, 80),
        (22_050, 256),
        (24_000, 240),
        (44_100, 441),
        (48_000, 1_024),
        (16_000, 64),
    ] {
        for f0 in [55.0, 82.4, 110.0, 196.0, 329.6, 523.3, 880.0, 1_046.5] {
            let pitches = track(rate, hop, &voice(rate, 0.6, 1, |_| f0));
            let skip = (0.05 * f64::from(rate)) as usize / hop + 1;
            let (worst, unvoiced) = errors(&pitches, rate, hop, skip, |_| f0);
            assert!(worst < 8.0 && unvoiced == 0.0, "{rate} {hop} {f0}: {worst} cents, {unvoiced} unvoiced");
        }
    }
}

#[test]
fn sines_have_a_pitch_too() {
    for f0 in [100.0, 440.0, 1_000.0] {
        let sine: Vec<f32> =
            (0..9_600).map(|t| 0.1 * (TAU * f0 * f64::from(t) / 16_000.0).sin() as f32).collect();
        let (worst, unvoiced) = errors(&track(16_000, 160, &sine), 16_000, 160, 4, |_| f0);
        assert!(worst < 5.0 && unvoiced == 0.0, "{f0}: {worst} {unvoiced}");
    }
}

#[test]
fn follows_vibrato_and_glides_without_lag() {
    // Six cycles a second, 60 cents to either side; then two octaves in a second.
    let vibrato = |t: f64| 330.0 * (2f64).powf(0.05 * (TAU * 6.0 * t).sin());
    let (worst, unvoiced) =
        errors(&track(16_000, 160, &voice(16_000, 1.5, 1, vibrato)), 16_000, 160, 4, vibrato);
    assert!(worst < 12.0 && unvoiced == 0.0, "{worst} {unvoiced}");
    let glide = |t: f64| 110.0 * (2f64).powf(2.0 * t);
    let (worst, unvoiced) = errors(&track(16_000, 160, &voice(16_000, 1.0, 1, glide)), 16_000, 160, 4, glide);
    assert!(worst < 12.0 && unvoiced == 0.0, "{worst} {unvoiced}");
}

#[test]
fn a_missing_fundamental_is_heard() {
    for f0 in [90.0, 150.0, 260.0] {
        let pitches = track(16_000, 160, &voice(16_000, 0.6, 2, |_| f0));
        let (worst, unvoiced) = errors(&pitches, 16_000, 160, 4, |_| f0);
        assert!(worst < 10.0 && unvoiced == 0.0, "{f0}: {worst} {unvoiced}");
    }
}

#[test]
fn silence_and_noise_have_none() {
    assert!(track(16_000, 160, &[0.0; 16_000]).iter().all(|pitch| !pitch.voiced && pitch.f0_hz == 0.0));
    for amplitude in [1e-4, 0.01, 0.5] {
        let voiced =
            track(16_000, 160, &noise(48_000, amplitude)).iter().filter(|pitch| pitch.voiced).count();
        assert!(voiced <= 3, "{amplitude}: {voiced} of 300");
    }
}

#[test]
fn voicing_turns_within_a_hop_or_two_and_survives_noise_and_quiet() {
    for gain in [1.0, 0.1] {
        let mut sound = voice(16_000, 1.5, 1, |_| 220.0);
        for (t, x) in sound.iter_mut().enumerate() {
            if !(4_800..19_200).contains(&t) {
                *x = 0.0;
            }
        }
        for (x, n) in sound.iter_mut().zip(noise(24_000, 0.02)) {
            *x = (*x + n) * gain;
        }
        let pitches = track(16_000, 160, &sound);
        for (f, pitch) in pitches.iter().enumerate() {
            if (32..118).contains(&f) {
                assert!(pitch.voiced, "{gain} {f}");
            } else if !(28..122).contains(&f) {
                assert!(!pitch.voiced, "{gain} {f}");
            }
        }
        let (worst, _) = errors(&pitches, 16_000, 160, 33, |_| 220.0);
        assert!(worst < 15.0, "{worst}");
    }
}

#[test]
fn looks_ahead_three_hops_of_ten_milliseconds_and_restarts_like_new() {
    for rate in [8_000, 16_000, 24_000, 44_100, 48_000] {
        assert_eq!(F0Tracker::new(rate, rate as usize / 100, PATIENT_DECISION_MS).look_ahead_hops(), 3);
    }
    let sound = voice(16_000, 0.5, 1, |t| 200.0 + 100.0 * t);
    let mut tracker = F0Tracker::new(16_000, 160, PATIENT_DECISION_MS);
    let first: Vec<Option<Pitch>> = sound.chunks_exact(160).map(|hop| tracker.push(hop)).collect();
    assert_eq!(first.iter().take_while(|pitch| pitch.is_none()).count(), 3);
    tracker.reset();
    let second: Vec<Option<Pitch>> = sound.chunks_exact(160).map(|hop| tracker.push(hop)).collect();
    assert_eq!(first, second);
}

#[test]
fn a_decision_that_does_not_wait_looks_one_hop_ahead_and_is_right_in_steady_sound() {
    let (rate, hop) = (16_000, 160);
    for (decision_ms, look_ahead_hops) in [(0, 1), (4, 2), (10, 2), (20, 3), (50, 6)] {
        assert_eq!(F0Tracker::new(rate, hop, decision_ms).look_ahead_hops(), look_ahead_hops);
    }
    let mut tracker = F0Tracker::new(rate, hop, 0);
    let sound = voice(rate, 0.6, 1, |t| 180.0 + 60.0 * t);
    let pitches: Vec<Pitch> = sound.chunks_exact(hop).filter_map(|hop| tracker.push(hop)).collect();
    assert_eq!(pitches.len(), 59);
    let (worst, unvoiced) = errors(&pitches, rate, hop, 6, |t| 180.0 + 60.0 * t);
    assert!(worst < 8.0 && unvoiced == 0.0, "{worst} cents, {unvoiced} unvoiced");
}

#[test]
fn what_comes_later_than_the_look_ahead_changes_nothing() {
    let sound = voice(16_000, 0.5, 1, |t| 200.0 + 100.0 * t);
    let mut other = sound.clone();
    other[20 * 160..].fill(0.9);
    let (a, b) = (track(16_000, 160, &sound), track(16_000, 160, &other));
    assert_eq!(a[..17], b[..17]);
    assert_ne!(a[20..], b[20..]);
}
