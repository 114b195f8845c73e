//! The training audio, read, resampled, cut into phrases and analysed into clips.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use rayon::prelude::*;
use thiserror::Error;

use super::cost::cpu_time;
use super::layout::Layout;
use super::phrases::phrases;
use super::psola::Phrase;
use super::recipe::{AugmentConfig, Recipe};
use super::split::{Part, Place, Use, split};
use super::timbre::MeanFrames;
use crate::decode::sung_phase;
use crate::files::{FileError, Sound, find_sounds};
use crate::model::random::Generator;
use crate::signal::analysis::Analyzer;
use crate::signal::emphasis::PreEmphasis;
use crate::signal::loudness::LOUDNESS_CEILING;
use crate::signal::mel::{MelBank, RunningMean};
use crate::signal::resample::resampled;
use crate::voice::{EncoderConfig, ModelConfig, VoiceBank};

/// Why a folder could not be trained on.
#[derive(Debug, Error)]
pub enum CorpusError {
    /// The folder has no singers.
    #[error(
        "{path} has no singer folders with sound: expected DIR/<singer>/*.wav (or flac, mp3, ogg, m4a, aiff)"
    )]
    NoSingers {
        /// The folder.
        path: PathBuf,
    },
    /// A singer has too little sound.
    #[error(
        "singer {singer} has {clips} usable clips in {path}; {needed} are needed (validation takes some)"
    )]
    TooLittle {
        /// The singer.
        singer: String,
        /// The singer's folder.
        path: PathBuf,
        /// Clips that could be used.
        clips: usize,
        /// Clips needed.
        needed: usize,
    },
    /// A folder could not be listed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What one hop of a clip is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) f0_hz: f32,
    pub(crate) voiced: bool,
    pub(crate) loudness: f32,
    pub(crate) mean_square: f32,
}

/// One phrase of one singer, analysed.
pub(crate) struct Clip {
    pub(crate) singer: usize,
    /// Samples as read, at the model's rate, a whole number of hops.
    pub(crate) waveform: Vec<f32>,
    /// The same, pre-emphasised.
    pub(crate) emphasised: Vec<f32>,
    /// F0 phase of every sample, turned so that the first harmonic's phase is the one that was sung.
    pub(crate) phase: Vec<u32>,
    pub(crate) frames: Vec<Frame>,
    /// Encoder inputs `[frames][mels + 1]`: the clip itself first, then its augmented views. Empty without mel frames.
    pub(crate) views: Vec<Vec<f32>>,
    /// What is sung, as a spectrum: log-mel frames `[frames][mels]` from which the mean of all singers is subtracted, not the
    /// take's own, halved. Empty if nobody asks for it.
    pub(crate) spectrum: Vec<f32>,
    /// The frames' spectral shapes `[frames][bins]`, once they were measured and kept.
    pub(crate) shapes: OnceLock<Vec<f32>>,
    /// The same clip played backwards, if the recipe asks for it.
    pub(crate) reversed: Option<Box<Clip>>,
    /// The same clip at each of the recipe's other pitches.
    pub(crate) repitched: Vec<Clip>,
}

impl Clip {
    /// What the encoder hears of the clip: a view of mel frames or, without mel frames, the waveform.
    pub(crate) fn heard(&self, view: usize) -> &[f32] {
        self.views.get(view).unwrap_or(&self.waveform)
    }

    /// What the encoder would hear if the clip had been sung as `waveform`, which is as long and sings the same words at
    /// the same time.
    pub(crate) fn heard_as(&self, waveform: Vec<f32>, recipe: &Recipe, mel_mean: &[f32]) -> Vec<f32> {
        let EncoderConfig::Mel { mels, .. } = recipe.model.encoder else { return waveform };
        let mut bank = MelBank::new(recipe.model.sample_rate_hz, mels, 1.0);
        let raw = mel_frames(&waveform, recipe.model.hop_samples, &mut bank);
        normalise(&raw, &self.frames, mel_mean, &recipe.model)
    }
}

/// All clips of all singers.
pub struct Corpus {
    /// Names of the singers, sorted: the folders' names.
    pub singers: Vec<String>,
    /// Median F0 of each singer over voiced frames, in Hz.
    pub median_f0_hz: Vec<f32>,
    /// Minutes of each singer.
    pub minutes: Vec<f32>,
    /// Files that were left out, with the reason.
    pub dropped: Vec<(PathBuf, String)>,
    /// Seconds of silence between phrases that were left out of the files that were not.
    pub silent_seconds: f32,
    /// The same of phrases too short to train on.
    pub short_seconds: f32,
    /// Loudness that one voiced frame in twenty exceeds.
    pub loudest: f32,
    /// Mean level-free log-mel frame over all singers; empty without mel frames.
    pub mel_mean: Vec<f32>,
    /// What each singer sounds like on average, `[singers][REGISTERS][mels]`; empty if nobody asks for it.
    pub(crate) timbre: Vec<f32>,
    /// Processor time that reading and analysing took; none where the system does not tell.
    pub(crate) cpu_time: Option<Duration>,
    /// Training clips of each singer.
    pub(crate) training: Vec<Vec<Clip>>,
    /// Validation clips of each singer.
    validation: Vec<Vec<Clip>>,
}

impl Corpus {
    /// Reads and analyses every file below `root`, in parallel; songs are cut into phrases at their rests. `progress` is
    /// told of each finished file. The layouts that are known are a folder for each singer, NUS-48E's, OpenSinger's,
    /// VocalSet's, and that of a corpus which is split by songs.
    pub fn load(
        root: &Path,
        recipe: &Recipe,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Self, CorpusError> {
        let layout = Layout::find(root)?;
        let singers: Vec<String> = layout.singers.keys().cloned().collect();
        if singers.is_empty() {
            return Err(CorpusError::NoSingers { path: root.into() });
        }
        let mut files = Vec::new();
        for (singer, (name, train)) in layout.singers.iter().enumerate() {
            let file = |part| move |path: &PathBuf| SungFile { singer, part, path: path.clone() };
            match layout.validation.get(name) {
                Some(validation) => {
                    files.extend(train.iter().map(file(Part::Train)));
                    files.extend(validation.iter().map(file(Part::Validation)));
                }
                None => files.extend(train.iter().map(file(Part::Unsplit))),
            }
        }
        let mut corpus = Self::read(root, singers, files, None, recipe, progress)?;
        corpus.dropped.splice(0..0, layout.left_out);
        Ok(corpus)
    }

    /// Reads the recordings of one new singer for a bank that is there: the singer's index follows the bank's singers', and
    /// the encoder hears as it did when it was trained.
    pub fn load_singer(
        folder: &Path,
        name: &str,
        bank: &VoiceBank,
        recipe: &Recipe,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Self, CorpusError> {
        let sung = |path| SungFile { singer: 0, part: Part::Unsplit, path };
        let files = find_sounds(folder)?.into_iter().map(sung).collect();
        Self::read(folder, vec![name.into()], files, Some(bank), recipe, progress)
    }

    fn read(
        root: &Path,
        singers: Vec<String>,
        files: Vec<SungFile>,
        bank: Option<&VoiceBank>,
        recipe: &Recipe,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Self, CorpusError> {
        let began = cpu_time();
        let first_singer = bank.map_or(0, |bank| bank.card().singers.len());
        let done = std::sync::atomic::AtomicUsize::new(0);
        let total = files.len();
        let read: Vec<_> = files
            .par_iter()
            .map(|file| {
                let drafts = Draft::read(root, &file.path, first_singer + file.singer, recipe);
                progress(done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1, total);
                drafts
            })
            .collect();
        let mut dropped = Vec::new();
        let (mut silent_seconds, mut short_seconds) = (0.0, 0.0);
        let mut drafts: Vec<Vec<Draft>> = singers.iter().map(|_| Vec::new()).collect();
        let mut places: Vec<Vec<Place>> = singers.iter().map(|_| Vec::new()).collect();
        for (index, (sung, read)) in files.iter().zip(read).enumerate() {
            match read {
                Ok(read) => {
                    let place = Place { file: index, part: sung.part };
                    places[sung.singer].extend(read.drafts.iter().map(|_| place));
                    drafts[sung.singer].extend(read.drafts);
                    silent_seconds += read.silent_seconds;
                    short_seconds += read.short_seconds;
                }
                Err(reason) => dropped.push((sung.path.clone(), reason)),
            }
        }

        let watched = recipe.training.validation_clips;
        let mut uses = Vec::new();
        for (singer, places) in places.iter().enumerate() {
            uses.push(split(places, watched).ok_or_else(|| CorpusError::TooLittle {
                singer: singers[singer].clone(),
                path: root.into(),
                clips: places.len(),
                needed: 2 * watched,
            })?);
        }
        let mel_mean = match bank {
            Some(bank) if matches!(recipe.model.encoder, EncoderConfig::Mel { .. }) => {
                bank.tensor("encoder.mel_mean").to_vec()
            }
            _ => mean_of_singers(&drafts),
        };
        let hops_per_minute = 60.0 * recipe.model.sample_rate_hz as f32 / recipe.model.hop_samples as f32;
        let minutes = drafts
            .iter()
            .map(|drafts| {
                drafts.iter().map(|draft| draft.frames.len()).sum::<usize>() as f32 / hops_per_minute
            })
            .collect();
        let median_f0_hz = drafts.iter().map(|drafts| median_f0(drafts)).collect();
        let loudest = loudest(&drafts);
        let timbre = if recipe.model.condition.timbre {
            drafts.iter().zip(&uses).flat_map(|(drafts, uses)| timbre(drafts, uses, &mel_mean)).collect()
        } else {
            Vec::new()
        };
        let mut training = Vec::new();
        let mut validation = Vec::new();
        for (drafts, uses) in drafts.into_iter().zip(uses) {
            let (mut train, mut watch) = (Vec::new(), Vec::new());
            for (draft, use_) in drafts.into_iter().zip(uses) {
                match use_ {
                    Use::Train => train.push(draft),
                    Use::Watch => watch.push(draft),
                    Use::Neither => {}
                }
            }
            let finished = train.into_par_iter().map(|draft| draft.finish_to_train_on(recipe, &mel_mean));
            training.push(finished.collect());
            validation.push(watch.into_par_iter().map(|draft| draft.finish(recipe, &mel_mean)).collect());
        }
        Ok(Self {
            singers,
            median_f0_hz,
            minutes,
            dropped,
            silent_seconds,
            short_seconds,
            loudest,
            mel_mean,
            timbre,
            cpu_time: cpu_time().zip(began).and_then(|(now, began)| now.checked_sub(began)),
            training,
            validation,
        })
    }

    /// A training clip of a singer, drawn in proportion to its length.
    pub(crate) fn draw_training_clip(
        &self,
        singer: usize,
        segment_frames: usize,
        random: &mut Generator,
    ) -> &Clip {
        let clips = &self.training[singer];
        let weight = |clip: &Clip| clip.frames.len() - segment_frames + 1;
        let mut left = random.below(clips.iter().map(weight).sum());
        for clip in clips {
            if left < weight(clip) {
                return clip;
            }
            left -= weight(clip);
        }
        &clips[clips.len() - 1]
    }

    /// The validation clips, singer by singer.
    pub(crate) fn validation_clips(&self) -> impl Iterator<Item = &Clip> {
        self.validation.iter().flatten()
    }

    /// One of them for each singer.
    pub(crate) fn preview_clips(&self) -> impl Iterator<Item = &Clip> {
        self.validation.iter().filter_map(|clips| clips.first())
    }
}

/// A file of the corpus.
struct SungFile {
    singer: usize,
    part: Part,
    path: PathBuf,
}

/// A file's phrases, and how much of it was left out.
struct DraftFile {
    drafts: Vec<Draft>,
    silent_seconds: f32,
    short_seconds: f32,
}

/// A clip before the corpus-wide mel mean is known.
struct Draft {
    singer: usize,
    waveform: Vec<f32>,
    frames: Vec<Frame>,
    /// Level-free log-mel frames `[frames][mels]` of each view; the clip itself first.
    raw_views: Vec<Vec<f32>>,
    reversed: Option<Box<Draft>>,
    /// Of its altered views.
    seed: u64,
}

impl Draft {
    /// The phrases of a file that a segment fits into.
    fn read(root: &Path, path: &Path, singer: usize, recipe: &Recipe) -> Result<DraftFile, String> {
        let model = &recipe.model;
        let sound = Sound::read(path).map_err(|error| error.to_string())?;
        let waveform = resampled(&sound.mono(), sound.rate_hz, model.sample_rate_hz);
        // The file's name below the corpus, so that a corpus trains alike wherever it lies.
        let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy();
        let seed = name.bytes().fold(recipe.training.seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        let phrases = phrases(&waveform, model.sample_rate_hz);
        // A segment must fit, and the first unscored samples must not be all there is.
        let shortest = recipe.training.segment_frames * model.hop_samples;
        let (fit, short): (Vec<_>, Vec<_>) = phrases
            .into_iter()
            .partition(|phrase| phrase.len() / model.hop_samples * model.hop_samples >= shortest);
        let seconds = |samples: usize| samples as f32 / model.sample_rate_hz as f32;
        if fit.is_empty() {
            let shortest = seconds(shortest);
            return Err(format!("nothing in it is as long as a training segment ({shortest:.2} s)"));
        }
        let kept: usize = fit.iter().map(ExactSizeIterator::len).sum();
        let too_short: usize = short.iter().map(ExactSizeIterator::len).sum();
        let (silent_seconds, short_seconds) =
            (seconds(waveform.len() - kept - too_short), seconds(too_short));
        let drafts = fit.into_iter().zip(0u64..).map(|(phrase, index)| {
            let mut waveform = waveform[phrase].to_vec();
            waveform.truncate(waveform.len() / model.hop_samples * model.hop_samples);
            let seed = seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let reversed = (recipe.augment.reverse > 0.0).then(|| {
                let backwards = waveform.iter().rev().copied().collect();
                Box::new(Self::analyse(backwards, singer, model, &recipe.augment, seed ^ 1))
            });
            Self { reversed, ..Self::analyse(waveform, singer, model, &recipe.augment, seed) }
        });
        Ok(DraftFile { drafts: drafts.collect(), silent_seconds, short_seconds })
    }

    fn analyse(
        waveform: Vec<f32>,
        singer: usize,
        model: &ModelConfig,
        augment: &AugmentConfig,
        seed: u64,
    ) -> Self {
        let hop = model.hop_samples;
        let hops = waveform.len() / hop;
        let mut analyzer = Analyzer::new(model, None);
        let silence = vec![0.0; hop];
        let mut frames = Vec::with_capacity(hops);
        let mut raw = Vec::new();
        for index in 0..hops + analyzer.look_ahead_hops() {
            let input = if index < hops { &waveform[index * hop..][..hop] } else { &silence };
            if let Some(frame) = analyzer.push(input) {
                frames.push(Frame {
                    f0_hz: frame.f0_hz,
                    voiced: frame.voiced,
                    loudness: frame.loudness,
                    mean_square: frame.mean_square,
                });
                raw.extend_from_slice(&frame.mel_raw);
            }
        }
        let mut raw_views = Vec::new();
        if let EncoderConfig::Mel { mels, .. } = model.encoder {
            raw_views.push(raw);
            for view in 0..augment.views {
                let mut random = Generator::new(seed, 1 + view as u64);
                raw_views.push(altered_view(&waveform, model, mels, augment, &mut random));
            }
        }
        Self { singer, waveform, frames, raw_views, reversed: None, seed }
    }

    /// The same phrase at each of the recipe's other pitches, heard anew.
    fn at_other_pitches(&self, recipe: &Recipe) -> Vec<Self> {
        let (model, augment) = (&recipe.model, &recipe.augment);
        if augment.pitch_semitones.is_empty() {
            return Vec::new();
        }
        let hops: Vec<_> = self.frames.iter().map(|frame| (frame.f0_hz, frame.voiced)).collect();
        let phrase = Phrase::new(&self.waveform, &hops, model.sample_rate_hz, model.hop_samples);
        let shifts = augment.pitch_semitones.iter().zip(2u64..);
        shifts
            .map(|(semitones, stream)| {
                let sung = phrase.sung_higher((semitones / 12.0).exp2());
                Self::analyse(sung, self.singer, model, augment, self.seed ^ stream)
            })
            .collect()
    }

    fn finish(self, recipe: &Recipe, mel_mean: &[f32]) -> Clip {
        let model = &recipe.model;
        let mut emphasised = self.waveform.clone();
        PreEmphasis::new(model.pre_emphasis).process(&mut emphasised);
        let hops = self.frames.iter().map(|frame| (frame.f0_hz, frame.voiced));
        let phase = sung_phase(&emphasised, hops, model.sample_rate_hz, model.hop_samples);
        let views = self.raw_views.iter().map(|raw| normalise(raw, &self.frames, mel_mean, model)).collect();
        let spectrum = match (&recipe.training.spectrum, self.raw_views.first()) {
            (Some(_), Some(raw)) => {
                raw.iter().zip(mel_mean.iter().cycle()).map(|(raw, mean)| (raw - mean) * 0.5).collect()
            }
            _ => Vec::new(),
        };
        Clip {
            singer: self.singer,
            waveform: self.waveform,
            emphasised,
            phase,
            frames: self.frames,
            views,
            spectrum,
            shapes: OnceLock::new(),
            reversed: self.reversed.map(|draft| Box::new(draft.finish(recipe, mel_mean))),
            repitched: Vec::new(),
        }
    }

    /// The same for a clip that is trained on, with what is made of it.
    fn finish_to_train_on(self, recipe: &Recipe, mel_mean: &[f32]) -> Clip {
        let repitched = self.at_other_pitches(recipe);
        let repitched = repitched.into_iter().map(|draft| draft.finish(recipe, mel_mean)).collect();
        Clip { repitched, ..self.finish(recipe, mel_mean) }
    }
}

/// Level-free log-mel frames of the clip with its frequency axis stretched, tilted and with noise.
fn altered_view(
    waveform: &[f32],
    model: &ModelConfig,
    mels: usize,
    augment: &AugmentConfig,
    random: &mut Generator,
) -> Vec<f32> {
    let draw = |range: [f32; 2], random: &mut Generator| random.between(range[0], range[1]);
    let warp = draw(augment.view_warp, random);
    let noise_db = draw(augment.view_noise_db, random);
    let tilt_db = draw(augment.view_tilt_db, random);
    let power = waveform.iter().map(|x| x * x).sum::<f32>() / waveform.len() as f32;
    let noise_level = power.sqrt() * 10f32.powf(-noise_db / 20.0);
    let noisy: Vec<f32> = waveform.iter().map(|x| x + noise_level * random.normal()).collect();

    let mut bank = MelBank::new(model.sample_rate_hz, mels, f64::from(warp));
    let mut view = mel_frames(&noisy, model.hop_samples, &mut bank);
    // Natural-log power: a tilt of d dB is d ln(10) / 10, spread over the bands around zero.
    let slope = tilt_db * std::f32::consts::LN_10 / 10.0;
    for (index, value) in view.iter_mut().enumerate() {
        *value += slope * ((index % mels) as f32 / (mels - 1) as f32 - 0.5);
    }
    view
}

/// Level-free log-mel frames `[frames][mels]`, each of a window around its hop's centre.
fn mel_frames(waveform: &[f32], hop: usize, bank: &mut MelBank) -> Vec<f32> {
    let window = bank.window_samples();
    let before = (window / 2) as isize - (hop / 2) as isize;
    let mut input = vec![0.0; window];
    let mut frame = vec![0.0; bank.mels()];
    let mut frames = Vec::with_capacity(waveform.len() / hop * frame.len());
    for index in 0..waveform.len() / hop {
        let first = (index * hop) as isize - before;
        for (offset, sample) in input.iter_mut().enumerate() {
            let position = first + offset as isize;
            *sample = usize::try_from(position).ok().and_then(|p| waveform.get(p)).copied().unwrap_or(0.0);
        }
        bank.frame(&input, &mut frame);
        frames.extend_from_slice(&frame);
    }
    frames
}

/// Mel frames as the streaming analyzer gives them to the encoder: the running mean of the take subtracted, halved, the
/// loudness appended. A view is normalised by its own mean but with the clip's loudness and voicing.
fn normalise(raw: &[f32], frames: &[Frame], mel_mean: &[f32], model: &ModelConfig) -> Vec<f32> {
    let mels = mel_mean.len();
    let mut mean = RunningMean::new(mel_mean, model.hop_samples as f64 / f64::from(model.sample_rate_hz));
    let mut view = Vec::with_capacity(frames.len() * (mels + 1));
    for (frame, raw) in frames.iter().zip(raw.chunks_exact(mels)) {
        mean.update(raw, frame.mean_square, frame.voiced);
        view.extend(raw.iter().zip(mean.mean()).map(|(raw, mean)| (raw - mean) * 0.5));
        view.push(frame.loudness);
    }
    view
}

/// Frames that are so much softer than their phrase's loudest (26 dB) are no voice that one knows a singer by.
const SOFTER: f32 = 2.0;

/// Mean frames of a singer's voiced frames in the phrases that are trained on, by register.
fn timbre(drafts: &[Draft], uses: &[Use], mel_mean: &[f32]) -> Vec<f32> {
    let mut means = MeanFrames::new(mel_mean.len());
    let trained = drafts.iter().zip(uses).filter(|(_, use_)| matches!(use_, Use::Train));
    for (draft, _) in trained {
        let raw = draft.raw_views.first().map_or(&[][..], Vec::as_slice);
        let loudest = draft.frames.iter().map(|frame| frame.loudness).fold(f32::MIN, f32::max);
        for (frame, raw) in draft.frames.iter().zip(raw.chunks_exact(mel_mean.len())) {
            if frame.voiced && frame.loudness > loudest - SOFTER {
                means.add(frame.f0_hz, raw);
            }
        }
    }
    means.finish(mel_mean)
}

/// Mean level-free log-mel frame: over the loud voiced frames of each singer, then over singers.
fn mean_of_singers(drafts: &[Vec<Draft>]) -> Vec<f32> {
    let Some(raw) =
        drafts.first().and_then(|drafts| drafts.first()).and_then(|draft| draft.raw_views.first())
    else {
        return Vec::new();
    };
    let mels = raw.len() / drafts[0][0].frames.len();
    let mut mean = vec![0f64; mels];
    for drafts in drafts {
        let mut sum = vec![0f64; mels];
        let mut count = 0f64;
        for draft in drafts {
            let loudest = draft.frames.iter().map(|frame| frame.loudness).fold(f32::MIN, f32::max);
            for (frame, raw) in draft.frames.iter().zip(draft.raw_views[0].chunks_exact(mels)) {
                if frame.voiced && frame.loudness > loudest - 3.5 / 3.0 {
                    sum.iter_mut().zip(raw).for_each(|(sum, value)| *sum += f64::from(*value));
                    count += 1.0;
                }
            }
        }
        mean.iter_mut().zip(&sum).for_each(|(mean, sum)| *mean += sum / count.max(1.0));
    }
    mean.iter().map(|sum| (sum / drafts.len() as f64) as f32).collect()
}

fn loudest(drafts: &[Vec<Draft>]) -> f32 {
    let frames = drafts.iter().flatten().flat_map(|draft| &draft.frames);
    let mut voiced: Vec<f32> = frames.filter(|frame| frame.voiced).map(|frame| frame.loudness).collect();
    if voiced.is_empty() {
        return LOUDNESS_CEILING;
    }
    let place = voiced.len() * 19 / 20;
    *voiced.select_nth_unstable_by(place, f32::total_cmp).1
}

fn median_f0(drafts: &[Draft]) -> f32 {
    let frames = drafts.iter().flat_map(|draft| &draft.frames);
    let mut voiced: Vec<f32> = frames.filter(|frame| frame.voiced).map(|frame| frame.f0_hz).collect();
    if voiced.is_empty() {
        return 220.0;
    }
    let middle = voiced.len() / 2;
    *voiced.select_nth_unstable_by(middle, f32::total_cmp).1
}
