//! Ranks that are threads.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use candle_core::{Result, Tensor};

use super::{Ranks, Share};
use crate::files::{Encoding, Sound};
use crate::train::checkpoint::Checkpoint;
use crate::train::{Corpus, Device, Recipe, Trainer};

/// What all threads share: the tensors that each has brought.
struct Table {
    brought: Mutex<Vec<Vec<Vec<f32>>>>,
    barrier: Barrier,
}

struct Thread {
    rank: usize,
    table: Arc<Table>,
}

fn threads(count: usize) -> Vec<Thread> {
    let brought = Mutex::new(vec![Vec::new(); count]);
    let table = Arc::new(Table { brought, barrier: Barrier::new(count) });
    (0..count).map(|rank| Thread { rank, table: Arc::clone(&table) }).collect()
}

impl Ranks for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.table.brought.lock().unwrap().len()
    }

    fn means(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        let own = tensors.iter().map(|tensor| tensor.flatten_all()?.to_vec1()).collect::<Result<_>>()?;
        self.table.brought.lock().unwrap()[self.rank] = own;
        self.table.barrier.wait();
        let all = self.table.brought.lock().unwrap().clone();
        self.table.barrier.wait();
        let mean = |(place, tensor): (usize, &Tensor)| {
            let values = (0..tensor.elem_count())
                .map(|at| all.iter().map(|rank| rank[place][at]).sum::<f32>() / all.len() as f32);
            Tensor::from_vec(values.collect(), tensor.shape(), tensor.device())
        };
        tensors.iter().enumerate().map(mean).collect()
    }
}

const RECIPE: &str = r#"
[card]
name = "ranks"
licence = "CC0-1.0"
consent = "no one sings here"
trained_on = "saw teeth"

[model]
sample_rate_hz = 16000
hop_samples = 160
pre_emphasis = 0.85
latent_size = 3
singer_embedding_size = 2
condition = { f0 = true, loudness = true, excitation_harmonics = 2, period_taps = 3, frame_channels = 8, frame_layers = 2, spectrum = true }
encoder = { kind = "mel", mels = 20, channels = 8, layers = 2, look_ahead_frames = 1 }

[model.decoder]
blocks = 1
layers_per_block = 3
residual_channels = 8
skip_channels = 8
head_channels = 8
prior = { taps = 4, harmonics = 4 }

[training]
seed = 7
steps = 6
batch = 4
segment_frames = 10
unscored_samples = 160
learning_rate = 5e-3
warm_up_steps = 2
decay_share = 0.3
gradient_norm = 1.0
average_decay = 0.9
singer_emphasis = 1.0
latent_noise = 0.05
confusion = 0.05
confusion_warm_up_steps = 10
validation_clips = 1
validate_every = 6
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
"#;

/// Two singers of saw teeth.
fn corpus(folder: &Path, recipe: &Recipe) -> Corpus {
    for (singer, bend) in [("low", 1), ("high", 3)] {
        std::fs::create_dir_all(folder.join(singer)).unwrap();
        for (clip, f0_hz) in [150.0, 210.0, 250.0f32].into_iter().enumerate() {
            let saw = |n: usize| 0.3 * (2.0 * (n as f32 * f0_hz / 16_000.0).fract() - 1.0).powi(bend);
            let channels = vec![(0..16_000).map(saw).collect()];
            let sound = Sound { rate_hz: 16_000, channels, encoding: Encoding::Integer(16) };
            sound.write_wav(&folder.join(singer).join(format!("{clip}.wav"))).unwrap();
        }
    }
    Corpus::load(folder, recipe, &|_, _| {}).unwrap()
}

/// Bits of each step, as the rank tells them.
fn train(recipe: &Recipe, corpus: &Corpus, out: &Path, device: &Device, until: u64) -> Vec<f32> {
    let (stop, mut bits) = (AtomicBool::new(false), Vec::new());
    let mut trainer = Trainer::on(device, recipe, corpus, out, None).unwrap();
    trainer
        .run(&stop, &mut |progress| {
            bits.push(progress.bits);
            stop.store(progress.step >= until, Ordering::Relaxed);
        })
        .unwrap();
    bits
}

fn recipe(folder: &Path, change: impl Fn(String) -> String) -> Recipe {
    let path = folder.join("recipe.toml");
    std::fs::write(&path, change(RECIPE.into())).unwrap();
    Recipe::load(&path).unwrap()
}

#[test]
fn two_ranks_make_the_run_that_one_makes() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), |text| text);
    let corpus = corpus(&folder.path().join("corpus"), &recipe);
    let alone = folder.path().join("alone");
    let wanted = train(&recipe, &corpus, &alone, &Device::CPU, u64::MAX);
    let out = |rank: usize| folder.path().join(format!("rank {rank}"));
    // The first rank is told to stop after the fourth step, and both do, to go on together.
    let bits: Vec<Vec<f32>> = [4, u64::MAX]
        .map(|until| {
            let threads = threads(2);
            std::thread::scope(|scope| {
                let ranks: Vec<_> = threads
                    .into_iter()
                    .map(|thread| {
                        // The second reads what the first saved, as from one folder.
                        let (rank, recipe, corpus, out) = (thread.rank, &recipe, &corpus, out(0));
                        let until = if rank == 0 { until } else { u64::MAX };
                        let device = Device::CPU.shared(Share::of(thread));
                        scope.spawn(move || train(recipe, corpus, &out, &device, until))
                    })
                    .collect();
                ranks.into_iter().map(|rank| rank.join().unwrap()).collect::<Vec<_>>()
            })
        })
        .into_iter()
        .reduce(|first, then| first.into_iter().zip(then).map(|(a, b)| [a, b].concat()).collect())
        .unwrap();
    assert_eq!(bits[0], bits[1], "what one rank tells, the other does");
    assert_eq!(bits[0].len(), wanted.len());
    for (step, (got, wanted)) in bits[0].iter().zip(&wanted).enumerate() {
        assert!((got - wanted).abs() < 1e-4 * wanted, "step {step}: {got} bits, alone {wanted}");
    }
    let read = |folder: &Path| Checkpoint::load(&folder.join("checkpoint.safetensors")).unwrap().unwrap();
    let (got, wanted) = (read(&out(0)), read(&alone));
    for (name, wanted) in wanted.tensors.iter().filter(|(name, _)| name.contains(".value.")) {
        let off = got.tensors[name].iter().zip(wanted).map(|(got, wanted)| (got - wanted).abs());
        let largest = off.fold(0.0, f32::max);
        // Adam's first steps are as long for the smallest gradient as for the largest, whatever its rounding.
        assert!(largest < 2e-3, "{name} is off by {largest}");
    }
}

#[test]
fn batches_that_are_made_ahead_are_the_same_batches() {
    let folder = tempfile::tempdir().unwrap();
    // Rounds of phase II begin with steps 2 and 5.
    let phase_two = "[backtranslation]\nfirst_step = 2\nevery_steps = 3\nclips = 1\ntranspose_semitones = 3.0\nshare = 0.5\n";
    let recipe = recipe(folder.path(), |text| text + phase_two);
    let corpus = corpus(&folder.path().join("corpus"), &recipe);
    let wanted = train(&recipe, &corpus, &folder.path().join("one by one"), &Device::CPU, u64::MAX);
    let got = train(&recipe, &corpus, &folder.path().join("ahead"), &Device::CPU.ahead(), u64::MAX);
    assert_eq!(got, wanted);
}

#[test]
fn what_cannot_be_shared_out_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let check = |change: fn(String) -> String, count: usize| {
        let recipe = recipe(folder.path(), change);
        let share = Share::of(threads(count).remove(0));
        share.check(&recipe).map_err(|error| error.to_string())
    };
    assert!(check(|text| text, 2).is_ok());
    let refused = check(|text| text, 4).unwrap_err();
    assert!(refused.contains("multiples of 4"), "{refused}");
    let pitch =
        |text: String| text.replace("confusion = 0.05\n", "confusion = 0.05\npitch_confusion = 0.1\n");
    assert!(check(pitch, 2).unwrap_err().contains("pitch_confusion"));
    assert!(check(pitch, 1).is_ok());
}
