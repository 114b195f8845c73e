use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use sha2::{Digest, Sha256};

use super::*;
use crate::voice::config::*;

fn tiny_config() -> ModelConfig {
    ModelConfig {
        sample_rate_hz: 16_000,
        hop_samples: 160,
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
            frame_channels: 4,
            ..Default::default()
        },
        encoder: EncoderConfig::Mel {
            mels: 40,
            channels: 4,
            layers: 2,
            dilation_base: 1,
            look_ahead_frames: 1,
        },
        decoder: DecoderConfig {
            blocks: 1,
            layers_per_block: 2,
            residual_channels: 4,
            skip_channels: 4,
            head_channels: 4,
            pairs: false,
            prior: Some(PriorConfig { taps: 8, harmonics: 4 }),
        },
    }
}

fn tiny() -> VoiceBank {
    VoiceBank::random(tiny_config(), 2, 1).unwrap()
}

fn bytes_of(bank: &VoiceBank) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bank.safetensors");
    bank.save(&path).unwrap();
    std::fs::read(&path).unwrap()
}

/// The file of a bank, written by the safetensors crate, with whatever a test wants different.
struct Forged {
    metadata: HashMap<String, String>,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl Forged {
    fn new(bank: &VoiceBank) -> Self {
        let bytes = bytes_of(bank);
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file
            .iter()
            .map(|(name, view)| {
                (name.to_string(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
            })
            .collect();
        Self { metadata: header.metadata().clone().unwrap(), tensors }
    }

    fn bytes(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, (dtype, shape, data))| {
            (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        safetensors::serialize(views, Some(self.metadata.clone())).unwrap()
    }

    fn load(&self) -> Result<VoiceBank, VoiceError> {
        VoiceBank::from_bytes(&self.bytes(), "forged.safetensors")
    }

    fn edit_card(&mut self, edit: impl FnOnce(&mut serde_json::Value)) {
        let mut card = serde_json::from_str(&self.metadata["falsetto.card"]).unwrap();
        edit(&mut card);
        self.metadata.insert("falsetto.card".into(), card.to_string());
    }
}

#[track_caller]
fn refused(result: Result<VoiceBank, VoiceError>, words: &[&str]) {
    let error = result.expect_err("must be refused").to_string();
    for word in words {
        assert!(error.contains(word), "`{error}` must contain `{word}`");
    }
}

#[test]
fn what_is_saved_is_loaded() {
    let bank = tiny();
    let bytes = bytes_of(&bank);
    let loaded = VoiceBank::from_bytes(&bytes, "x").unwrap();
    assert_eq!(loaded.card(), bank.card());
    for spec in tensor_specs(&bank.card().model, 2) {
        assert_eq!(loaded.tensor(&spec.name), bank.tensor(&spec.name), "{}", spec.name);
    }
    assert_eq!(bytes_of(&loaded), bytes);
    let of_file: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((bank.content_hash(), loaded.content_hash()), (of_file.clone(), of_file));
    assert_ne!(VoiceBank::random(tiny_config(), 2, 2).unwrap().content_hash(), bank.content_hash());
}

#[test]
fn the_file_is_read_by_others() {
    let bank = tiny();
    let bytes = bytes_of(&bank);
    let (header_bytes, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert!(header_bytes.is_multiple_of(8));
    let metadata = header.metadata().as_ref().unwrap();
    assert_eq!(metadata["falsetto.format_version"], "1");
    assert_eq!(metadata["modelspec.title"], "random");
    assert_eq!(metadata["modelspec.license"], "CC0-1.0");
    assert!(metadata.contains_key("modelspec.architecture"));
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor("singers.embedding").unwrap();
    assert_eq!((view.dtype(), view.shape()), (Dtype::F32, &[2, 3][..]));
    assert_eq!(view.data()[4..8], bank.tensor("singers.embedding")[1].to_le_bytes());
}

#[test]
fn a_file_of_another_writer_in_half_precision_is_read() {
    let bank = tiny();
    let mut forged = Forged::new(&bank);
    // 1.5 in bfloat16 and in binary16.
    forged.tensors.insert("frame.bias".into(), (Dtype::BF16, vec![4], [0xc0, 0x3f].repeat(4)));
    forged.tensors.insert("decoder.skip_bias".into(), (Dtype::F16, vec![4], [0x00, 0x3e].repeat(4)));
    let loaded = forged.load().unwrap();
    assert_eq!(loaded.tensor("frame.bias"), [1.5; 4]);
    assert_eq!(loaded.tensor("decoder.skip_bias"), [1.5; 4]);
    assert_eq!(loaded.tensor("frame.weight"), bank.tensor("frame.weight"));
    // The hash is that of the content, so it survives being saved in our own layout.
    assert_eq!(VoiceBank::from_bytes(&bytes_of(&loaded), "x").unwrap().content_hash(), loaded.content_hash());
    assert_eq!(Forged::new(&bank).load().unwrap().content_hash(), bank.content_hash());
}

#[test]
fn wrong_tensors_are_refused_by_name() {
    let bank = tiny();
    let forged = || Forged::new(&bank);

    let mut file = forged();
    file.tensors.remove("condition.bias");
    refused(file.load(), &["forged.safetensors", "`condition.bias`", "no such tensor", "[20]"]);

    let mut file = forged();
    file.tensors.insert("surplus".into(), (Dtype::F32, vec![1], vec![0; 4]));
    refused(file.load(), &["`surplus`", "no tensor of this name"]);

    let mut file = forged();
    file.tensors.get_mut("frame.weight").unwrap().1.reverse();
    refused(file.load(), &["`frame.weight`", "[4, 10]", "[10, 4]"]);

    let mut file = forged();
    file.tensors.get_mut("frame.bias").unwrap().0 = Dtype::I32;
    refused(file.load(), &["`frame.bias`", "F32", "I32"]);

    for value in [f32::NAN, f32::INFINITY] {
        let mut file = forged();
        file.tensors.get_mut("frame.bias").unwrap().2[4..8].copy_from_slice(&value.to_le_bytes());
        refused(file.load(), &["`frame.bias`", "finite", "element 1"]);
    }
}

#[test]
fn wrong_cards_are_refused_by_field() {
    let bank = tiny();
    let with = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut file = Forged::new(&bank);
        file.edit_card(edit);
        file.load()
    };
    refused(
        with(&|card| card["singers"][1]["name"] = "singer-0".into()),
        &["singers[1].name", "singer-0", "taken"],
    );
    refused(with(&|card| card["singers"][1]["name"] = " ".into()), &["singers[1].name", "empty"]);
    refused(with(&|card| card["singers"][0]["name"] = "a\nb".into()), &["singers[0].name", "control"]);
    refused(with(&|card| card["singers"] = serde_json::json!([])), &["singers", "0 entries"]);
    refused(with(&|card| card["singers"][0]["median_f0_hz"] = 1e30.into()), &["median_f0_hz"]);
    refused(with(&|card| card["sampling"]["floor_probability"] = 0.5.into()), &["floor_probability", "0.5"]);
    refused(with(&|card| card["sampling"]["voiced_sharpness"] = 1e300.into()), &["voiced_sharpness", "inf"]);
    refused(with(&|card| card["sampling"]["unvoiced_sharpness"] = (-1).into()), &["unvoiced_sharpness"]);
    refused(
        with(&|card| card["model"]["decoder"]["residual_channels"] = (1_u64 << 60).into()),
        &["residual"],
    );
    refused(with(&|card| card["name"] = "".into()), &["name is empty"]);
    refused(with(&|card| card["surprise"] = 1.into()), &["surprise"]);
    refused(
        with(&|card| {
            card["model"]["encoder"] =
                serde_json::json!({"kind": "strided", "strides": vec![64; 12], "channels": 4});
        }),
        &["strides"],
    );
    // A card that promises other sizes than the tensors have.
    refused(
        with(&|card| card["model"]["latent_size"] = 1024.into()),
        &["`encoder.latent.weight`", "[1024, 4, 2]"],
    );
    refused(
        with(&|card| {
            let singers = card["singers"].as_array_mut().unwrap();
            singers.pop();
        }),
        &["`singers.embedding`", "[1, 3]", "[2, 3]"],
    );
}

#[test]
fn other_versions_and_other_files_are_refused() {
    let bank = tiny();
    let mut file = Forged::new(&bank);
    file.metadata.insert("falsetto.format_version".into(), "2".into());
    file.metadata.insert("falsetto.card".into(), "not even JSON".into());
    refused(file.load(), &["forged.safetensors", "format 2", "reads format 1"]);

    let mut file = Forged::new(&bank);
    file.metadata.clear();
    refused(file.load(), &["not a voice bank", "falsetto.format_version"]);

    refused(VoiceBank::from_bytes(b"", "empty"), &["empty", "0 bytes"]);
    refused(
        VoiceBank::from_bytes(b"These are words, and no voice at all.", "words.txt"),
        &["words.txt", "claims"],
    );

    let mut bytes = bytes_of(&bank);
    bytes[..8].copy_from_slice(&(1_u64 << 60).to_le_bytes());
    refused(VoiceBank::from_bytes(&bytes, "x"), &["claims 1152921504606846976"]);

    let mut bytes = bytes_of(&bank);
    bytes.extend([0; 4]);
    refused(VoiceBank::from_bytes(&bytes, "x"), &["cover"]);
}

#[test]
fn a_shape_that_lies_is_refused() {
    // The header of a whole bank with one tensor's shape and span blown up, and no bytes to show for it.
    let bytes = bytes_of(&tiny());
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + length]).unwrap();
    for (old, new, words) in [
        ("\"shape\":[4,10]", "\"shape\":[4,10,1]", "`frame.weight`"),
        ("\"shape\":[4,10]", "\"shape\":[4611686018427387904,4]", "`frame.weight`"),
        ("\"shape\":[4,10]", "\"shape\":[]", "`frame.weight`"),
        ("\"shape\":[4,10]", "\"shape\":[-4,10]", "header is not valid"),
        ("\"data_offsets\":[0,", "\"data_offsets\":[4,", "claims the bytes 4.."),
        ("\"dtype\":\"F32\"", "\"dtype\":\"F64\"", "F64"),
        ("\"frame.bias\"", "\"frame.weight\"", "given twice"),
    ] {
        assert!(header.contains(old), "{old}");
        let header = header.replacen(old, new, 1);
        let mut forged = (header.len() as u64).to_le_bytes().to_vec();
        forged.extend(header.bytes());
        forged.extend(&bytes[8 + length..]);
        refused(VoiceBank::from_bytes(&forged, "liar"), &["liar", words]);
    }
}

#[test]
fn tensors_that_do_not_fit_the_card_make_no_bank() {
    let bank = tiny();
    let (card, tensors) = (bank.card.clone(), bank.tensors.clone());
    let mut short = tensors.clone();
    short.get_mut("frame.bias").unwrap().pop();
    refused(VoiceBank::new(card.clone(), short), &["`frame.bias`", "[4]", "3 values"]);
    let mut extra = tensors.clone();
    extra.insert("x".into(), vec![]);
    refused(VoiceBank::new(card.clone(), extra), &["`x`"]);
    let mut absurd = card;
    absurd.model.decoder.skip_channels = usize::MAX;
    refused(VoiceBank::new(absurd, tensors), &["skip_channels"]);
}

/// What switches of the relatives do not go together, by name.
#[test]
fn relatives_that_cannot_be_are_refused() {
    let change = |change: &dyn Fn(&mut ModelConfig)| {
        let mut config = tiny_config();
        change(&mut config);
        config
    };
    let envelope = |config: &mut ModelConfig| {
        config.encoder = EncoderConfig::Envelope { channels: vec![2] };
        (config.condition, config.decoder) = Default::default();
        config.envelope = Some(EnvelopeConfig { channels: vec![2, 2], maps_f0: true });
    };
    assert_eq!(change(&envelope).check(), Ok(()));
    VoiceBank::random(change(&envelope), 2, 1).unwrap();
    type Change<'a> = &'a dyn Fn(&mut ModelConfig);
    let refusals: [(Change, &str); 9] = [
        (&|config| config.encoder = EncoderConfig::None, "latent_size"),
        (&|config| config.singers = SingerInput::None, "singer_embedding_size"),
        (&|config| config.bottleneck = Some(BottleneckConfig::Gaussian), "Gaussian bottleneck"),
        (
            &|config| config.bottleneck = Some(BottleneckConfig::VectorQuantized { codes: 1 }),
            "bottleneck.codes is 1",
        ),
        (&|config| config.decoder = DecoderConfig::default(), "decoder.blocks is 0"),
        (
            &|config| {
                config.hop_samples = 161;
                config.decoder.pairs = true;
            },
            "even hop_samples, not 161",
        ),
        (
            &|config| config.envelope = Some(EnvelopeConfig { channels: vec![2], maps_f0: false }),
            "encoder.kind",
        ),
        (
            &|config| {
                envelope(config);
                config.envelope = Some(EnvelopeConfig { channels: vec![2; 4], maps_f0: false });
            },
            "81 bins of one",
        ),
        (
            &|config| {
                envelope(config);
                config.bottleneck = Some(BottleneckConfig::VectorQuantized { codes: 4 });
            },
            "codebook",
        ),
    ];
    for (by, words) in refusals {
        let error = change(by).check().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let one_hot = change(&|config| config.singers = SingerInput::OneHot);
    refused(VoiceBank::random(one_hot, 4, 1), &["singer_embedding_size is 3", "4 singers"]);
    let decoders = change(&|config| {
        config.singers = SingerInput::Decoders;
        config.singer_embedding_size = 0;
    });
    VoiceBank::random(decoders.clone(), 2, 1).unwrap();
    refused(VoiceBank::random(decoders, 65, 1), &["65 entries", "at most 64"]);
}

#[test]
fn singers_are_found_by_name() {
    let bank = tiny();
    assert_eq!(bank.singer_index("singer-1").unwrap(), 1);
    assert_eq!(bank.singer_embedding(1), &bank.tensor("singers.embedding")[3..]);
    let error = bank.singer_index("nobody").unwrap_err().to_string();
    assert!(error.contains("nobody") && error.contains("singer-0, singer-1"), "{error}");
}

#[test]
fn a_blend_lies_between_its_singers_and_all_of_one_is_that_singer() {
    let bank = tiny();
    let half = bank.blend(&[(0, 0.5), (1, 0.5)]).unwrap();
    assert_eq!(half.card().singers.len(), 1);
    let (low, high) = (bank.singer_embedding(0), bank.singer_embedding(1));
    for ((mean, low), high) in half.singer_embedding(0).iter().zip(low).zip(high) {
        assert!((mean - (low + high) / 2.0).abs() < 1e-6);
    }
    let f0_hz = |bank: &VoiceBank, singer: usize| bank.card().singers[singer].median_f0_hz;
    let middle_hz = (f0_hz(&bank, 0) * f0_hz(&bank, 1)).sqrt();
    assert!((f0_hz(&half, 0) - middle_hz).abs() < 1e-3 * middle_hz);

    let whole = bank.blend(&[(0, 0.0), (1, 1.0)]).unwrap();
    assert_eq!(whole.singer_embedding(0), high);
    assert!(bank.blend(&[(0, f32::MAX), (1, f32::NAN)]).is_err());
}

#[test]
fn timbres_are_blended_as_singers_are() {
    let mut config = tiny_config();
    (config.condition.f0, config.condition.spectrum, config.condition.timbre) = (true, true, true);
    let bank = VoiceBank::random(config, 3, 5).unwrap();
    let size = bank.timbre(0).len();
    let row = |singer: usize| &bank.tensor(TIMBRE)[singer * size..][..size];
    assert_eq!(size, bank.tensor(TIMBRE).len() / 3);
    let blended = |first, second, blend| {
        let mut timbre = vec![0.0; size];
        assert!(bank.blended_timbre(first, second, blend, &mut timbre));
        assert!(!bank.blended_timbre(first, second, blend, &mut timbre), "it holds that already");
        timbre
    };
    assert_eq!(blended(1, 2, 0.0), row(1));
    assert_eq!(blended(0, 2, 1.0), row(2));
    assert_eq!(blended(7, 7, 0.0), row(2));
    let third = blended(0, 1, 1.0 / 3.0);
    let half = bank.blend(&[(1, 0.5), (2, 0.5)]).unwrap();
    let near = |got: &[f32], wanted: &dyn Fn(usize) -> f32| {
        got.iter().enumerate().all(|(at, value)| (value - wanted(at)).abs() < 1e-6)
    };
    assert!(near(&third, &|at| (2.0 * row(0)[at] + row(1)[at]) / 3.0));
    assert!(near(half.tensor(TIMBRE), &|at| (row(1)[at] + row(2)[at]) / 2.0));
}

#[test]
fn saving_replaces_whole_files_and_leaves_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bank.safetensors");
    std::fs::write(&path, "old").unwrap();
    tiny().save(&path).unwrap();
    assert_eq!(VoiceBank::load(&path).unwrap().content_hash(), tiny().content_hash());

    // A rename onto a folder that is not empty fails on every system.
    let taken = folder.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(taken.join("inside"), "").unwrap();
    assert!(matches!(tiny().save(&taken), Err(VoiceError::Write { .. })));
    let error = tiny().save(&folder.path().join("nowhere/bank")).unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
    let mut names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["bank.safetensors", "taken"]);
}

#[test]
fn files_that_cannot_be_banks_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    refused(VoiceBank::load(&folder.path().join("missing")), &["missing", "cannot read"]);
    refused(VoiceBank::load(folder.path()), &["cannot read"]);
    let huge = folder.path().join("huge");
    File::create(&huge).unwrap().set_len(1 << 30).unwrap();
    refused(VoiceBank::load(&huge), &["huge", "1073741824"]);
    #[cfg(unix)]
    refused(VoiceBank::load(Path::new("/dev/zero")), &["/dev/zero", "67108865"]);
}

#[test]
fn the_default_bank_is_parsed_once() {
    let bank = VoiceBank::default_bank().unwrap();
    assert!(Arc::ptr_eq(&bank, &VoiceBank::default_bank().unwrap()));
}

proptest! {
    #[test]
    fn truncated_files_are_refused(cut in 0.0..1.0_f64) {
        let bytes = bytes_of(&tiny());
        let length = (cut * bytes.len() as f64) as usize;
        prop_assert!(VoiceBank::from_bytes(&bytes[..length], "cut").is_err());
    }

    #[test]
    fn damaged_files_load_or_are_refused(damage in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 1..8),
                                         in_header in any::<bool>()) {
        let mut bytes = bytes_of(&tiny());
        let range = if in_header { 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize } else { bytes.len() };
        for (place, value) in damage {
            bytes[(place * range as f64) as usize] ^= value;
        }
        if let Ok(bank) = VoiceBank::from_bytes(&bytes, "damaged") {
            prop_assert!(bank.card().check().is_ok());
            prop_assert!(bank.tensor("frame.weight").iter().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(VoiceBank::from_bytes(&bytes, "noise").is_err());
    }
}
