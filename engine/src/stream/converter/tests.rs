use proptest::prelude::*;

use super::chain::Middle;
use super::*;
use crate::decode::emulated_gpu;
use crate::voice::*;

const MODEL_RATE_HZ: u32 = 16_000;
const HOP: usize = 160;

/// In the place of the networks: the take itself, so many hops late; a transposition is added to each sample.
struct PassThrough {
    stages: [(&'static str, usize); 1],
    hops: std::collections::VecDeque<Vec<f32>>,
    settings: Settings,
}

impl PassThrough {
    fn chain(look_ahead_hops: usize, host_rate_hz: u32, settings: Settings) -> Chain<Self> {
        let middle = Self { stages: [("look-ahead", look_ahead_hops)], hops: Default::default(), settings };
        Chain::new(middle, MODEL_RATE_HZ, HOP, host_rate_hz, settings)
    }
}

impl Middle for PassThrough {
    fn stages(&self) -> &[(&'static str, usize)] {
        &self.stages
    }

    fn reset(&mut self) {
        self.hops.clear();
    }

    fn hear(&mut self, hop: &[f32], settings: Settings) -> bool {
        self.hops.push_back(hop.to_vec());
        self.settings = settings;
        self.hops.len() > self.stages[0].1
    }

    fn sing(&mut self, output: &mut [f32]) {
        for (output, hop) in output.iter_mut().zip(self.hops.pop_front().unwrap()) {
            *output = hop + self.settings.transpose_semitones;
        }
    }
}

fn settings(transpose_semitones: f32) -> Settings {
    Settings { transpose_semitones, ..Settings::default() }
}

fn latency<M: Middle>(chain: &Chain<M>) -> usize {
    chain.stages().iter().map(|stage| stage.samples).sum()
}

fn bank(encoder: EncoderConfig) -> Arc<VoiceBank> {
    let config = ModelConfig {
        sample_rate_hz: MODEL_RATE_HZ,
        hop_samples: HOP,
        pre_emphasis: 0.85,
        f0_decision_ms: 20,
        latent_size: 4,
        singer_embedding_size: 3,
        singers: Default::default(),
        bottleneck: None,
        envelope: None,
        condition: ConditionConfig {
            f0: true,
            loudness: true,
            excitation_harmonics: 2,
            period_taps: 3,
            frame_channels: 8,
            spectrum: matches!(encoder, EncoderConfig::Mel { .. }),
            ..Default::default()
        },
        encoder,
        decoder: DecoderConfig {
            blocks: 1,
            layers_per_block: 3,
            residual_channels: 8,
            skip_channels: 8,
            head_channels: 8,
            pairs: false,
            prior: Some(PriorConfig { taps: 8, harmonics: 4 }),
        },
    };
    Arc::new(VoiceBank::random(config, 3, 1).unwrap())
}

fn encoders() -> [EncoderConfig; 3] {
    let look_ahead = DilatedLookAhead::Samples(700);
    [
        EncoderConfig::Mel { mels: 40, channels: 8, layers: 2, dilation_base: 1, look_ahead_frames: 1 },
        EncoderConfig::Dilated { blocks: 1, layers_per_block: 10, channels: 4, look_ahead },
        EncoderConfig::Strided { strides: vec![4, 8], channels: 6 },
    ]
}

/// The bank with one of its tensors changed.
fn changed(bank: &VoiceBank, name: &str, change: impl Fn(&mut [f32])) -> Arc<VoiceBank> {
    let card = bank.card().clone();
    let specs = tensor_specs(&card.model, card.singers.len());
    let mut tensors: std::collections::BTreeMap<String, Vec<f32>> =
        specs.into_iter().map(|spec| (spec.name.clone(), bank.tensor(&spec.name).to_vec())).collect();
    change(tensors.get_mut(name).unwrap());
    Arc::new(VoiceBank::new(card, tensors).unwrap())
}

/// A sung vowel, roughly: a gliding tone with harmonics that comes and goes, and noise between.
fn take(samples: usize, rate_hz: u32) -> Vec<f32> {
    let mut noise = 1_u32;
    let mut phase = 0.0_f64;
    (0..samples)
        .map(|n| {
            let time = n as f64 / f64::from(rate_hz);
            phase += (180.0 + 40.0 * (5.0 * time).sin()) / f64::from(rate_hz);
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = f64::from(noise) / f64::from(u32::MAX) - 0.5;
            let voiced = (time * 3.0).fract() > 0.3;
            let tone: f64 =
                (1..8).map(|k| (std::f64::consts::TAU * phase * f64::from(k)).sin() / f64::from(k)).sum();
            (if voiced { 0.2 * tone } else { 0.02 * noise }) as f32
        })
        .collect()
}

/// Runs the take in blocks of these lengths, over and over.
fn run_in_blocks(mut process: impl FnMut(&[f32], &mut [f32]), input: &[f32], blocks: &[usize]) -> Vec<f32> {
    let mut output = vec![f32::NAN; input.len()];
    let mut begin = 0;
    for block in blocks.iter().cycle() {
        let end = input.len().min(begin + block);
        process(&input[begin..end], &mut output[begin..end]);
        begin = end;
        if begin == input.len() {
            return output;
        }
    }
    output
}

fn bits(samples: &[f32]) -> Vec<u32> {
    samples.iter().map(|sample| sample.to_bits()).collect()
}

const RATES_HZ: [u32; 13] =
    [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 44_101, 47_999, 48_000, 88_200, 96_000, 176_400, 192_000];

#[test]
fn the_latency_is_true_at_every_rate() {
    for host_rate_hz in RATES_HZ {
        for look_ahead_hops in [0, 4] {
            let mut chain = PassThrough::chain(look_ahead_hops, host_rate_hz, settings(0.0));
            let latency = latency(&chain);
            let rate = f64::from(host_rate_hz);
            // A pulse that both rates can carry: 1 kHz under a Gaussian of 1 ms, at an odd place.
            let centre = 0.0317 * rate;
            let pulse = |n: f64| {
                let time = (n - centre) / rate;
                0.5 * (-0.5 * (time / 1e-3).powi(2)).exp() * (std::f64::consts::TAU * 1000.0 * time).cos()
            };
            let length = latency + (0.1 * rate) as usize;
            let input: Vec<f32> = (0..length).map(|n| pulse(n as f64) as f32).collect();
            let output = run_in_blocks(|x, y| chain.process(x, y), &input, &[100]);

            // Compared with the same pulse at delays around what is reported, in tenths of a sample.
            let distance = |delay: f64| -> f64 {
                output
                    .iter()
                    .enumerate()
                    .map(|(n, y)| (f64::from(*y) - pulse(n as f64 - delay)).powi(2))
                    .sum()
            };
            let energy = distance(1e9);
            assert!(energy > 1.0);
            let measured = (-30..=30)
                .map(|tenths| latency as f64 + f64::from(tenths) / 10.0)
                .min_by(|a, b| distance(*a).total_cmp(&distance(*b)))
                .unwrap();
            assert_eq!(measured, latency as f64, "{host_rate_hz} Hz");
            assert!(
                distance(measured) < 1e-3 * energy,
                "{host_rate_hz} Hz: the pulse is not the same any more"
            );
        }
    }
}

#[test]
fn one_sample_at_a_time_never_runs_dry() {
    // With blocks of one sample the queue holds the least that it can hold.
    for host_rate_hz in RATES_HZ {
        let input = take((host_rate_hz / 4) as usize, host_rate_hz);
        let mut chain = PassThrough::chain(1, host_rate_hz, settings(0.0));
        let whole = run_in_blocks(|x, y| chain.process(x, y), &input, &[input.len()]);
        chain.reset();
        let single = run_in_blocks(|x, y| chain.process(x, y), &input, &[1]);
        assert_eq!(bits(&whole), bits(&single), "{host_rate_hz} Hz");
    }
}

#[test]
fn the_stages_add_up() {
    for encoder in encoders() {
        for host_rate_hz in [16_000, 44_100] {
            let converter = Converter::new(&bank(encoder.clone()), host_rate_hz, settings(0.0)).unwrap();
            let sum: usize = converter.stages().iter().map(|stage| stage.samples).sum();
            assert_eq!(converter.latency_samples(), sum);
            assert!(converter.stages().len() >= 4);
        }
    }
}

/// What a converter gives for a take with settings that change at some positions.
fn convert(
    converter: &mut Converter,
    input: &[f32],
    changes: &[(usize, Settings)],
    blocks: &[usize],
) -> Vec<f32> {
    let mut output = Vec::new();
    let mut begin = 0;
    for (position, settings) in changes.iter().copied().chain([(input.len(), settings(0.0))]) {
        output.extend(run_in_blocks(|x, y| converter.process(x, y), &input[begin..position], blocks));
        if position < input.len() {
            converter.set(settings);
        }
        begin = position;
    }
    output
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn blocks_do_not_matter(
        blocks in prop::collection::vec(0_usize..1500, 1..6).prop_filter("some sound", |blocks| blocks.iter().sum::<usize>() > 50),
        kind in 0_usize..3,
        rate in prop::sample::select(vec![8_000, 16_000, 44_100, 48_000, 96_000]),
        change in 1_usize..6_000,
    ) {
        let input = take(9_000, rate);
        let bank = bank(encoders()[kind].clone());
        let changes = [(change, Settings { singer: 1, second_singer: 2, blend: 0.25, transpose_semitones: 3.0, formant_semitones: 2.0, air: 0.5, seed: 9 })];
        let mut converter = Converter::new(&bank, rate, settings(0.0)).unwrap();
        let whole = convert(&mut converter, &input, &changes, &[input.len()]);
        converter.reset();
        converter.set(settings(0.0));
        let cut = convert(&mut converter, &input, &changes, &blocks);
        prop_assert!(whole.iter().any(|sample| sample.abs() > 1e-3));
        prop_assert_eq!(bits(&whole), bits(&cut));
    }
}

#[test]
fn a_reset_converter_is_a_new_one() {
    for encoder in encoders() {
        let bank = bank(encoder);
        let input = take(20_000, 48_000);
        let now = Settings {
            singer: 2,
            second_singer: 1,
            blend: 0.4,
            transpose_semitones: -5.0,
            formant_semitones: -2.5,
            air: 0.3,
            seed: 77,
        };
        let fresh = convert(&mut Converter::new(&bank, 48_000, now).unwrap(), &input, &[], &[480]);
        let mut used = Converter::new(&bank, 48_000, settings(0.0)).unwrap();
        // The change is still ahead when the reset comes, and holds from the start after it.
        convert(&mut used, &input[..7_001], &[(7_000, now)], &[480]);
        used.reset();
        assert_eq!(bits(&fresh), bits(&convert(&mut used, &input, &[], &[480])));
    }
}

#[test]
fn settings_change_the_sound() {
    let bank = bank(encoders()[0].clone());
    let input = take(20_000, 48_000);
    let with = |settings| {
        let mut converter = Converter::new(&bank, 48_000, settings).unwrap();
        convert(&mut converter, &input, &[], &[512])
    };
    let plain = with(settings(0.0));
    assert_ne!(plain, with(settings(2.0)));
    assert_ne!(plain, with(Settings { singer: 1, ..settings(0.0) }));
    assert_ne!(plain, with(Settings { formant_semitones: 1.0, ..settings(0.0) }));
    assert_ne!(plain, with(Settings { seed: 1, ..settings(0.0) }));
}

/// White noise: everything that a take can have above the model's band.
fn noise(samples: usize) -> Vec<f32> {
    let mut state = 7_u32;
    (0..samples)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            0.4 * (state as f32 / u32::MAX as f32 - 0.5)
        })
        .collect()
}

#[test]
fn with_air_a_model_that_changes_nothing_gives_back_the_take() {
    for host_rate_hz in RATES_HZ {
        for look_ahead_hops in [0, 3] {
            let mut chain = PassThrough::chain(look_ahead_hops, host_rate_hz, settings(0.0));
            let latency = latency(&chain);
            let input = noise(latency + 20_000);
            let output = run_in_blocks(|x, y| chain.process(x, y), &input, &[311]);
            for (n, (taken, given)) in input.iter().zip(&output[latency..]).enumerate() {
                assert!(
                    (taken - given).abs() < 1e-5,
                    "{host_rate_hz} Hz, sample {n}: {taken} became {given}"
                );
            }
        }
    }
}

#[test]
fn without_air_nothing_is_heard_above_the_band() {
    // 9 to 20 kHz, which 16 kHz cannot carry.
    let input: Vec<f32> = (0..48_000)
        .map(|n| {
            let time = f64::from(n) / 48_000.0;
            (0.3 * (std::f64::consts::TAU * (9_000.0 + 5_500.0 * time) * time).sin()) as f32
        })
        .collect();
    let energy = |air: f32| {
        let mut chain = PassThrough::chain(2, 48_000, Settings { air, ..settings(0.0) });
        let output = run_in_blocks(|x, y| chain.process(x, y), &input, &[512]);
        output[5_000..].iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>()
    };
    let whole = energy(1.0);
    assert!(energy(0.0) < 1e-5 * whole);
    assert!((energy(0.5) / whole - 0.25).abs() < 1e-3);
}

#[test]
fn air_glides_over_a_hop() {
    let mut chain = PassThrough::chain(2, 48_000, Settings { air: 0.0, ..settings(0.0) });
    let latency = latency(&chain);
    // A steady tone at 12 kHz: its size is the gain of the air.
    let input: Vec<f32> = (0..24_000).map(|n| [0.0, 0.5, 0.0, -0.5][n % 4]).collect();
    let mut output = run_in_blocks(|x, y| chain.process(x, y), &input[..9_600], &[256]);
    chain.set(settings(0.0));
    output.extend(run_in_blocks(|x, y| chain.process(x, y), &input[9_600..], &[256]));
    let size = |n: usize| output[n].abs().max(output[n + 1].abs());
    let set = 9_600 + latency;
    assert!(size(set - 600) < 1e-3 && (size(set + 1_200) - 0.5).abs() < 1e-3);
    // Each hop of 480 samples moves it by so much a sample.
    let steepest = (set - 600..set + 1_200).map(|n| (size(n + 2) - size(n)).abs()).fold(0.0, f32::max);
    assert!(steepest < 3.0 * 0.5 / 480.0, "{steepest}");
}

#[test]
fn a_blend_of_two_singers_is_the_singer_between_them() {
    let bank = bank(encoders()[0].clone());
    let input = take(20_000, 48_000);
    let with = |bank: &Arc<VoiceBank>, settings| {
        bits(&convert(&mut Converter::new(bank, 48_000, settings).unwrap(), &input, &[], &[512]))
    };
    let blend = |blend| Settings { singer: 1, second_singer: 2, blend, ..settings(0.0) };
    let between = Arc::new(bank.blend(&[(1, 0.75), (2, 0.25)]).unwrap());
    assert_eq!(with(&bank, blend(0.25)), with(&between, settings(0.0)));
    assert_eq!(with(&bank, blend(0.0)), with(&bank, Settings { singer: 1, ..settings(0.0) }));
    assert_eq!(with(&bank, blend(1.0)), with(&bank, Settings { singer: 2, ..settings(0.0) }));
}

#[test]
fn the_converter_knows_where_the_take_lies() {
    let mut converter = Converter::new(&bank(encoders()[0].clone()), 48_000, settings(12.0)).unwrap();
    assert_eq!(converter.take_median_f0_hz(), None);
    convert(&mut converter, &take(96_000, 48_000), &[], &[512]);
    let times = (0..2_000).map(|n| f64::from(n) / 1_000.0).filter(|time| (time * 3.0).fract() > 0.3);
    let mut sung: Vec<f64> = times.map(|time| 180.0 + 40.0 * (5.0 * time).sin()).collect();
    sung.sort_by(f64::total_cmp);
    let cents = 1200.0 * (f64::from(converter.take_median_f0_hz().unwrap()) / sung[sung.len() / 2]).log2();
    assert!(cents.abs() < 30.0, "{cents} cents off");
    converter.reset();
    assert_eq!(converter.take_median_f0_hz(), None);
}

#[test]
fn settings_land_with_the_first_hop_after_them() {
    // Rates are equal, so hop f starts at sample 160 f and is heard `latency` later.
    let mut chain = PassThrough::chain(3, MODEL_RATE_HZ, settings(0.0));
    let latency = latency(&chain);
    let input = vec![0.0; 4_000];
    for position in [1, 159, 160, 161, 479, 1_000] {
        for block in [1, 37, 4_000] {
            chain.reset();
            chain.set(settings(0.0));
            let mut output = run_in_blocks(|x, y| chain.process(x, y), &input[..position], &[block]);
            chain.set(settings(0.25));
            chain.set(settings(0.5));
            output.extend(run_in_blocks(|x, y| chain.process(x, y), &input[position..], &[block]));
            let first = output.iter().position(|sample| *sample > 0.25).unwrap();
            assert_eq!(first, position.next_multiple_of(HOP) + latency, "set at {position}");
        }
    }
}

#[test]
fn settings_before_the_first_sample_hold_from_the_start() {
    let bank = bank(encoders()[0].clone());
    let input = take(5_000, 44_100);
    let now = Settings { singer: 2, transpose_semitones: 1.0, seed: 3, ..Settings::default() };
    let fresh = convert(&mut Converter::new(&bank, 44_100, now).unwrap(), &input, &[], &[64]);
    let mut set = Converter::new(&bank, 44_100, settings(0.0)).unwrap();
    assert_eq!(bits(&fresh), bits(&convert(&mut set, &input, &[(0, now)], &[64])));
}

#[test]
fn the_past_does_not_know_the_future() {
    let input = take(12_000, 48_000);
    let mut changed = input.clone();
    changed[8_000..].iter_mut().for_each(|sample| *sample = 0.1 - *sample);
    for encoder in encoders() {
        let bank = bank(encoder);
        let run = |input: &[f32]| {
            convert(&mut Converter::new(&bank, 48_000, settings(0.0)).unwrap(), input, &[], &[256])
        };
        let (one, other) = (run(&input), run(&changed));
        assert_eq!(bits(&one[..8_000]), bits(&other[..8_000]));
        assert_ne!(one[8_000..], other[8_000..]);
    }
}

#[test]
fn bad_input_does_no_lasting_harm() {
    for encoder in encoders() {
        let bank = bank(encoder);
        let rate = 44_100;
        let good = take(30_000, rate);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e-40, 0.0, 100.0] {
            let mut converter = Converter::new(&bank, rate, settings(0.0)).unwrap();
            let mut input = good[..5_000].to_vec();
            input.extend((0..8_000).map(|n| if n % 3 == 0 { -bad } else { bad }));
            input.extend(&good);
            let output = convert(&mut converter, &input, &[], &[512]);
            assert!(output.iter().all(|sample| sample.is_finite() && sample.abs() <= 0.999), "{bad}");
            let last = &output[input.len() - 10_000..];
            assert!(last.iter().any(|sample| sample.abs() > 1e-3), "sound must come back after {bad}");
        }
        // What is not a number counts as silence, exactly.
        let convert_with = |bad: f32| {
            let mut input = good.clone();
            input[2_000..9_000].fill(bad);
            convert(&mut Converter::new(&bank, rate, settings(0.0)).unwrap(), &input, &[], &[512])
        };
        assert_eq!(bits(&convert_with(0.0)), bits(&convert_with(f32::NAN)));
    }
}

#[test]
fn what_is_out_of_range_is_refused_or_brought_into_it() {
    let bank = bank(encoders()[0].clone());
    let refused = |rate, settings| Converter::new(&bank, rate, settings).err().unwrap().to_string();
    assert!(refused(7_999, settings(0.0)).contains("7999 Hz"));
    assert!(refused(192_001, settings(0.0)).contains("192000"));
    assert!(refused(48_000, Settings { singer: 3, ..settings(0.0) }).contains("singer 3 in bank `random`"));
    assert!(refused(48_000, Settings { second_singer: 3, ..settings(0.0) }).contains("singer 3 in bank"));
    assert!(refused(48_000, settings(f32::NAN)).contains("NaN"));
    let too_far = Settings { formant_semitones: -12.5, ..settings(0.0) };
    assert!(refused(48_000, too_far).contains("formants is -12.5 semitones, must be -12 to 12"));
    assert!(refused(48_000, Settings { blend: 1.1, ..settings(0.0) }).contains("blend is 1.1"));
    assert!(refused(48_000, Settings { air: f32::NAN, ..settings(0.0) }).contains("air is NaN"));

    let input = take(9_000, 48_000);
    let with = |settings| {
        convert(
            &mut Converter::new(&bank, 48_000, self::settings(0.0)).unwrap(),
            &input,
            &[(0, settings)],
            &[99],
        )
    };
    let last = Settings { singer: 2, ..settings(0.0) };
    assert_eq!(bits(&with(Settings { singer: usize::MAX, ..settings(f32::NAN) })), bits(&with(last)));
    let second = Settings { second_singer: 9, blend: 3.0, air: -1.0, ..settings(0.0) };
    assert_eq!(bits(&with(second)), bits(&with(Settings { air: 0.0, ..last })));
    let formant = |semitones| with(Settings { formant_semitones: semitones, ..settings(0.0) });
    assert_eq!(bits(&formant(f32::INFINITY)), bits(&formant(12.0)));
    assert_eq!(bits(&formant(f32::NAN)), bits(&formant(0.0)));
    assert_eq!(bits(&with(settings(f32::INFINITY))), bits(&with(settings(MAX_TRANSPOSE_SEMITONES))));
}

#[test]
fn a_rest_is_no_louder_than_the_take() {
    let bank =
        bank(EncoderConfig::Mel { mels: 40, channels: 8, layers: 2, dilation_base: 1, look_ahead_frames: 1 });
    let mut converter = Converter::new(&bank, MODEL_RATE_HZ, Settings::default()).unwrap();
    let mut input = take(16_000, MODEL_RATE_HZ);
    // From half a second on a rest whose room is at -72 dB.
    for (n, sample) in input[8_000..].iter_mut().enumerate() {
        *sample = if n % 3 == 0 { 4.2e-4 } else { -2.1e-4 };
    }
    let mut output = vec![0.0; input.len()];
    converter.process(&input, &mut output);
    let rms = |samples: &[f32]| crate::signal::loudness::mean_square(samples).sqrt();
    let sung = converter.latency_samples() + 8_000;
    assert!(rms(&output[sung - 4_000..sung]) > 0.003, "{}", rms(&output[sung - 4_000..sung]));
    // A window of the analysis and a glide later.
    let rest = rms(&output[sung + 800..]) / rms(&input[8_000..]);
    assert!(rest < 1.2 && rest > 0.1, "{rest}");
}

#[test]
fn a_decoder_that_shouts_is_kept_near_the_take() {
    // The lowest and the highest code, whatever it hears.
    let shouting = changed(&bank(encoders()[0].clone()), "decoder.head.output.bias", |bias| {
        bias.fill(-1e6);
        (bias[0], bias[255]) = (1e6, 1e6);
    });

    let input: Vec<f32> = take(32_000, MODEL_RATE_HZ).iter().map(|sample| 0.1 * sample).collect();
    let mut converter = Converter::new(&shouting, MODEL_RATE_HZ, Settings::default()).unwrap();
    let mut output = vec![0.0; input.len()];
    converter.process(&input, &mut output);
    let latency = converter.latency_samples();
    let square = |samples: &[f32]| crate::signal::loudness::mean_square(samples);
    let asked = square(&input[..input.len() - latency]);
    // 5 dB and what lies under -40 dB; a little more, since parts of the take are louder than its mean.
    let most = 6.0 * asked + 2e-4;
    let sung = square(&output[latency..]);
    assert!(asked > 1e-5 && most < 0.05, "the take is {asked}");
    assert!(sung < most && sung > asked, "{sung} where the take is {asked}");
}

/// The same bank twice, but for the spectrum that it expects: bright in one, dark in the other.
#[test]
fn what_is_sung_is_led_to_the_spectrum_that_the_bank_expects() {
    let bank = changed(&bank(encoders()[0].clone()), "spectrum.weight", |weight| weight.fill(0.0));
    let input = take(32_000, MODEL_RATE_HZ);
    // Power of the difference of neighbours over the power: what is high over all.
    let brightness = |slope: f32| {
        let bank = changed(&bank, "spectrum.bias", |bias| {
            bias.iter_mut().enumerate().for_each(|(band, bias)| *bias = slope * (band as f32 / 19.5 - 1.0));
        });
        let mut converter = Converter::new(&bank, MODEL_RATE_HZ, Settings::default()).unwrap();
        let mut output = vec![0.0; input.len()];
        converter.process(&input, &mut output);
        let steps: f32 = output.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).sum();
        steps / output.iter().map(|sample| sample * sample).sum::<f32>()
    };
    let (dark, bright) = (brightness(-1.0), brightness(1.0));
    assert!(bright > 1.5 * dark, "{bright} and {dark}");
}

/// The built-in bank's whole chain, its decoder on an emulated GPU.
#[test]
fn a_gpu_sings_the_samples_that_the_processor_sings() {
    let bank = VoiceBank::default_bank().unwrap();
    let take: Vec<f32> = (0..4_800).map(|n| ((n % 218) as f32 / 218.0 - 0.5) * 0.4).collect();
    let sung = |on_gpu: bool| {
        let mut converter = Converter::new(&bank, 48_000, Settings::default()).unwrap();
        if on_gpu {
            converter.sing_on(&emulated_gpu()).unwrap();
        }
        let mut sung = vec![0.0; take.len()];
        for (input, output) in take.chunks(700).zip(sung.chunks_mut(700)) {
            converter.process(input, output);
        }
        assert_eq!(converter.gpu_use(), on_gpu.then_some(GpuUse { sings: true, falls: 0 }));
        sung
    };
    let wanted = sung(false);
    assert!(wanted.iter().any(|sample| sample.abs() > 0.01));
    assert!(sung(true) == wanted);
}
