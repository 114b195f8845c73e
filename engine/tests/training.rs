//! The trainer through its public surface, on two toy singers.
#![cfg(feature = "train")]

mod toy;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use falsetto_engine::files::{Encoding, Sound};
use falsetto_engine::train::{
    Corpus, NewSinger, Recipe, Summary, Trainer, TrainingCost, adapt, adaptation_recipe,
};
use falsetto_engine::voice::{VoiceBank, tensor_specs};
use toy::{make_corpus, sing};

const RECIPE: &str = r#"
[card]
name = "toy"
licence = "CC0-1.0"
consent = "no one sings here"
trained_on = "pulse trains"

[model]
sample_rate_hz = 16000
hop_samples = 160
pre_emphasis = 0.85
latent_size = 4
singer_embedding_size = 4
condition = { f0 = true, loudness = true, excitation_harmonics = 4, period_taps = 3, frame_channels = 16, frame_layers = 2, spectrum = true, timbre = true }
encoder = { kind = "mel", mels = 20, channels = 16, layers = 2, look_ahead_frames = 1 }

[model.decoder]
blocks = 1
layers_per_block = 6
residual_channels = 16
skip_channels = 16
head_channels = 32
prior = { taps = 8, harmonics = 8 }

[training]
seed = 7
steps = 150
batch = 4
segment_frames = 12
unscored_samples = 160
learning_rate = 5e-3
warm_up_steps = 5
decay_share = 0.3
gradient_norm = 1.0
average_decay = 0.9
singer_emphasis = 1.0
latent_noise = 0.05
confusion = 0.05
confusion_warm_up_steps = 10
validation_clips = 1
validate_every = 75
tritone_step = 0
tritone_bits = 0.0
spectrum = { weight = 0.2, segments = 6 }

[augment]
reverse = 0.25
invert = 0.25
code_noise = 1
lapses_per_second = 8.0
rough_lapses_per_second = 1.0
gain_db = [-3.0, 0.0]
views = 1
view_warp = [0.9, 1.1]
view_noise_db = [30.0, 40.0]
view_tilt_db = [-3.0, 3.0]

[backtranslation]
first_step = 30
every_steps = 40
clips = 1
transpose_semitones = 3.0
share = 0.25
"#;

fn recipe(folder: &Path, change: impl Fn(String) -> String) -> Recipe {
    let path = folder.join("recipe.toml");
    std::fs::write(&path, change(RECIPE.into())).unwrap();
    Recipe::load(&path).unwrap()
}

fn load(folder: &Path, recipe: &Recipe) -> Corpus {
    Corpus::load(&folder.join("corpus"), recipe, &|_, _| {}).unwrap()
}

/// Runs until `until` steps are done (as Ctrl-C would end it); returns bits per sample of every step.
fn train(recipe: &Recipe, corpus: &Corpus, out: &Path, until: u64) -> (Summary, Vec<f32>) {
    let stop = AtomicBool::new(false);
    let mut bits = Vec::new();
    let mut trainer = Trainer::new(recipe, corpus, out, None).unwrap();
    let summary = trainer
        .run(&stop, &mut |progress| {
            bits.push(progress.bits);
            stop.store(progress.step >= until, Ordering::Relaxed);
        })
        .unwrap();
    (summary, bits)
}

/// A column of a curve.
fn column(curve: &str, name: &str) -> Vec<f32> {
    let mut lines = curve.lines();
    let place = lines.next().unwrap().split(',').position(|column| column == name).unwrap();
    lines.map(|line| line.split(',').nth(place).unwrap().parse().unwrap()).collect()
}

#[test]
fn it_learns_saves_and_a_resumed_run_is_the_unbroken_one_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    make_corpus(&folder.path().join("corpus"));
    // All that is learnt beside a bank, the spectra's critic among it.
    let critic = "segments = 6, critic = { weight = 0.005, learning_rate = 1e-3, warm_up_steps = 10 } }";
    let recipe = recipe(folder.path(), |text| {
        let text =
            text.replace("segments = 6 }", critic).replace("segment_frames = 12", "segment_frames = 20");
        text.replace("batch = 4", "batch = 3")
    });
    let corpus = load(folder.path(), &recipe);
    assert_eq!(corpus.singers, ["high", "low"]);

    let whole = folder.path().join("whole");
    let (summary, bits) = train(&recipe, &corpus, &whole, u64::MAX);
    assert!(summary.finished);
    // 8 bits is knowing nothing.
    let mean = |bits: &[f32]| bits.iter().sum::<f32>() / bits.len() as f32;
    let (start, end) = (mean(&bits[..3]), mean(&bits[140..]));
    assert!(start > 6.0 && end < 5.0, "{start} bits, then {end}");

    let broken = folder.path().join("broken");
    let (summary, first) = train(&recipe, &corpus, &broken, 37);
    assert!(!summary.finished && summary.steps == 37);
    let (summary, second) = train(&recipe, &corpus, &broken, u64::MAX);
    assert!(summary.finished);
    assert_eq!([first, second].concat(), bits);
    for file in ["voice.safetensors", "checkpoint.safetensors"] {
        let (a, b) = (std::fs::read(whole.join(file)).unwrap(), std::fs::read(broken.join(file)).unwrap());
        // The curve in the checkpoint tells samples per second, which are the machine's; everything else is the run's.
        if file == "voice.safetensors" {
            assert!(a == b, "{file} differs");
        } else {
            assert_eq!(a.len(), b.len());
        }
    }

    let bank = VoiceBank::load(&whole.join("voice.safetensors")).unwrap();
    assert_eq!(bank.card().singers.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["high", "low"]);
    // The vibrato is even around these four notes.
    assert!((bank.card().singers[0].median_f0_hz - 195.0).abs() < 25.0);
    let curve = std::fs::read_to_string(whole.join("curve.csv")).unwrap();
    assert_eq!(curve.lines().count(), 3);
    let distances: Vec<f32> = column(&curve, "spectrum_distance");
    assert!(distances[1] < 0.8 * distances[0], "{distances:?}");
    // A critic that knows nothing pays 2.5.
    let critic = column(&curve, "critic");
    assert!(critic.iter().all(|loss| *loss > 0.0 && *loss < 1.5), "{critic:?}");
    let page = std::fs::read_to_string(whole.join("curve.html")).unwrap();
    assert!(page.contains("step 150 of 150") && page.contains("src=\"previews/high_as_low.wav\""));
    let preview = Sound::read(&whole.join("previews/high_as_low.wav")).unwrap();
    assert_eq!(preview.frames() / 160, 120);
}

#[test]
#[cfg(unix)]
fn what_a_run_costs_lies_beside_its_bank_and_is_summed_when_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    make_corpus(&folder.path().join("corpus"));
    let recipe = recipe(folder.path(), |text| text.replace("steps = 150", "steps = 4"));
    let corpus = load(folder.path(), &recipe);
    let out = folder.path().join("out");
    let told = || {
        let file = out.join("voice.safetensors");
        let hash = VoiceBank::load(&file).unwrap().content_hash();
        assert_eq!(TrainingCost::beside(&file, "another bank's"), None);
        TrainingCost::beside(&file, &hash)
    };

    let (summary, _) = train(&recipe, &corpus, &out, 2);
    let first = told().unwrap();
    assert_eq!(first.steps, 2);
    let taken_s = summary.cpu_time.unwrap().as_secs_f64();
    assert!(first.cpu_s > 0.0 && first.cpu_s <= taken_s, "{} s, then {taken_s} s", first.cpu_s);

    // As if the first part had taken a day.
    let file = out.join("cost.json");
    let long = TrainingCost { cpu_s: 86_400.0, ..first };
    std::fs::write(&file, serde_json::to_vec(&long).unwrap()).unwrap();
    let (summary, _) = train(&recipe, &corpus, &out, u64::MAX);
    let whole = told().unwrap();
    assert_eq!(whole.steps, 4);
    let more_s = whole.cpu_s - 86_400.0;
    assert!(more_s > 0.0 && more_s < 3_600.0, "{more_s} s");
    assert!(summary.cpu_time.unwrap().as_secs_f64() >= whole.cpu_s);

    // A part of which nothing is known makes the whole unknown, and what is said of another bank is not believed.
    for word in [serde_json::to_vec(&long).unwrap(), b"not JSON".to_vec()] {
        std::fs::write(&file, word).unwrap();
        let (summary, _) = train(&recipe, &corpus, &out, u64::MAX);
        assert_eq!((summary.cpu_time, told()), (None, None));
    }
}

#[test]
fn emphasis_puts_the_singers_further_apart_around_the_same_mean() {
    let folder = tempfile::tempdir().unwrap();
    make_corpus(&folder.path().join("corpus"));
    let [plain, strong] = ["1.0", "1.5"].map(|emphasis| {
        let recipe = recipe(folder.path(), |text| {
            text.replace("singer_emphasis = 1.0", &format!("singer_emphasis = {emphasis}"))
                .replace("steps = 150", "steps = 2")
        });
        let out = folder.path().join(emphasis);
        train(&recipe, &load(folder.path(), &recipe), &out, u64::MAX);
        VoiceBank::load(&out.join("voice.safetensors")).unwrap()
    });
    let ends = |bank: &VoiceBank| [0, 1].map(|singer| bank.singer_embedding(singer).to_vec());
    let ([low, high], [far_low, far_high]) = (ends(&plain), ends(&strong));
    for channel in 0..4 {
        let apart = high[channel] - low[channel];
        assert!((far_high[channel] - far_low[channel] - 1.5 * apart).abs() < 1e-5);
        assert!((far_high[channel] + far_low[channel] - high[channel] - low[channel]).abs() < 1e-5);
    }
    assert_eq!(plain.tensor("frame.weight"), strong.tensor("frame.weight"));
}

#[test]
fn a_new_singer_comes_in_and_the_others_stay_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    make_corpus(&folder.path().join("corpus"));
    // A toy that has heard two singers on four notes leans on what was heard a period ago more than on who sings.
    let toy = recipe(folder.path(), |text| text.replace("period_taps = 3", "period_taps = 0"));
    let out = folder.path().join("out");
    train(&toy, &load(folder.path(), &toy), &out, u64::MAX);
    let bank = VoiceBank::load(&out.join("voice.safetensors")).unwrap();

    let recordings = folder.path().join("recordings");
    std::fs::create_dir_all(&recordings).unwrap();
    for (clip, f0_hz) in [160.0, 190.0, 230.0].into_iter().enumerate() {
        let channels = vec![sing(f0_hz, 1_100.0, 1.2)];
        let sound = Sound { rate_hz: 16_000, channels, encoding: Encoding::Integer(16) };
        sound.write_wav(&recordings.join(format!("{clip}.wav"))).unwrap();
    }
    let singer = NewSinger { name: "middle".into(), consent: "a machine's".into() };
    let adapted = |steps: u64, stop: bool| {
        let recipe = adaptation_recipe(&bank, steps);
        let corpus = Corpus::load_singer(&recordings, "middle", &bank, &recipe, &|_, _| {}).unwrap();
        adapt(&bank, &singer, &recipe, &corpus, &AtomicBool::new(stop), &mut |_| {}).unwrap()
    };
    let learnt = adapted(20, false);
    assert!(learnt.bits < learnt.nearest.1, "{} bits, nearest {:?}", learnt.bits, learnt.nearest);
    let card = learnt.bank.card();
    assert_eq!(card.singers.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["high", "low", "middle"]);
    assert!((card.singers[2].median_f0_hz - 190.0).abs() < 20.0);
    assert!(card.consent.contains("middle: a machine's"), "{}", card.consent);
    for spec in tensor_specs(&card.model, 2) {
        let (old, new) = (bank.tensor(&spec.name), learnt.bank.tensor(&spec.name));
        assert_eq!(old, &new[..old.len()], "{}", spec.name);
    }
    // What the new singer sounds like around 190 Hz: a formant at 1100 Hz, without level.
    let (bands, registers) = (20, 18);
    let timbre = &learnt.bank.tensor("singers.timbre")[(2 * registers + 6) * bands..][..bands];
    let loudest = (4..bands).max_by(|a, b| timbre[*a].total_cmp(&timbre[*b])).unwrap();
    assert!((5..=8).contains(&loudest), "{timbre:?}");
    assert!(timbre.iter().sum::<f32>().abs() < 1e-3, "{timbre:?}");
    // Stopped at once, it is the nearest singer under another name.
    let stopped = adapted(20, true);
    let nearest = stopped.bank.singer_index(&stopped.nearest.0).unwrap();
    assert_eq!(stopped.bank.singer_embedding(2), stopped.bank.singer_embedding(nearest));
    assert_eq!(stopped.bits, stopped.nearest.1);
}

#[test]
fn wave_encoders_train_too() {
    let folder = tempfile::tempdir().unwrap();
    make_corpus(&folder.path().join("corpus"));
    for encoder in [
        r#"{ kind = "dilated", blocks = 1, layers_per_block = 4, channels = 8, look_ahead = "full" }"#,
        r#"{ kind = "dilated", blocks = 1, layers_per_block = 4, channels = 8, look_ahead = { samples = 8 } }"#,
        r#"{ kind = "strided", strides = [4, 4, 10], channels = 8 }"#,
    ] {
        let recipe = recipe(folder.path(), |text| {
            let mel = text.lines().find(|line| line.starts_with("encoder")).unwrap().to_string();
            text.replace(&mel, &format!("encoder = {encoder}"))
                .replace("steps = 150", "steps = 4")
                .replace("spectrum = { weight = 0.2, segments = 6 }", "")
                .replace(", spectrum = true, timbre = true", "")
        });
        let corpus = load(folder.path(), &recipe);
        let out = folder.path().join("wave");
        let (summary, bits) = train(&recipe, &corpus, &out, u64::MAX);
        assert!(summary.finished && bits.iter().all(|bits| bits.is_finite()));
        std::fs::remove_dir_all(out).unwrap();
    }
}

#[test]
fn a_run_that_starts_from_a_bank_knows_what_it_knows() {
    let folder = tempfile::tempdir().unwrap();
    make_corpus(&folder.path().join("corpus"));
    let emphasised =
        |text: String| text.replace("singer_emphasis = 1.0", "singer_emphasis = 1.5\nsinger_contrast = 0.2");
    let first = recipe(folder.path(), emphasised);
    let corpus = load(folder.path(), &first);
    let (summary, bits) = train(&first, &corpus, &folder.path().join("first"), u64::MAX);
    let bank = VoiceBank::load(&summary.bank).unwrap();

    // A wider network that hears less far ahead, and a singer whom the bank does not have.
    std::fs::rename(folder.path().join("corpus/low"), folder.path().join("corpus/third")).unwrap();
    let wider = recipe(folder.path(), |text| {
        emphasised(text)
            .replace("frame_channels = 16", "frame_channels = 24")
            .replace("look_ahead_frames = 1", "look_ahead_frames = 0")
    });
    let corpus = load(folder.path(), &wider);
    let begin = |name: &str, from: Option<&VoiceBank>| {
        let stop = AtomicBool::new(true);
        let mut trainer = Trainer::new(&wider, &corpus, &folder.path().join(name), from).unwrap();
        let bank = VoiceBank::load(&trainer.run(&stop, &mut |_| {}).unwrap().bank).unwrap();
        stop.store(false, Ordering::Relaxed);
        let mut first = 0.0;
        trainer
            .run(&stop, &mut |progress| {
                first = progress.bits;
                stop.store(true, Ordering::Relaxed);
            })
            .unwrap();
        (bank, first)
    };
    let (begun, knowing) = begin("second", Some(&bank));
    let (_, ignorant) = begin("third", None);
    let end = bits[140..].iter().sum::<f32>() / 10.0;
    assert!(knowing < end + 0.6 && ignorant > knowing + 1.0, "{end} bits, then {knowing}, else {ignorant}");
    assert_eq!(begun.tensor("decoder.layers.3.current"), bank.tensor("decoder.layers.3.current"));
    // What is moved away from the mean is not moved twice.
    let distance = |bank: &VoiceBank| -> f32 {
        let [a, b] = [0, 1].map(|singer| bank.singer_embedding(singer));
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt()
    };
    // One singer of two is new and starts from the mean, half as far from the other.
    assert!((distance(&begun) / distance(&bank) - 0.5).abs() < 1e-3);

    // Another encoder: how sound goes on is taken over, the rest begins anew.
    let other =
        recipe(folder.path(), |text| text.replace("mels = 20, channels = 16", "mels = 20, channels = 20"));
    let stop = AtomicBool::new(true);
    let out = folder.path().join("encoder");
    let mut trainer = Trainer::new(&other, &corpus, &out, Some(&bank)).unwrap();
    let begun = VoiceBank::load(&trainer.run(&stop, &mut |_| {}).unwrap().bank).unwrap();
    assert_eq!(begun.tensor("decoder.layers.3.current"), bank.tensor("decoder.layers.3.current"));
    assert_ne!(begun.tensor("frame.weight"), bank.tensor("frame.weight"));

    let other = recipe(folder.path(), |text| text.replace("prior = { taps = 8", "prior = { taps = 6"));
    let out = folder.path().join("other");
    let error = Trainer::new(&other, &corpus, &out, Some(&bank)).err().unwrap().to_string();
    assert!(error.contains("bank toy") && error.contains("decoder"), "{error}");
}

#[test]
fn a_decoder_that_ignores_f0_stops_the_run_with_words() {
    let folder = tempfile::tempdir().unwrap();
    make_corpus(&folder.path().join("corpus"));
    let recipe = recipe(folder.path(), |text| {
        text.replace("tritone_step = 0", "tritone_step = 2")
            .replace("tritone_bits = 0.0", "tritone_bits = 3.0")
    });
    let corpus = load(folder.path(), &recipe);
    let mut trainer = Trainer::new(&recipe, &corpus, &folder.path().join("out"), None).unwrap();
    let error = trainer.run(&AtomicBool::new(false), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("step 2") && error.contains("F0"), "{error}");
}

#[test]
fn what_cannot_be_trained_on_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = folder.path().join("corpus");
    std::fs::create_dir_all(corpus.join("empty")).unwrap();
    let recipe = recipe(folder.path(), |text| text);
    let error = Corpus::load(&corpus, &recipe, &|_, _| {}).err().unwrap().to_string();
    assert!(error.contains("no singer folders"), "{error}");

    make_corpus(&corpus);
    std::fs::write(corpus.join("low/0.wav"), "not a sound").unwrap();
    let loaded = Corpus::load(&corpus, &recipe, &|_, _| {}).unwrap();
    assert_eq!(loaded.dropped.len(), 1);
    assert!(loaded.dropped[0].0.ends_with("low/0.wav"));

    let path = folder.path().join("wave.toml");
    let strided = r#"encoder = { kind = "strided", strides = [4, 4, 10], channels = 8 }"#;
    let mel = RECIPE.lines().find(|line| line.starts_with("encoder")).unwrap();
    std::fs::write(&path, RECIPE.replace(mel, strided)).unwrap();
    let error = Recipe::load(&path).unwrap_err().to_string();
    assert!(error.contains("condition.spectrum needs a mel encoder"), "{error}");
    let critic = "segments = 6, critic = { weight = 0.1, learning_rate = 1e-3, warm_up_steps = 10 } }";
    std::fs::write(&path, RECIPE.replace("segments = 6 }", critic)).unwrap();
    let error = Recipe::load(&path).unwrap_err().to_string();
    assert!(error.contains("hears 19 frames"), "{error}");

    // A checkpoint of another model is not overwritten.
    let out = folder.path().join("out");
    train(&recipe, &loaded, &out, 1);
    let other = self::recipe(folder.path(), |text| text.replace("latent_size = 4", "latent_size = 5"));
    let error = Trainer::new(&other, &loaded, &out, None).err().unwrap().to_string();
    assert!(error.contains("does not belong to this run"), "{error}");

    // A singer's home is the singer's, whatever the audio's median is; a name that no one has is a slip of the pen.
    let at_home = |name: &str| {
        let home = format!("trained_on = \"pulse trains\"\nhome_f0_hz = {{ {name} = 99.0 }}");
        self::recipe(folder.path(), |text| text.replace("trained_on = \"pulse trains\"", &home))
    };
    let error = Trainer::new(&at_home("lwo"), &loaded, &out, None).err().unwrap().to_string();
    assert!(error.contains("names lwo") && error.contains("high, low"), "{error}");
    let (summary, _) = train(&at_home("low"), &loaded, &out, 2);
    let singers = VoiceBank::load(&summary.bank).unwrap().card().singers.clone();
    assert_eq!((singers[1].name.as_str(), singers[1].median_f0_hz), ("low", 99.0));
    assert!(singers[0].median_f0_hz > 140.0, "{singers:?}");
}

/// They are other segments to learn from, but what a bank says of its singers is of the recordings.
#[test]
fn clips_at_other_pitches_are_trained_on_and_say_nothing_of_the_singers() {
    let folder = tempfile::tempdir().unwrap();
    make_corpus(&folder.path().join("corpus"));
    let with = |semitones: &str| {
        recipe(folder.path(), |text| {
            let text = text.replace("steps = 150", "steps = 5");
            text.replace("[augment]", &format!("[augment]\npitch_semitones = {semitones}"))
        })
    };
    let [plain, more] = ["[]", "[-3.0, 5.0]"].map(|semitones| load(folder.path(), &with(semitones)));
    assert_eq!(plain.median_f0_hz, more.median_f0_hz);
    assert_eq!(plain.minutes, more.minutes);
    let out = |name: &str| folder.path().join(name);
    let (summary, bits) = train(&with("[-3.0, 5.0]"), &more, &out("more"), u64::MAX);
    let (plain_summary, plain_bits) = train(&with("[]"), &plain, &out("plain"), u64::MAX);
    assert!(summary.finished && bits.iter().all(|bits| bits.is_finite()));
    assert_ne!(bits, plain_bits);
    let timbre =
        |summary: &Summary| VoiceBank::load(&summary.bank).unwrap().tensor("singers.timbre").to_vec();
    assert_eq!(timbre(&summary), timbre(&plain_summary));

    let path = folder.path().join("farther.toml");
    for semitones in ["[0.0]", "[13.0]", "[nan]"] {
        let pitches = format!("[augment]\npitch_semitones = {semitones}");
        std::fs::write(&path, RECIPE.replace("[augment]", &pitches)).unwrap();
        let error = Recipe::load(&path).unwrap_err().to_string();
        assert!(error.contains("pitch_semitones must be"), "{error}");
    }
}

/// A decoder of pairs learns and sings as one of single samples does.
#[test]
fn pairs_can_be_trained_and_sung() {
    let folder = tempfile::tempdir().unwrap();
    make_corpus(&folder.path().join("corpus"));
    let recipe = recipe(folder.path(), |text| {
        let text = text.replace("[model.decoder]", "[model.decoder]\npairs = true");
        text.replace("steps = 150", "steps = 40").replace("validate_every = 75", "validate_every = 20")
    });
    let corpus = load(folder.path(), &recipe);
    let (summary, bits) = train(&recipe, &corpus, &folder.path().join("out"), u64::MAX);
    assert!(summary.finished && bits[bits.len() - 1] < 0.9 * bits[0], "{bits:?}");
    assert!(VoiceBank::load(&summary.bank).unwrap().card().model.decoder.pairs);
    let preview = Sound::read(&folder.path().join("out/previews/high_as_low.wav")).unwrap();
    assert!(preview.channels[0].iter().any(|sample| sample.abs() > 0.01));
}

/// Where there is nobody to take over a phrase, what is for strangers has nothing to say.
#[test]
fn one_singer_alone_can_be_trained() {
    let folder = tempfile::tempdir().unwrap();
    make_corpus(&folder.path().join("corpus"));
    std::fs::remove_dir_all(folder.path().join("corpus/high")).unwrap();
    let critic = "segments = 6, critic = { weight = 0.1, learning_rate = 1e-3, warm_up_steps = 10 } }";
    let recipe = recipe(folder.path(), |text| {
        let text =
            text.replace("segments = 6 }", critic).replace("segment_frames = 12", "segment_frames = 20");
        text.replace("steps = 150", "steps = 4")
    });
    let corpus = load(folder.path(), &recipe);
    let (summary, bits) = train(&recipe, &corpus, &folder.path().join("out"), u64::MAX);
    assert!(summary.finished && bits.len() == 4 && bits.iter().all(|bits| bits.is_finite()), "{bits:?}");
    let curve = std::fs::read_to_string(folder.path().join("out/curve.csv")).unwrap();
    assert_eq!(column(&curve, "critic"), [0.0]);
    assert_eq!(VoiceBank::load(&summary.bank).unwrap().card().singers.len(), 1);
}

/// A recipe that learns one part of a bank leaves all others as they are.
#[test]
fn what_a_recipe_does_not_learn_stays_as_it_began() {
    let folder = tempfile::tempdir().unwrap();
    make_corpus(&folder.path().join("corpus"));
    let learning = |what: &str| format!("steps = 6\nlearn = [\"{what}\"]");
    let recipe = recipe(folder.path(), |text| text.replace("steps = 150", &learning("spectrum.")));
    let corpus = load(folder.path(), &recipe);
    let bank = VoiceBank::random(recipe.model.clone(), 2, 5).unwrap();
    let out = folder.path().join("out");
    let mut trainer = Trainer::new(&recipe, &corpus, &out, Some(&bank)).unwrap();
    let summary = trainer.run(&AtomicBool::new(false), &mut |_| {}).unwrap();
    let trained = VoiceBank::load(&summary.bank).unwrap();
    for spec in falsetto_engine::voice::tensor_specs(&recipe.model, 2) {
        // The corpus has its own means, and its singers are not the bank's.
        if !["encoder.mel_mean", "singers.embedding", "singers.timbre"].contains(&spec.name.as_str()) {
            let same = trained.tensor(&spec.name) == bank.tensor(&spec.name);
            assert_eq!(same, !spec.name.starts_with("spectrum."), "{}", spec.name);
        }
    }

    let path = folder.path().join("nothing.toml");
    std::fs::write(&path, RECIPE.replace("steps = 150", &learning("spektrum"))).unwrap();
    let error = Recipe::load(&path).unwrap_err().to_string();
    assert!(error.contains("no tensor whose name begins with `spektrum`"), "{error}");
}
