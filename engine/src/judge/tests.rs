use std::sync::Arc;

use super::spectrum::{CEPSTRA, cepstra};
use super::*;
use crate::voice::{Arithmetic, VoiceBank};

/// Uniform numbers in [-0.5, 0.5].
fn noise(samples: usize, seed: u32) -> impl Iterator<Item = f64> {
    let mut state = seed;
    (0..samples).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state as f32 / u32::MAX as f32 - 0.5)
    })
}

/// Half a second of a tone with eleven harmonics, and noise.
fn buzz(f0_hz: f64, size: f64, noise_size: f64, seed: u32) -> Vec<f32> {
    noise(8_000, seed)
        .enumerate()
        .map(|(n, noise)| {
            let time = n as f64 / f64::from(RATE_HZ);
            let harmonic =
                |k: i32| (std::f64::consts::TAU * f0_hz * f64::from(k) * time).sin() / f64::from(k);
            (size * (1..12).map(harmonic).sum::<f64>() + noise_size * noise) as f32
        })
        .collect()
}

/// A voice between 200 and 300 Hz that comes and goes, so many frames long.
fn contour(frames: usize) -> Contour {
    let voiced = |frame: usize| frame % 50 > 9;
    Contour {
        f0_hz: (0..frames)
            .map(|f| if voiced(f) { 250.0 + 50.0 * (f as f32 * 0.05).sin() } else { 0.0 })
            .collect(),
        level_db: (0..frames).map(|f| if voiced(f) { -20.0 - (f % 7) as f32 } else { -65.0 }).collect(),
    }
}

fn changed(contour: &Contour, change: impl Fn(usize, f32) -> f32) -> Contour {
    let f0_hz = contour.f0_hz.iter().enumerate().map(|(frame, f0_hz)| change(frame, *f0_hz)).collect();
    Contour { f0_hz, ..contour.clone() }
}

fn assert_near(what: &str, got: Option<f64>, wanted: f64, tolerance: f64) {
    let got = got.unwrap_or_else(|| panic!("{what}: none"));
    assert!((got - wanted).abs() <= tolerance, "{what}: {got} instead of {wanted}");
}

#[test]
fn a_take_agrees_with_itself() {
    let take = contour(400);
    let melody = Melody::compare(&take, &take, 0.0);
    assert_near("correlation", melody.f0_correlation, 1.0, 1e-9);
    assert_eq!((melody.f0_rmse_cents, melody.off_key), (Some(0.0), Some(0.0)));
    assert_eq!((melody.voicing_error, melody.lag_ms), (0.0, 0.0));
    assert_near("envelope", melody.envelope_correlation, 1.0, 1e-9);
}

#[test]
fn melody_errors_are_what_was_done() {
    let take = contour(400);
    // A fifth up as asked, 30 cents sharp; every tenth frame 80 cents sharp.
    let sharp = |frame: usize| if frame.is_multiple_of(10) { 80.0 } else { 30.0 };
    let output = changed(&take, |frame, f0_hz| f0_hz * ((700.0 + sharp(frame)) / 1_200.0f32).exp2());
    let melody = Melody::compare(&take, &output, 7.0);
    // Frames 1 to 9 of 50 are unvoiced, as is frame 0: 4 of 40 voiced ones are multiples of ten.
    assert_near("off key", melody.off_key, 0.1, 1e-9);
    assert_near("median", melody.f0_median_error_cents, 30.0, 0.01);
    assert_near("RMSE", melody.f0_rmse_cents, (0.9f64 * 900.0 + 0.1 * 6_400.0).sqrt(), 0.01);
    assert!(Melody::compare(&take, &output, 0.0).f0_rmse_cents > Some(700.0));

    let hoarse = changed(&take, |frame, f0_hz| if frame < 100 { 0.0 } else { f0_hz });
    assert_near("voicing", Some(Melody::compare(&take, &hoarse, 0.0).voicing_error), 0.2, 1e-9);
}

#[test]
fn a_late_output_is_told_by_how_much() {
    let take = contour(400);
    let late = |values: &[f32], empty: f32| -> Vec<f32> {
        std::iter::repeat_n(empty, 7).chain(values.iter().copied()).take(values.len()).collect()
    };
    let output = Contour { f0_hz: late(&take.f0_hz, 0.0), level_db: late(&take.level_db, -70.0) };
    assert_eq!(Melody::compare(&take, &output, 0.0).lag_ms, 70.0);
    assert_eq!(Melody::compare(&output, &take, 0.0).lag_ms, -70.0);
}

#[test]
fn silence_and_short_sounds_have_no_melody() {
    let silence = Contour::of(&[0.0; 16_000]);
    assert_eq!(silence.len(), 100);
    let melody = Melody::compare(&contour(100), &silence, 0.0);
    assert_eq!((melody.f0_rmse_cents, melody.envelope_correlation), (None, None));
    assert_eq!(melody.voicing_error, 0.8);
    assert_eq!(Melody::compare(&contour(5), &contour(5), 0.0), Melody::default());
    assert!(Contour::of(&[]).is_empty());
}

#[test]
fn a_tone_has_its_contour() {
    let contour = Contour::of(&buzz(220.0, 0.2, 0.0, 1));
    for frame in 10..40 {
        assert!((1_200.0 * (contour.f0_hz[frame] / 220.0).log2()).abs() < 5.0, "frame {frame}");
        // Power of the harmonics: 0.04 / 2 * sum 1/k^2 up to 11.
        let power: f32 = 0.02 * (1..12).map(|k| 1.0 / (k * k) as f32).sum::<f32>();
        assert!((contour.level_db[frame] - 10.0 * power.log10()).abs() < 0.6, "frame {frame}");
    }
}

#[test]
fn distances_are_those_of_an_independent_computation() {
    // Golden values: the same definitions in NumPy and SciPy (`scipy.fft.dct(norm="ortho")`).
    let (one, other) = (buzz(200.0, 0.2, 0.02, 1), buzz(215.0, 0.1, 0.05, 2));
    assert_near("MCD", mel_cepstral_distortion_db(&one, &other), 7.064_483_78, 1e-5);
    assert_near("STFT", stft_distance(&one, &other), 2.468_268_16, 1e-5);
    assert_eq!(mel_cepstral_distortion_db(&one, &one), Some(0.0));
    assert_eq!(stft_distance(&one, &one), Some(0.0));
    assert_eq!(stft_distance(&one, &[0.0; 8_000]), None);
    assert_eq!(stft_distance(&one[..300], &other), None);

    let everywhere = Contour { f0_hz: vec![200.0; 50], level_db: vec![0.0; 50] };
    let frames = cepstra(&one, &everywhere);
    assert_eq!(frames.len(), 50);
    let wanted = [19.000_195_70, -1.802_523_35, -1.384_385_91, 4.268_433_57];
    for (order, wanted) in wanted.into_iter().enumerate() {
        assert_near("cepstrum", Some(frames[20][order]), wanted, 1e-5);
    }
}

#[test]
fn singers_are_told_apart_as_far_as_they_differ() {
    // Sums of twelve uniform numbers are near enough to normal; variance 1.
    let cloud = |centre: f64, seed: u32| -> Cepstra {
        let draws: Vec<f64> = noise(12 * CEPSTRA * 3_000, seed).collect();
        draws
            .chunks_exact(12 * CEPSTRA)
            .map(|frame| std::array::from_fn(|i| centre + frame[12 * i..12 * i + 12].iter().sum::<f64>()))
            .collect()
    };
    let names = |name: &str, centre, seed| (name.to_string(), cloud(centre, seed));
    let models = SingerModels::learn(vec![names("low", -0.5, 1), names("high", 0.5, 2)]).unwrap();
    assert_eq!(models.names(), ["low", "high"]);
    let scores = models.scores(&cloud(-0.5, 3)).unwrap();
    // Of unit normals: the mean squared distance is 16 to the own centre and 16 + 16 to the other, halved.
    assert_near("own", Some(scores[0]), -8.0, 0.4);
    assert_near("difference", Some(scores[0] - scores[1]), 8.0, 0.6);
    assert_eq!(models.scores(&Vec::new()), None);
    assert_eq!(SingerModels::learn(vec![("mute".into(), Vec::new())]).err(), Some("mute".to_string()));
}

#[test]
fn levels_are_those_of_the_standard() {
    // EBU R 128: a mono sine of 997 Hz at 0 dB of full scale has -3.01 LUFS.
    let sine: Vec<f32> =
        (0..96_000).map(|n| 0.1 * (std::f32::consts::TAU * 997.0 * (n as f32 / 48_000.0)).sin()).collect();
    let level = Level::of(&sine, 48_000);
    assert_near("loudness", level.loudness_lufs, -23.01, 0.05);
    assert_near("peak", level.peak_db, -20.0, 0.01);
    // The first and the last window are cut, which widens the line.
    assert!((990.0..1_500.0).contains(&level.bandwidth_hz), "{} Hz", level.bandwidth_hz);
    assert_eq!((level.clipped_samples, level.not_finite_samples), (0, 0));
    let bad = [0.0, 1.0, -0.995, f32::NAN, 0.5, f32::INFINITY];
    let level = Level::of(&bad, 48_000);
    assert_eq!((level.clipped_samples, level.not_finite_samples), (2, 2));
    assert_eq!(Level::of(&[0.0; 48_000], 48_000).loudness_lufs, None);
}

#[test]
fn noise_in_held_silence_is_heard() {
    let silent = Contour { f0_hz: vec![0.0; 60], level_db: vec![-70.0; 60] };
    let mut output = silent.clone();
    // Too soon after the take fell silent, then late enough.
    output.level_db[5] = -20.0;
    assert_eq!(level::loudest_in_silence_db(&silent, &output), Some(-70.0));
    output.level_db[40] = -33.0;
    assert_eq!(level::loudest_in_silence_db(&silent, &output), Some(-33.0));
    assert_eq!(level::loudest_in_silence_db(&contour(40), &contour(40)), None);
}

#[test]
fn a_bank_predicts_its_own_singer_better_than_another() {
    let bank = VoiceBank::default_bank().unwrap();
    let take = Recording::new("take".into(), buzz(200.0, 0.1, 0.01, 1), RATE_HZ);
    let settings = crate::stream::Settings { singer: 3, ..Default::default() };
    let sung = crate::stream::convert(&bank, RATE_HZ, settings, &take.samples).unwrap();
    let [own, other] =
        [3, 4].map(|singer| bits_per_sample(&bank, Arithmetic::F32, RATE_HZ, singer, &sung).unwrap());
    assert!(own < other && (2.0..6.0).contains(&own), "{own} and {other} bits");
    // A voice must not be blamed for the phase it sings in: half a period later it costs about the same.
    let later = bits_per_sample(&bank, Arithmetic::F32, RATE_HZ, 3, &sung[40..]).unwrap();
    assert!((later - own).abs() < 0.3, "{later} instead of {own} bits");
    // Bytes cost little, but they cost; of real singing `falsetto judge` tells how much.
    let bytes = bits_per_sample(&bank, Arithmetic::Int8, RATE_HZ, 3, &sung).unwrap();
    assert!(bytes != own && (bytes / own - 1.0).abs() < 0.005, "{bytes} instead of {own} bits");
    assert_eq!(bits_per_sample(&bank, Arithmetic::F32, RATE_HZ, 0, &[0.0; 10]), None);
}

#[test]
fn a_report_counts_and_shows_what_it_was_given() {
    let names = ["<ann>", "bob"].map(String::from);
    let cloud = |centre: f64| -> Cepstra {
        (0..60).map(|n| std::array::from_fn(|i| centre + 0.1 * ((n * 7 + i * 3) % 11) as f64)).collect()
    };
    let models = SingerModels::learn(names.iter().cloned().zip([cloud(-9.0), cloud(9.0)]).collect()).unwrap();
    let take = Recording::new("a \"take\"".into(), buzz(200.0, 0.2, 0.02, 1), RATE_HZ);
    let mut conversions: Vec<Conversion> =
        names.iter().map(|name| Conversion::judge(&take, &take, name, 0.0, &models)).collect();
    let nearest = conversions[0].nearest.clone().unwrap();
    assert_eq!(conversions[1].nearest.as_ref(), Some(&nearest));
    let ranks = [conversions[0].rank, conversions[1].rank];
    assert!(ranks == [Some(1), Some(2)] || ranks == [Some(2), Some(1)], "{ranks:?}");
    assert_eq!(conversions[0].margin.map(f64::abs), conversions[1].margin.map(f64::abs));
    conversions[0].output_sound = "sounds/x.wav".into();
    let selves = vec![Reconstruction::judge(&take, &take, "bob", [Some(4.5), Some(4.25)])];
    let bob = || "bob".to_string();
    let real = vec![(bob(), Some(bob())), (bob(), Some("<ann>".into())), (bob(), None), (bob(), None)];
    let report = Report::new("test".into(), "hash".into(), names.to_vec(), &real, conversions, selves);
    assert_eq!(report.summary.identified, Some(0.5));
    // Who cannot be told is not identified.
    assert_eq!(report.summary.real_identified, Some(0.25));
    assert_eq!(report.real_confusion, [[0, 0], [1, 1]]);
    assert_eq!(report.summary.rank, Some(1.5));
    let bits = [report.summary.bits_per_sample, report.summary.bits_per_sample_f32];
    assert_eq!(bits, [Some(4.5), Some(4.25)]);
    assert_eq!(report.summary.f0_rmse_cents, Some(0.0));
    let page = report.html();
    assert!(page.contains("&lt;ann&gt;") && page.contains("a &quot;take&quot;") && !page.contains("<ann>"));
    assert!(page.contains("sounds/x.wav") && page.contains("<svg"));
    let json: serde_json::Value = serde_json::to_value(&report).unwrap();
    assert_eq!(json["conversions"][0]["melody"]["lag_ms"], 0.0);
}

#[test]
fn banks_are_shown_side_by_side() {
    let model = VoiceBank::default_bank().unwrap().card().model.clone();
    let take = Recording::new("a \"take\"".into(), buzz(200.0, 0.2, 0.02, 1), RATE_HZ);
    let cloud: Cepstra =
        (0..60).map(|n| std::array::from_fn(|i| 0.1 * ((n * 7 + i * 3) % 11) as f64)).collect();
    let names: Vec<String> = (0..3).map(|singer| format!("singer-{singer}")).collect();
    let models =
        SingerModels::learn(names.iter().map(|name| (name.clone(), cloud.clone())).collect()).unwrap();
    // The second bank has a singer more.
    let candidate = |name: &str, singers: usize, bits: f64| {
        let bank = Arc::new(VoiceBank::random(model.clone(), singers, 1).unwrap());
        let conversion = |singer: &String| {
            let mut conversion = Conversion::judge(&take, &take, singer, 0.0, &models);
            conversion.take_sound = "sounds/take.wav".into();
            conversion.output_sound = format!("sounds/{singer}.wav");
            conversion
        };
        let conversions = names[..singers].iter().map(conversion).collect();
        let selves = vec![Reconstruction::judge(&take, &take, "singer-0", [Some(bits); 2])];
        let report =
            Report::new("random".into(), bank.content_hash(), names.clone(), &[], conversions, selves);
        // Of the bank with a singer more it is not known what it took.
        let training = (singers == 2).then_some(Training { steps: 1500, cpu_minutes: 6.34 });
        let cost = Cost::of(&bank, 1_500_000, Some(2.5), training).unwrap();
        Candidate::new(name.into(), format!("<{name}>.safetensors"), &bank, &report, cost)
    };
    let comparison = Comparison::new(vec![candidate("one", 2, 4.0), candidate("two", 3, 3.5)]);
    let sounds = |singer: &str| ["one", "two"].map(|bank| format!("{bank}/sounds/{singer}.wav")).to_vec();
    let heard: Vec<_> = comparison.heard.iter().map(|heard| heard.output_sounds.clone()).collect();
    assert_eq!(heard, [sounds("singer-0"), sounds("singer-1")]);
    assert_eq!(comparison.heard[0].take_sound, "one/sounds/take.wav");
    let costs = comparison.banks.iter().map(|bank| &bank.cost);
    let [one, two] = costs.collect::<Vec<_>>()[..] else { panic!("two banks") };
    // A singer is an embedding and mean frames of 18 registers.
    let per_singer = model.singer_embedding_size + 18 * model.spectrum_bands();
    assert_eq!(two.parameters - one.parameters, per_singer);
    // 512 samples are the least that the plugin hands over at a time, 96 its engine's allowance.
    assert!((one.plugin_latency_ms - one.engine_latency_ms - 608.0 / 48.0).abs() < 1e-9);

    let page = comparison.html();
    assert!(page.contains("&lt;one&gt;.safetensors") && page.contains("href=\"two/index.html\""));
    assert!(page.contains("<td class=\"hit\">3.500</td>") && page.contains("<td>4.000</td>"));
    // Few steps are no merit; what is told of one bank alone is the best there is.
    assert!(page.contains("<td>1500</td><td class=\"hit\">6.3</td>"));
    assert!(page.contains("<td>–</td><td>–</td>"));
    assert!(page.contains("do not have the same singers") && page.contains("two/sounds/singer-1.wav"));
    let equal = Comparison::new(vec![candidate("one", 2, 4.0), candidate("two", 2, 4.0)]).html();
    assert!(!equal.contains("class=\"hit\"") && !equal.contains("do not have the same singers"));
}
