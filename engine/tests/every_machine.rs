//! A bounce is the same on every machine: not only on every instruction set of this one, but where another system's library
//! and another compiler's back end would decide the last bits. `cargo xtask arm` runs this on an emulated aarch64 processor.

use falsetto_engine::stream::{Settings, convert};
use falsetto_engine::voice::VoiceBank;

const RATE_HZ: u32 = 44_100;

/// A gliding voice of pulses through a resonance, noise and a rest, by integers and single operations alone.
fn take() -> Vec<f32> {
    let (mut phase, mut random) = (0_u32, 1_u32);
    let (mut last, mut before) = (0.0_f32, 0.0_f32);
    (0..RATE_HZ * 7 / 10)
        .map(|i| {
            // From 150 Hz on, 450 Hz higher each second.
            let step = (u64::from(150 * RATE_HZ + 450 * i) << 32) / u64::from(RATE_HZ) / u64::from(RATE_HZ);
            let (next, closes) = phase.overflowing_add(step as u32);
            phase = next;
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (random >> 8) as f32 / 16_777_216.0 - 0.5;
            let sung = (RATE_HZ / 10..RATE_HZ / 2).contains(&i);
            let excitation =
                if sung && closes { 1.0 } else { 0.0 } + if i < RATE_HZ / 8 { 0.02 * noise } else { 0.0 };
            let sound = excitation + 1.93 * last - 0.95 * before;
            (last, before) = (sound, last);
            0.03 * sound
        })
        .collect()
}

/// FNV-1a of the samples' bits, lowest byte first.
fn fingerprint(samples: &[f32]) -> u64 {
    let bytes = samples.iter().flat_map(|sample| sample.to_bits().to_le_bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

/// These change with the built-in bank and with whatever changes a bounce, and then on all machines alike.
const TAKE: u64 = 2_719_009_687_197_109_533;
const NEAR: u64 = 2_521_186_316_257_805_199;
const FAR: u64 = 12_604_200_549_001_452_162;

#[test]
fn a_bounce_is_the_same_on_every_machine() {
    let bank = VoiceBank::default_bank().expect("the built-in bank");
    let far = Settings {
        singer: 3,
        second_singer: 5,
        blend: 0.3,
        transpose_semitones: 9.5,
        formant_semitones: -1.5,
        air: 0.7,
        seed: 7,
    };
    let take = take();
    assert_eq!(fingerprint(&take), TAKE, "the take");
    for (settings, expected) in [(Settings::FIRST_SINGER, NEAR), (far, FAR)] {
        let sung = convert(&bank, RATE_HZ, settings, &take).expect("a conversion");
        assert!(sung.iter().any(|sample| sample.abs() > 0.02), "nothing is sung");
        assert_eq!(fingerprint(&sung), expected, "{settings:?}");
    }
}
