//! A training step of the live recipe, for a comparison with the same in another framework.
//!
//! `cargo xtask bench-training` runs it in turns with PyTorch; alone: `cargo bench -p falsetto-engine --bench training_step`,
//! followed by `-- case FILE` to write what another framework needs to make the same losses and gradients, or by `-- time`
//! (or `-- time cuda`) for a line with a name and the median milliseconds of a step, batches included.

#[path = "../tests/toy/mod.rs"]
#[expect(dead_code, reason = "there are six singers here")]
mod toy;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::{Device, Tensor};
use falsetto_engine::decode::uniform;
use falsetto_engine::files::{Encoding, Sound};
use falsetto_engine::model::{
    Confusion, Decoder, DecoderInput, Parameters, encode, encoder_context, read_spectrum, spectrum_distance,
};
use falsetto_engine::train::{self, Corpus, Products, Recipe, Setting, Trainer};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const SINGERS: usize = 6;
const STEPS: usize = 24;
/// The first steps load kernels and find their memory.
const WARM_UP: usize = 8;
const CODES: f32 = 256.0;

/// The recipe without what is not of a step.
fn recipe() -> Outcome<Recipe> {
    let settings =
        ["card.home_f0_hz=", "backtranslation=", "training.validation_clips=1", "training.tritone_step=0"];
    let settings: Vec<Setting> = settings.iter().map(|setting| setting.parse()).collect::<Result<_, _>>()?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/recipes/live.toml");
    Ok(Recipe::load_with(&file, &settings)?)
}

/// Random numbers for the tensors of a batch.
#[derive(Default)]
struct Draws {
    tensors: u64,
}

impl Draws {
    /// Evenly from `low` to `high`.
    fn between(&mut self, low: f32, high: f32, count: usize) -> Vec<f32> {
        self.tensors += 1;
        (0..count as u64).map(|at| low + (high - low) * uniform(self.tensors, at)).collect()
    }

    fn codes(&mut self, count: usize) -> Vec<u8> {
        self.between(0.0, CODES, count).into_iter().map(|code| code as u8).collect()
    }

    /// `(segments, frames, 3)`: octaves, the flag, loudness.
    fn features(&mut self, segments: usize, frames: usize) -> Vec<f32> {
        let draws = self.between(-1.0, 1.0, segments * frames * 3);
        let flag = |value: &f32| f32::from(u8::from(*value > -0.5));
        draws
            .as_chunks::<3>()
            .0
            .iter()
            .flat_map(|[pitch, voiced, loudness]| [pitch * flag(voiced), flag(voiced), *loudness])
            .collect()
    }
}

/// Named tensors of a file.
#[derive(Default)]
struct Case(BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>);

impl Case {
    fn put(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.0.insert(name.into(), (Dtype::F32, shape.into(), bytes));
    }

    fn put_bytes(&mut self, name: &str, shape: &[usize], values: &[u8]) {
        self.0.insert(name.into(), (Dtype::U8, shape.into(), values.into()));
    }

    fn put_tensor(&mut self, name: &str, tensor: &Tensor) -> Outcome<()> {
        self.put(name, tensor.dims(), &tensor.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }

    fn save(&self, path: &Path, facts: &serde_json::Value) -> Outcome<()> {
        let views = self.0.iter().map(|(name, (dtype, shape, bytes))| {
            Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?))
        });
        let views: Vec<_> = views.collect::<Result<_, safetensors::SafeTensorError>>()?;
        let facts = [("facts".to_owned(), facts.to_string())].into();
        Ok(std::fs::write(path, safetensors::serialize(views, Some(facts))?)?)
    }
}

/// Writes weights, a random batch, and the losses and gradients that our graph has for them. Nothing is drawn on the way: no noise
/// on the latent, and the critic of spectra is not asked.
fn write_case(path: &Path) -> Outcome<()> {
    let recipe = recipe()?;
    let (model, training) = (&recipe.model, &recipe.training);
    let spectrum = training.spectrum.as_ref().ok_or("the live recipe teaches a spectrum")?;
    let (segments, frames, hop) = (training.batch, training.segment_frames, model.hop_samples);
    let samples = frames * hop;
    let context = encoder_context(model);
    let heard = frames + context.past_frames + context.future_frames;
    let bands = model.spectrum_bands();
    let prior = model.decoder.prior.ok_or("the live recipe has a prior")?;
    let regressors = prior.taps + 2 * prior.harmonics + model.condition.period_taps;

    let parameters = Parameters::new(model, SINGERS, 1)?;
    let confusion = Confusion::new(model.latent_size, SINGERS, 2)?;
    let mut draws = Draws::default();
    let mut case = Case::default();
    let singers = |count: usize| (0..count).map(|at| (at % SINGERS) as u32).collect::<Vec<_>>();
    let tensor = |case: &mut Case, name: &str, shape: &[usize], values: Vec<f32>| -> Outcome<Tensor> {
        case.put(name, shape, &values);
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    };
    let mel = |draws: &mut Draws, count: usize| draws.between(-2.0, 2.0, count * (bands + 1) * heard);

    let shape = [segments, bands + 1, heard];
    let encoder_input = tensor(&mut case, "samples.encoder_input", &shape, mel(&mut draws, segments))?;
    let features = draws.features(segments, frames);
    let features = tensor(&mut case, "samples.features", &[segments, frames, 3], features)?;
    let log_level = draws.between(-4.0, -1.0, segments * frames);
    let log_level = tensor(&mut case, "samples.log_level", &[segments, frames], log_level)?;
    let excitation = draws.between(-1.0, 1.0, segments * samples * model.condition.excitation_size());
    let prior_basis = draws.between(-0.2, 0.2, segments * samples * regressors);
    let (codes, targets) = (draws.codes(segments * (samples + 2)), draws.codes(segments * samples));
    case.put("samples.excitation", &[segments, samples, model.condition.excitation_size()], &excitation);
    case.put("samples.prior_basis", &[segments, samples, regressors], &prior_basis);
    case.put_bytes("samples.codes", &[segments, samples + 2], &codes);
    case.put_bytes("samples.targets", &[segments, samples], &targets);
    let shape = [spectrum.segments, bands + 1, heard];
    let spectra_input =
        tensor(&mut case, "spectra.encoder_input", &shape, mel(&mut draws, spectrum.segments))?;
    let spectra_features = draws.features(spectrum.segments, frames);
    let shape = [spectrum.segments, frames, 3];
    let spectra_features = tensor(&mut case, "spectra.features", &shape, spectra_features)?;
    let wanted = draws.between(-2.0, 2.0, spectrum.segments * frames * bands);
    case.put("spectra.wanted", &[spectrum.segments * frames, bands], &wanted);

    let latent = encode(model, &parameters, &encoder_input)?;
    let decoder = Decoder::new(model, &parameters);
    let input = DecoderInput {
        singers: singers(segments),
        features,
        codes: codes.into(),
        excitation: excitation.into(),
        prior_basis: prior_basis.into(),
        log_level,
        targets: targets.into(),
    };
    let scored = segments * (samples - training.unscored_samples);
    let nats = (decoder.nll(&latent, &input, training.unscored_samples)?.sum_all()? / scored as f64)?;
    let latent = encode(model, &parameters, &spectra_input)?;
    let names = singers(spectrum.segments);
    let expected = decoder.frame_network(&latent, &names, &spectra_features)?;
    let distance = spectrum_distance(&read_spectrum(&parameters, &expected)?, &wanted)?;
    let logits = confusion.logits(&latent, f64::from(training.confusion))?;
    let names = Tensor::new(names.as_slice(), &Device::Cpu)?;
    let confused = candle_nn::loss::cross_entropy(&logits, &names)?;
    let gradients = ((&nats + (&distance * f64::from(spectrum.weight))?)? + &confused)?.backward()?;

    for (name, loss) in [("nats", &nats), ("distance", &distance), ("confused", &confused)] {
        case.put_tensor(&format!("loss.{name}"), loss)?;
    }
    for (name, var) in parameters.iter().chain(confusion.parameters.iter()) {
        case.put_tensor(&format!("weight.{name}"), var)?;
        if let Some(gradient) = gradients.get(var) {
            case.put_tensor(&format!("gradient.{name}"), gradient)?;
        }
    }
    let facts = json!({
        "dilations": model.decoder.dilations(),
        "residual": model.decoder.residual_channels,
        "hop": hop,
        "taps": prior.taps,
        "period_taps": model.condition.period_taps,
        "frame_layers": model.condition.frame_layers,
        "unscored": training.unscored_samples,
        "distance_weight": spectrum.weight,
        "confusion": training.confusion,
        "latent_noise": training.latent_noise,
        "learning_rate": training.learning_rate,
        "gradient_norm": training.gradient_norm,
        "average_decay": training.average_decay,
        "singers": SINGERS,
    });
    case.save(path, &facts)
}

/// Median milliseconds of a trainer's steps.
fn step_ms(device: &train::Device) -> Outcome<f64> {
    let folder = tempfile::tempdir()?;
    let corpus_folder = folder.path().join("corpus");
    for singer in 0..SINGERS {
        let own = corpus_folder.join(format!("singer{singer}"));
        std::fs::create_dir_all(&own)?;
        for (clip, f0_hz) in [150.0, 180.0, 210.0, 250.0].into_iter().enumerate() {
            let channels = vec![toy::sing(f0_hz, 500.0 + 200.0 * singer as f32, 1.2)];
            let sound = Sound { rate_hz: 16_000, channels, encoding: Encoding::Integer(16) };
            sound.write_wav(&own.join(format!("{clip}.wav")))?;
        }
    }
    let recipe = recipe()?;
    let corpus = Corpus::load(&corpus_folder, &recipe, &|_, _| {})?;
    let mut trainer = Trainer::on(device, &recipe, &corpus, &folder.path().join("run"), None)?;
    let stop = AtomicBool::new(false);
    let mut times = vec![Instant::now()];
    trainer.run(&stop, &mut |progress| {
        times.push(Instant::now());
        stop.store(progress.step as usize >= STEPS, Ordering::Relaxed);
    })?;
    let mut ms: Vec<f64> =
        times.windows(2).skip(WARM_UP).map(|pair| 1e3 * (pair[1] - pair[0]).as_secs_f64()).collect();
    ms.sort_by(f64::total_cmp);
    // Of the two in the middle, as Python has it.
    Ok((ms[(ms.len() - 1) / 2] + ms[ms.len() / 2]) / 2.0)
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["case", path] => write_case(Path::new(path)),
        ["time", "cuda"] => {
            // How a card multiplies is one for the process, so the exact products come first.
            for (name, products) in [("falsetto", Products::Single), ("falsetto bf16", Products::Bfloat16)] {
                println!("{name}\t{:.2}", step_ms(&train::Device::cuda(products)?)?);
            }
            Ok(())
        }
        [] | ["time"] => {
            println!("falsetto\t{:.2}", step_ms(&train::Device::CPU)?);
            Ok(())
        }
        _ => Err("it knows: case FILE, time, time cuda".into()),
    }
}
