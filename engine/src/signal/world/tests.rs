//! Against pyworld on the same sound: `tests/golden/world.py` makes the golden values and states the sound.

use super::*;
use crate::decode::uniform;
use crate::signal::f0::{F0Tracker, PATIENT_DECISION_MS};
use crate::signal::loudness::mean_square;

const RATE_HZ: u32 = 16_000;
const LOWEST_F0_HZ: f32 = 60.0;
const HOP: usize = 160;
const HOPS: usize = 410;
const GOLDEN: &str = include_str!("../../../tests/golden/world.txt");

fn f0_hz(seconds: f64) -> f64 {
    62.0 * seconds.exp2()
}

fn glide(hop: usize) -> Option<f32> {
    Some(f0_hz((hop as f64 + 0.5) / 100.0) as f32)
}

/// The glide that `world.py` describes.
fn sound(rate_hz: u32, hops: usize) -> Vec<f32> {
    let formants =
        [(700.0, 90.0, 1.0), (1_200.0, 110.0, 0.5), (2_600.0, 170.0, 0.25), (3_500.0, 250.0, 0.12)];
    let mut state = 1u32;
    (0..hops * rate_hz as usize / 100)
        .map(|t| {
            let seconds = t as f64 / f64::from(rate_hz);
            let phase = 62.0 / 2.0f64.ln() * (seconds.exp2() - 1.0);
            let wave = |k: u32| {
                let hz = f64::from(k) * f0_hz(seconds);
                let gain: f64 = formants.iter().map(|(f, b, a)| a / (1.0 + ((hz - f) / b).powi(2))).sum();
                gain * (1.0 - hz / 8_000.0).max(0.0) * (std::f64::consts::TAU * f64::from(k) * phase).sin()
            };
            let sung: f64 = (1..130).map(wave).sum();
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = f64::from(state) / 2_147_483_648.0 - 1.0;
            (0.1 * sung + 0.002 * (1.0 + seconds) * noise) as f32
        })
        .collect()
}

fn white_noise(samples: u64) -> Vec<f32> {
    (0..samples).map(|t| 0.2 * uniform(3, t) - 0.1).collect()
}

/// Measures the frame of every hop of 10 ms; what the window reaches beyond the sound is silence.
fn analyzed(rate_hz: u32, sound: &[f32], pitch: impl Fn(usize) -> Option<f32>) -> Vec<WorldFrame> {
    let hop_samples = rate_hz as usize / 100;
    let mut analyzer = WorldAnalyzer::new(rate_hz, LOWEST_F0_HZ);
    let half = analyzer.window_samples() / 2;
    let padded = [&vec![0.0; half][..], sound, &vec![0.0; half]].concat();
    let frame_of = |hop: usize| {
        let mut frame = WorldFrame::new(rate_hz, LOWEST_F0_HZ);
        let window = &padded[hop * hop_samples + hop_samples / 2..][..2 * half + 1];
        analyzer.analyze(window, pitch(hop).unwrap_or(0.0), pitch(hop).is_some(), &mut frame);
        frame
    };
    (0..sound.len() / hop_samples).map(frame_of).collect()
}

fn synthesizer(seed: u64) -> WorldSynthesizer {
    WorldSynthesizer::new(RATE_HZ, LOWEST_F0_HZ, HOP, seed)
}

/// Sings the frames; sample `t` of the result belongs to sample `t` of what was analysed.
fn sung(synthesizer: &mut WorldSynthesizer, frames: &[WorldFrame]) -> Vec<f32> {
    let mut output = vec![0.0; frames.len() * HOP];
    for (frame, hop) in frames.iter().zip(output.chunks_exact_mut(HOP)) {
        synthesizer.push(frame, hop);
    }
    output.split_off(synthesizer.delay_samples())
}

fn db(power: f32) -> f64 {
    10.0 * f64::from(power).log10()
}

/// `band_levels` of `world.py`; the sound starts at the centre of hop 0.
fn band_levels(sound: &[f32]) -> Vec<f64> {
    let mut fft = fft::Fft::<f64>::new(1_024);
    let mut levels = Vec::new();
    for start in (0..=sound.len() - 1_024).step_by(320) {
        for (i, slot) in fft.time.iter_mut().enumerate() {
            let window = 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / 1_024.0).cos();
            *slot = window * f64::from(sound[start + i]);
        }
        fft.forward();
        let f0 = f0_hz((start + HOP / 2 + 512) as f64 / f64::from(RATE_HZ));
        for (band, bins) in fft.bins[..512].chunks(16).enumerate() {
            if (band + 1) as f64 * 250.0 >= f0 {
                levels.push(10.0 * (bins.iter().map(|bin| bin.norm_sqr()).sum::<f64>() + 1e-6).log10());
            }
        }
    }
    levels
}

fn root_mean_square(values: &[f64]) -> f64 {
    (values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64).sqrt()
}

fn golden_number(name: &str) -> f64 {
    GOLDEN.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
}

/// F0 of every hop where the tracker hears a pitch.
fn tracked(sound: &[f32]) -> Vec<Option<f32>> {
    let mut tracker = F0Tracker::new(RATE_HZ, HOP, PATIENT_DECISION_MS);
    let pitches = sound.chunks_exact(HOP).filter_map(|hop| tracker.push(hop));
    pitches.map(|pitch| pitch.voiced.then_some(pitch.f0_hz)).collect()
}

#[test]
fn envelopes_and_aperiodicities_are_those_of_world() {
    for rate_hz in [RATE_HZ, 48_000] {
        let sound = sound(rate_hz, if rate_hz == RATE_HZ { HOPS } else { 170 });
        let voiced = analyzed(rate_hz, &sound, glide);
        let unvoiced = analyzed(rate_hz, &sound, |_| None);
        let mut compared = 0;
        for line in GOLDEN.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let frames = match (fields[0], fields[1] == rate_hz.to_string()) {
                ("voiced", true) => &voiced,
                ("unvoiced", true) => &unvoiced,
                _ => continue,
            };
            let frame = &frames[fields[2].parse::<usize>().unwrap()];
            let measured = frame.aperiodicity.iter().map(|code| f64::from(*code));
            let measured = measured.chain(frame.envelope.iter().step_by(16).map(|power| db(*power)));
            assert_eq!(fields.len() - 3, measured.clone().count());
            for (value, golden) in measured.zip(&fields[3..]) {
                let golden: f64 = golden.parse().unwrap();
                assert!((value - golden).abs() < 0.02, "{value} for {golden} of {line}");
                compared += 1;
            }
        }
        assert_eq!(compared, if rate_hz == RATE_HZ { 14 * 34 } else { 2 * 134 });
    }
}

#[test]
fn sings_what_it_heard_as_well_as_world_and_in_time() {
    let sound = sound(RATE_HZ, HOPS);
    let result = sung(&mut synthesizer(1), &analyzed(RATE_HZ, &sound, glide));
    let (heard, again) = (&sound[HOP / 2..result.len()], &result[HOP / 2..]);
    let differences: Vec<f64> =
        band_levels(heard).iter().zip(band_levels(again)).map(|(heard, again)| again - heard).collect();
    let distance = root_mean_square(&differences);
    assert!(distance < golden_number("distance") + 0.4, "{distance}");
    // WORLD makes this sound, whose harmonics are far apart and whose formants are narrow, 1.2 dB louder.
    let level = db(mean_square(again) / mean_square(heard));
    assert!((level - golden_number("level")).abs() < 0.1, "{level}");

    // The glide also tells the delay: a millisecond is 1.2 cents.
    let cents = |pitches: Vec<Option<f32>>| -> Vec<f64> {
        (15..390).filter_map(|hop| Some(1_200.0 * f64::from(pitches[hop]? / glide(hop)?).log2())).collect()
    };
    let (before, after) = (cents(tracked(&sound)), cents(tracked(&result)));
    assert_eq!((before.len(), after.len()), (375, 375));
    assert!(root_mean_square(&after) < 3.0 && after.iter().all(|cents| cents.abs() < 15.0), "{after:?}");
    let mean = |cents: &[f64]| cents.iter().sum::<f64>() / cents.len() as f64;
    assert!((mean(&after) - mean(&before)).abs() < 1.2, "{} {}", mean(&before), mean(&after));
}

#[test]
fn another_f0_keeps_the_envelope() {
    // 81 to 248 Hz in, half as much again out.
    let frames = analyzed(RATE_HZ, &sound(RATE_HZ, 200), glide);
    let higher = |hop: usize| glide(hop).map(|hz| 1.5 * hz);
    let mut sharp = frames.clone();
    sharp.iter_mut().enumerate().for_each(|(hop, frame)| frame.f0_hz = higher(hop).unwrap());
    let result = sung(&mut synthesizer(1), &sharp);
    let pitches = tracked(&result);
    let again = analyzed(RATE_HZ, &result, higher);
    let mut differences = Vec::new();
    for hop in 40..190 {
        let cents = 1_200.0 * (pitches[hop].unwrap() / higher(hop).unwrap()).log2();
        assert!(cents.abs() < 10.0, "{hop} {cents}");
        // 125 Hz to 4 kHz.
        let powers = frames[hop].envelope.iter().zip(&again[hop].envelope).take(256).skip(8);
        differences.extend(powers.map(|(before, after)| db(*after) - db(*before)));
    }
    let mean = differences.iter().sum::<f64>() / differences.len() as f64;
    assert!(
        root_mean_square(&differences) < 2.5 && mean.abs() < 0.8,
        "{} {mean}",
        root_mean_square(&differences)
    );
}

#[test]
fn noise_keeps_its_level_and_colour() {
    let noise = white_noise(36_000);
    let frames = analyzed(RATE_HZ, &noise, |_| None);
    let result = sung(&mut synthesizer(1), &frames);
    let level = db(mean_square(&result[800..]) / mean_square(&noise));
    assert!(level.abs() < 0.5, "{level}");
    // The first 90 windows have all bands. Of the lowest, a piece of 2 ms does not hold much, in WORLD neither.
    let (before, after) = (band_levels(&noise), band_levels(&result));
    for band in 1..32 {
        let of_band = |levels: &[f64]| levels[..90 * 32].iter().skip(band).step_by(32).sum::<f64>() / 90.0;
        let difference = of_band(&after) - of_band(&before);
        assert!(difference.abs() < 1.5, "{band} {difference}");
    }
}

#[test]
fn a_flat_envelope_gives_bare_pulses_at_their_times() {
    let mut frame = WorldFrame::new(RATE_HZ, LOWEST_F0_HZ);
    (frame.f0_hz, frame.voiced) = (100.0, true);
    frame.envelope.fill(1.0);
    frame.aperiodicity.fill(-60.0);
    let mut synthesizer = synthesizer(1);
    let mut output = vec![0.0; 40 * HOP];
    output.chunks_exact_mut(HOP).for_each(|hop| synthesizer.push(&frame, hop));
    // The first pulse comes a sample before the first hop, which comes after the 8 samples of ringing.
    for (period, samples) in output.chunks_exact(HOP).enumerate() {
        let peak = (0..HOP).max_by(|a, b| samples[*a].total_cmp(&samples[*b])).unwrap();
        assert_eq!(peak, 7, "{period}");
    }
    let sung = &output[4 * HOP..];
    let mean = sung.iter().sum::<f32>() / sung.len() as f32;
    // Of pulses with DC it would be 0.08.
    assert!(mean.abs() < 0.005, "{mean}");
    assert!(db(mean_square(sung)).abs() < 0.3, "{}", db(mean_square(sung)));
}

#[test]
fn a_voice_of_noise_alone_has_no_pulses() {
    let mut frames = analyzed(RATE_HZ, &white_noise(3_200), |_| None);
    let unvoiced = sung(&mut synthesizer(1), &frames);
    for frame in &mut frames {
        (frame.f0_hz, frame.voiced) = (200.0, true);
    }
    assert_eq!(sung(&mut synthesizer(1), &frames), unvoiced);
    frames.iter_mut().for_each(|frame| frame.aperiodicity.fill(-1.0));
    assert_ne!(sung(&mut synthesizer(1), &frames), unvoiced);
}

#[test]
fn depends_on_frames_and_seed_alone_and_not_on_what_was_before_a_reset() {
    let frames = analyzed(RATE_HZ, &sound(RATE_HZ, 60), |hop| glide(hop).filter(|_| hop % 20 < 12));
    let mut used = synthesizer(7);
    let first = sung(&mut used, &frames);
    used.reset();
    assert_eq!(sung(&mut used, &frames), first);
    assert_ne!(sung(&mut synthesizer(8), &frames), first);
    // An analyzer has no past either: any frame alone is the frame in its row.
    let alone = analyzed(RATE_HZ, &sound(RATE_HZ, 60), |hop| glide(hop).filter(|_| hop == 25));
    assert_eq!(alone[25], frames[25]);
    assert!(frames[25].voiced && !frames[15].voiced && frames[15].aperiodicity[0] == 0.0);
}

#[test]
fn is_finite_and_not_too_loud_whatever_comes() {
    let square: Vec<f32> = (0..4_800).map(|t| if t / 80 % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let sine: Vec<f32> = (0..4_800).map(|t| (t as f32 * 0.1).sin()).collect();
    let broken: Vec<f32> = (0..4_800).map(|t| if t % 7 == 0 { f32::NAN } else { 1e30 }).collect();
    for sound in [vec![0.0; 4_800], vec![1.0; 4_800], square, sine, white_noise(4_800), broken.clone()] {
        for f0_hz in [0.0, 1.0, 47.0, 60.0, 333.3, 1_100.0, 1e9, f32::NAN, -5.0] {
            for rate_hz in [8_000, RATE_HZ, 48_000] {
                let frames = analyzed(rate_hz, &sound, |hop| Some(f0_hz).filter(|_| hop % 5 > 1));
                let mut synthesizer = WorldSynthesizer::new(rate_hz, LOWEST_F0_HZ, HOP, 1);
                for frame in &frames {
                    assert!(frame.envelope.iter().all(|power| power.is_finite() && *power > 0.0));
                    assert!(frame.aperiodicity.iter().all(|code| (-60.0..=0.0).contains(code)));
                }
                let result = sung(&mut synthesizer, &frames);
                let loudest = result.iter().fold(0.0f32, |loudest, x| loudest.max(x.abs()));
                assert!(result.iter().all(|x| x.is_finite()));
                assert!(loudest < 10.0 || sound[1] == broken[1], "{loudest} {f0_hz} {rate_hz}");
                assert!(loudest < 1e-6 || sound[1] != 0.0, "silence gave {loudest}");
            }
        }
    }
    // Frames that no analyzer makes.
    let mut synthesizer = synthesizer(1);
    let mut frame = WorldFrame::new(RATE_HZ, LOWEST_F0_HZ);
    let mut hop = [0.0; HOP];
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, 1e30] {
        frame = WorldFrame { f0_hz: value, voiced: true, ..frame };
        frame.envelope.fill(value);
        frame.aperiodicity.fill(value);
        for _ in 0..9 {
            synthesizer.push(&frame, &mut hop);
            assert!(hop.iter().all(|x| x.is_finite()));
        }
    }
    let empty = WorldFrame { f0_hz: 100.0, voiced: true, envelope: [].into(), aperiodicity: [].into() };
    (0..20).for_each(|_| synthesizer.push(&empty, &mut hop));
    assert!(hop.iter().all(|x| x.abs() < 1e-6));
}
