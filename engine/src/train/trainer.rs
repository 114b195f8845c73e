//! The training loop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::average::Average;
use super::backtranslation::SungByBlends;
use super::batch::{other_singer, samples_per_step};
use super::chart;
use super::checkpoint::{Checkpoint, CheckpointError, write_atomically};
use super::corpus::{Clip, Corpus};
use super::cost::{self, Spent, TrainingCost};
use super::curve::{CSV_HEADER, Losses, Point};
use super::device::Device;
use super::emphasis::Emphasis;
use super::error::TrainError;
use super::inherit::inherit;
use super::objective::{Objective, objective};
use super::optimizer::Adam;
use super::ranks::Share;
use super::recipe::{BacktranslationConfig, Recipe, RecipeError};
use crate::files::{Encoding, Sound};
use crate::model::Parameters;
use crate::stream::{Settings, convert};
use crate::voice::{Card, EMBEDDING, FORMAT_VERSION, Singer, TIMBRE, VoiceBank};

/// What is told after every step.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Bits per sample of this step's batch.
    pub bits: f32,
    /// Bits per sample of the last validation, if there was one.
    pub validation_bits: Option<f32>,
    /// What a wrong F0 cost in the last validation, in bits per sample.
    pub tritone_bits: Option<f32>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Steps done in all.
    pub steps: u64,
    /// False if it was asked to stop before the recipe's last step.
    pub finished: bool,
    /// The bank that was saved last.
    pub bank: PathBuf,
    /// What [`TrainingCost`] says of it; none where the system does not tell, or an earlier part of the run left no word.
    pub cpu_time: Option<Duration>,
}

/// One run: parameters, optimizers and the folder they are kept in.
pub struct Trainer<'a> {
    recipe: &'a Recipe,
    corpus: &'a Corpus,
    objective: Box<dyn Objective + 'a>,
    folder: PathBuf,
    parameters: Parameters,
    share: Share,
    adam: Adam,
    average: Average,
    /// Phase II: the round that is going on.
    round: Option<Round>,
    step: u64,
    points: Vec<Point>,
    run: String,
    spent: Option<Spent>,
}

/// A round of phase II.
struct Round {
    number: u64,
    /// The averaged weights that sang its clips: with them a resumed run has the same clips sung again.
    weights: BTreeMap<String, Vec<f32>>,
    sung: SungByBlends,
}

impl<'a> Trainer<'a> {
    /// [`Trainer::on`] the processor.
    pub fn new(
        recipe: &'a Recipe,
        corpus: &'a Corpus,
        folder: &Path,
        from: Option<&VoiceBank>,
    ) -> Result<Self, TrainError> {
        Self::on(&Device::CPU, recipe, corpus, folder, from)
    }

    /// A run in `folder`: goes on from its checkpoint if there is one, whatever device that was made on; starts anew otherwise,
    /// from the weights of `from` or from chance.
    pub fn on(
        device: &Device,
        recipe: &'a Recipe,
        corpus: &'a Corpus,
        folder: &Path,
        from: Option<&VoiceBank>,
    ) -> Result<Self, TrainError> {
        let spent = corpus.cpu_time.and_then(Spent::on_top_of);
        if let Some(name) = recipe.card.home_f0_hz.keys().find(|name| !corpus.singers.contains(name)) {
            return Err(TrainError::UnknownSinger { name: name.clone(), known: corpus.singers.join(", ") });
        }
        std::fs::create_dir_all(folder.join(PREVIEWS))
            .map_err(|source| TrainError::Output { path: folder.into(), source })?;
        let singers = corpus.singers.len();
        let seed = recipe.training.seed;
        let parameters = Parameters::new(&recipe.model, singers, seed)?;
        if let (Some(bank), false) = (from, folder.join(CHECKPOINT).exists()) {
            inherit(&parameters, recipe, &corpus.singers, bank)?;
        }
        if !corpus.mel_mean.is_empty() {
            parameters.set("encoder.mel_mean", &corpus.mel_mean)?;
        }
        if !corpus.timbre.is_empty() {
            parameters.set(TIMBRE, &corpus.timbre)?;
        }
        device.share.check(recipe)?;
        let parameters = parameters.on(&device.place)?;
        let objective = objective(recipe, corpus, &parameters, device)?;
        let mut trainer = Self {
            recipe,
            corpus,
            objective,
            folder: folder.into(),
            average: Average::new(&parameters)?,
            parameters,
            share: device.share.clone(),
            adam: Adam::of(&recipe.training.learn),
            round: None,
            step: 0,
            points: Vec::new(),
            run: run_identity(recipe, corpus),
            spent,
        };
        // What the recipe puts on the card must do for one, and not only when the first bank is saved.
        trainer.card().check().map_err(|reason| RecipeError::Card { reason })?;
        trainer.resume()?;
        Ok(trainer)
    }

    /// Steps done so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Trains until the recipe's last step or until `stop` is set; saves in both cases.
    pub fn run(
        &mut self,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Summary, TrainError> {
        let training = &self.recipe.training;
        let mut recent = Recent::default();
        let mut started = Instant::now();
        while self.step < training.steps && !self.is_to_stop(stop)? {
            self.begin_round(stop)?;
            if self.is_to_stop(stop)? {
                break;
            }
            let losses = self.train_step()?;
            self.step += 1;
            recent.add(losses);
            progress(Progress {
                step: self.step,
                steps: training.steps,
                bits: losses.bits,
                validation_bits: self.points.last().map(|point| point.validation_bits),
                tritone_bits: self.points.last().map(|point| point.tritone_bits),
            });
            let gate = self.step == training.tritone_step;
            if self.step.is_multiple_of(training.validate_every) || gate || self.step == training.steps {
                let samples = recent.steps * samples_per_step(self.recipe) as u64;
                let rate = samples as f32 / started.elapsed().as_secs_f32();
                let mut point = self.validate()?;
                point.train = recent.take();
                point.samples_per_second = rate;
                self.points.push(point);
                self.save(Some(stop))?;
                if gate && point.tritone_bits < training.tritone_bits {
                    let (step, bits) = (self.step, point.tritone_bits);
                    return Err(TrainError::IgnoresF0 { step, bits, needed: training.tritone_bits });
                }
                started = Instant::now();
            }
        }
        self.save(None)?;
        Ok(Summary {
            steps: self.step,
            finished: self.step >= training.steps,
            bank: self.bank_path(),
            cpu_time: self.cpu_time(),
        })
    }

    /// Whether any rank was asked to stop.
    fn is_to_stop(&self, stop: &AtomicBool) -> Result<bool, TrainError> {
        Ok(self.share.any(stop.load(Ordering::Relaxed), self.parameters.device())?)
    }

    /// Begins a round of phase II where one is due, unless it is asked to stop meanwhile.
    fn begin_round(&mut self, stop: &AtomicBool) -> Result<(), TrainError> {
        if let (Some(config), Some(number)) = (&self.recipe.backtranslation, self.round_number())
            && self.round.as_ref().is_none_or(|round| round.number != number)
        {
            self.round = self.sing_round(config, number, self.average.values()?, stop)?;
        }
        Ok(())
    }

    /// The round that the next step belongs to; `None` in phase I.
    fn round_number(&self) -> Option<u64> {
        let config = self.recipe.backtranslation.as_ref()?;
        Some(self.step.checked_sub(config.first_step)? / config.every_steps)
    }

    fn sing_round(
        &self,
        config: &BacktranslationConfig,
        number: u64,
        weights: BTreeMap<String, Vec<f32>>,
        stop: &AtomicBool,
    ) -> Result<Option<Round>, TrainError> {
        let bank = Arc::new(VoiceBank::new(self.card(), weights.clone())?);
        let sung = SungByBlends::sing(config, number, self.recipe, self.corpus, &bank, stop)?;
        Ok(sung.map(|sung| Round { number, weights, sung }))
    }

    /// One step, and what the average makes of it.
    fn train_step(&mut self) -> Result<Losses, TrainError> {
        let phase_one = SungByBlends::default();
        let sung = self.round.as_ref().map_or(&phase_one, |round| &round.sung);
        let losses = self.objective.step(&self.parameters, &mut self.adam, self.step, sung)?;
        self.update_average()?;
        Ok(losses)
    }

    fn update_average(&mut self) -> Result<(), TrainError> {
        // Early on the average follows quickly: the first weights are noise.
        let decay = self.recipe.training.average_decay.min((1 + self.step) as f32 / (10 + self.step) as f32);
        Ok(self.average.follow(&self.parameters, decay)?)
    }

    /// What the averaged weights are worth.
    fn validate(&self) -> Result<Point, TrainError> {
        let averaged = Parameters::new(&self.recipe.model, self.corpus.singers.len(), 0)?;
        for (name, values) in self.average.values()? {
            averaged.set(&name, &values)?;
        }
        let averaged = averaged.on(self.parameters.device())?;
        Ok(Point { step: self.step, ..self.objective.validate(&averaged)? })
    }

    fn bank_path(&self) -> PathBuf {
        self.folder.join("voice.safetensors")
    }

    fn checkpoint_path(&self) -> PathBuf {
        self.folder.join(CHECKPOINT)
    }

    /// Saves the checkpoint and the bank; with `previews` the curve and, until that is set, the rendered clips as well.
    fn save(&self, previews: Option<&AtomicBool>) -> Result<(), TrainError> {
        if !self.share.is_first() {
            return Ok(());
        }
        let mut checkpoint = Checkpoint::default();
        checkpoint.put("model", &self.parameters, &self.adam)?;
        self.objective.save(&mut checkpoint)?;
        for (name, values) in self.average.values()? {
            checkpoint.tensors.insert(format!("average.{name}"), values);
        }
        // A round that is over is not needed any more: the next one is sung by the average.
        if let Some(round) = &self.round
            && Some(round.number) == self.round_number()
        {
            for (name, values) in &round.weights {
                checkpoint.tensors.insert(format!("round.{name}"), values.clone());
            }
            checkpoint.facts.insert("round".into(), round.number.to_string());
        }
        checkpoint.facts.insert("step".into(), self.step.to_string());
        checkpoint.facts.insert("run".into(), self.run.clone());
        let lines: Vec<String> = self.points.iter().map(Point::csv).collect();
        checkpoint.facts.insert("points".into(), lines.join("\n"));
        checkpoint.save(&self.checkpoint_path())?;

        let bank = VoiceBank::new(self.card(), self.emphasised()?)?;
        bank.save(&self.bank_path())?;
        // At once: what is rendered below may take longer than the steps did, and is counted when the run ends.
        self.write_cost(bank.content_hash())?;
        if let Some(stop) = previews {
            self.write_curve(&lines)?;
            self.render_previews(&Arc::new(bank), stop)?;
        }
        Ok(())
    }

    fn cpu_time(&self) -> Option<Duration> {
        self.spent.as_ref()?.total()
    }

    fn write_cost(&self, bank_hash: String) -> Result<(), TrainError> {
        let Some(cpu_time) = self.cpu_time() else { return Ok(()) };
        let cost = TrainingCost { bank_hash, steps: self.step, cpu_s: cpu_time.as_secs_f64() };
        let output = |source| TrainError::Output { path: cost::path(&self.folder), source };
        cost.write(&self.folder).map_err(output)
    }

    /// The averaged weights, the singers as far apart as the recipe says.
    fn emphasised(&self) -> Result<BTreeMap<String, Vec<f32>>, TrainError> {
        let mut tensors = self.average.values()?;
        let emphasis = self.recipe.training.emphasis();
        if let (Some(embeddings), true) = (tensors.get_mut(EMBEDDING), emphasis != Emphasis::NONE) {
            *embeddings = emphasis.put_on(embeddings, self.recipe.model.singer_embedding_size);
        }
        Ok(tensors)
    }

    fn write_curve(&self, lines: &[String]) -> Result<(), TrainError> {
        let path = self.folder.join("curve.csv");
        let text = format!("{CSV_HEADER}\n{}\n", lines.join("\n"));
        write_atomically(&path, text.as_bytes()).map_err(|source| TrainError::Output { path, source })?;
        let previews: Vec<String> = self
            .previews()
            .map(|(clip, target)| format!("{PREVIEWS}/{}", self.preview_name(clip, target)))
            .collect();
        let page = chart::page(&self.recipe.card.name, self.recipe.training.steps, &self.points, &previews);
        let path = self.folder.join("curve.html");
        write_atomically(&path, page.as_bytes()).map_err(|source| TrainError::Output { path, source })
    }

    /// The first validation clip of each singer, sung by that singer and by the next.
    fn previews(&self) -> impl Iterator<Item = (&Clip, usize)> {
        let singers = self.corpus.singers.len();
        let targets = move |clip: &Clip| [clip.singer, other_singer(clip.singer, singers)];
        self.corpus.preview_clips().flat_map(move |clip| targets(clip).map(|target| (clip, target)))
    }

    fn preview_name(&self, clip: &Clip, target: usize) -> String {
        format!("{}_as_{}.wav", self.corpus.singers[clip.singer], self.corpus.singers[target])
    }

    /// Sings the previews through the real decoder, until it is to stop.
    fn render_previews(&self, bank: &Arc<VoiceBank>, stop: &AtomicBool) -> Result<(), TrainError> {
        let rate_hz = self.recipe.model.sample_rate_hz;
        for (clip, target) in self.previews() {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let settings = Settings { singer: target, ..Settings::default() };
            let sung = convert(bank, rate_hz, settings, &clip.waveform)?;
            let sound = Sound { rate_hz, channels: vec![sung], encoding: Encoding::Integer(16) };
            sound.write_wav(&self.folder.join(PREVIEWS).join(self.preview_name(clip, target)))?;
        }
        Ok(())
    }

    fn card(&self) -> Card {
        let card = &self.recipe.card;
        let minutes: f32 = self.corpus.minutes.iter().sum();
        let singers = self.corpus.singers.iter().zip(&self.corpus.median_f0_hz);
        Card {
            format_version: FORMAT_VERSION,
            name: card.name.clone(),
            singers: singers
                .map(|(name, median_f0_hz)| {
                    let home = card.home_f0_hz.get(name).unwrap_or(median_f0_hz);
                    Singer { name: name.clone(), median_f0_hz: *home }
                })
                .collect(),
            model: self.recipe.model.clone(),
            sampling: self.recipe.sampling,
            arithmetic: self.recipe.arithmetic,
            singer_emphasis: self.recipe.training.singer_emphasis,
            singer_contrast: self.recipe.training.singer_contrast,
            loudest: self.corpus.loudest,
            trained_on: format!("{} ({minutes:.0} minutes, {} steps)", card.trained_on, self.step),
            licence: card.licence.clone(),
            notices: card.notices.clone(),
            consent: card.consent.clone(),
        }
    }

    fn resume(&mut self) -> Result<(), TrainError> {
        let path = self.checkpoint_path();
        let Some(checkpoint) = Checkpoint::load(&path)? else { return Ok(()) };
        let content = |reason: String| CheckpointError::Content { path: path.clone(), reason };
        let run: String = checkpoint.fact("run").map_err(content)?;
        if run != self.run {
            return Err(content("its model, seed or singers differ".into()).into());
        }
        checkpoint.take("model", &self.parameters, &mut self.adam).map_err(content)?;
        self.objective.resume(&checkpoint).map_err(content)?;
        let average = |(name, _): (&str, _)| {
            let saved = checkpoint.tensors.get(&format!("average.{name}"));
            let saved = saved.ok_or_else(|| content(format!("average of {name} is missing")))?;
            Ok((name.to_owned(), saved.clone()))
        };
        self.average.set(self.parameters.iter().map(average).collect::<Result<_, CheckpointError>>()?)?;
        self.step = checkpoint.fact("step").map_err(content)?;
        // What the steps until here took is unknown where nothing is said, or something is said of others.
        let earlier = TrainingCost::read(&self.folder).filter(|cost| cost.steps == self.step);
        self.spent = self.spent.take().zip(earlier).and_then(|(spent, earlier)| spent.and(&earlier));
        if let (Some(config), Some(number)) = (&self.recipe.backtranslation, self.round_number())
            && checkpoint.facts.get("round") == Some(&number.to_string())
        {
            let part = |(name, values): (&String, &Vec<f32>)| {
                Some((name.strip_prefix("round.")?.to_string(), values.clone()))
            };
            let weights = checkpoint.tensors.iter().filter_map(part).collect();
            self.round = self.sing_round(config, number, weights, &AtomicBool::new(false))?;
        }
        let lines: String = checkpoint.fact("points").map_err(content)?;
        self.points = lines.lines().filter_map(Point::parse).collect();
        Ok(())
    }
}

const CHECKPOINT: &str = "checkpoint.safetensors";
const PREVIEWS: &str = "previews";

/// What two runs must share to be one: the model, the seed and the singers. Schedules may be changed in between.
fn run_identity(recipe: &Recipe, corpus: &Corpus) -> String {
    let facts = format!("{:?} {} {:?}", recipe.model, recipe.training.seed, corpus.singers);
    Sha256::digest(facts.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Means since the last validation.
#[derive(Default)]
struct Recent {
    steps: u64,
    sums: [f64; Losses::COUNT],
}

impl Recent {
    fn add(&mut self, losses: Losses) {
        self.steps += 1;
        self.sums.iter_mut().zip(losses.values()).for_each(|(sum, loss)| *sum += f64::from(loss));
    }

    fn take(&mut self) -> Losses {
        let steps = self.steps.max(1) as f64;
        let means = self.sums.map(|sum| (sum / steps) as f32);
        *self = Self::default();
        Losses::from_values(means)
    }
}
