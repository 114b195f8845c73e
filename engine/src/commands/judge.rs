//! `falsetto judge`: what a voice bank's conversions are worth.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use falsetto_engine::files::{Encoding, Sound, find_sounds};
use falsetto_engine::judge::{
    Cepstra, Conversion, Reconstruction, Recording, Report, SingerModels, bits_per_sample,
};
use falsetto_engine::stream::{Settings, convert};
use falsetto_engine::voice::{Arithmetic, VoiceBank};
use indicatif::ProgressBar;
use rayon::prelude::*;

use super::transpose::Transpose;
use super::{Outcome, open_bank, progress_bar, say};

/// Judge a voice bank.
#[derive(clap::Args)]
pub struct Arguments {
    /// Voice bank; the built-in one if it is not given.
    #[arg(long, value_name = "FILE")]
    voice: Option<PathBuf>,
    /// Recordings of the real singers, `DIR/<singer>/*.wav|flac|...`: those of the bank, and others to be told apart from
    /// them. Half of each singer's teach the classifier, the other half check it.
    #[arg(long, value_name = "DIR")]
    references: PathBuf,
    /// Takes to convert to every singer, files or folders; without it the singers' own recordings are sung by the others.
    #[arg(long, value_name = "IN", num_args = 1..)]
    takes: Vec<PathBuf>,
    /// Recordings of each singer that are converted (without `--takes`) and sung by the singer again.
    #[arg(long, default_value_t = 2)]
    clips: usize,
    /// Semitones up (or down, negative); `octave` or `key` to bring each take nearest to the singer's range.
    #[arg(long, default_value = "0", value_name = "SEMITONES|octave|key", allow_hyphen_values = true, value_parser = Transpose::parse)]
    transpose: Transpose,
    /// Key of the decoder's random numbers.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of the report, made if need be: index.html, report.json and the sounds.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

/// Most recordings of a singer that are read: more make no better classifier.
const MOST_REFERENCES: usize = 60;

/// Recordings of one singer.
struct Known {
    name: String,
    learnt: Vec<Recording>,
    kept: Vec<Recording>,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let bank = open_bank(arguments.voice.as_deref())?;
    let known = read_references(&arguments.references, &bank)?;
    let given = read_takes(&arguments.takes)?;
    let sounds = arguments.output.join("sounds");
    std::fs::create_dir_all(&sounds)
        .map_err(|error| format!("cannot make folder {}: {error}", sounds.display()))?;

    let frames = |known: &Known| -> Cepstra { known.learnt.iter().flat_map(Recording::cepstra).collect() };
    let models = SingerModels::learn(known.iter().map(|k| (k.name.clone(), frames(k))).collect())
        .map_err(|name| format!("{name} has too little voiced sound to be known by: give more recordings"))?;
    let real: Vec<(String, Option<String>)> = known
        .par_iter()
        .flat_map_iter(|known| known.kept.iter().map(move |clip| (known, clip)))
        .map(|(known, clip)| (known.name.clone(), nearest(&models, clip)))
        .collect();

    // Without takes the singers' own recordings are sung by the others.
    let own = || {
        (0..arguments.clips).flat_map(|clip| known.iter().filter_map(move |k| Some((k, k.kept.get(clip)?))))
    };
    let takes: Vec<(&str, &Recording)> = match given.as_slice() {
        [] => own().map(|(known, clip)| (known.name.as_str(), clip)).collect(),
        given => given.iter().map(|take| ("", take)).collect(),
    };
    let singers = &bank.card().singers;
    let pairs: Vec<(usize, usize)> = (0..takes.len())
        .flat_map(|take| (0..singers.len()).map(move |singer| (take, singer)))
        .filter(|(take, singer)| takes[*take].0 != singers[*singer].name)
        .collect();
    let selves: Vec<(usize, &Recording)> =
        own().filter_map(|(known, clip)| Some((bank.singer_index(&known.name).ok()?, clip))).collect();

    let bar = progress_bar((pairs.len() + selves.len()) as u64, "{wide_bar} {pos}/{len} {elapsed}<{eta}");
    let work = Work { arguments, bank: &bank, models: &models, sounds: &sounds, bar: &bar };
    takes.par_iter().enumerate().try_for_each(|(number, (_, take))| work.write(&take_file(number), take))?;
    let conversions = pairs.par_iter().map(|(take, singer)| work.conversion(*take, takes[*take].1, *singer));
    let conversions = conversions.collect::<Result<Vec<_>, String>>()?;
    let reconstructions = selves.par_iter().map(|(singer, clip)| work.reconstruction(clip, *singer));
    let reconstructions = reconstructions.collect::<Result<Vec<_>, String>>()?;
    bar.finish_and_clear();

    let name = bank.card().name.clone();
    let names = models.names().to_vec();
    let report = Report::new(name, bank.content_hash(), names, &real, conversions, reconstructions);
    let json = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
    for (file, text) in [("index.html", report.html()), ("report.json", json)] {
        let path = arguments.output.join(file);
        std::fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    tell(&report);
    say!("{}", arguments.output.join("index.html").display());
    Ok(())
}

/// The recordings of every known singer, split by turns.
fn read_references(root: &Path, bank: &VoiceBank) -> Result<Vec<Known>, String> {
    let listed =
        std::fs::read_dir(root).map_err(|error| format!("cannot open {}: {error}", root.display()))?;
    let mut folders: Vec<PathBuf> = listed
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    let name = |folder: &Path| folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let missing = bank.card().singers.iter().find(|singer| !folders.iter().any(|f| name(f) == singer.name));
    if let Some(singer) = missing {
        return Err(format!(
            "{} has no folder {} with recordings of that singer, whom the bank sings",
            root.display(),
            singer.name
        ));
    }
    let mut known = Vec::new();
    for folder in folders {
        let files = find_sounds(&folder).map_err(|error| error.to_string())?;
        if files.len() < 2 {
            return Err(format!(
                "{} holds {} recordings; at least two are needed",
                folder.display(),
                files.len()
            ));
        }
        // Evenly over the folder, so that every kind of recording is among them.
        let stride = files.len().div_ceil(MOST_REFERENCES);
        let files: Vec<PathBuf> = files.into_iter().step_by(stride).collect();
        let recordings = files.par_iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
        let (learnt, kept): (Vec<_>, Vec<_>) =
            recordings.into_iter().enumerate().partition(|(place, _)| place % 2 == 0);
        let strip =
            |list: Vec<(usize, Recording)>| list.into_iter().map(|(_, recording)| recording).collect();
        known.push(Known { name: name(&folder), learnt: strip(learnt), kept: strip(kept) });
    }
    Ok(known)
}

fn read_takes(inputs: &[PathBuf]) -> Result<Vec<Recording>, String> {
    let mut takes = Vec::new();
    for input in inputs {
        for path in find_sounds(input).map_err(|error| error.to_string())? {
            takes.push(read(&path)?);
        }
    }
    if takes.is_empty() && !inputs.is_empty() {
        return Err("the takes hold no sound files".into());
    }
    Ok(takes)
}

fn read(path: &Path) -> Result<Recording, String> {
    let sound = Sound::read(path).map_err(|error| error.to_string())?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Recording::new(name, sound.mono(), sound.rate_hz))
}

/// The known singer that a recording is nearest to.
fn nearest(models: &SingerModels, recording: &Recording) -> Option<String> {
    let scores = models.scores(&recording.cepstra())?;
    let best = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]))?;
    Some(models.names()[best].clone())
}

fn take_file(number: usize) -> String {
    format!("take_{number:03}.wav")
}

/// What every pair needs.
struct Work<'a> {
    arguments: &'a Arguments,
    bank: &'a Arc<VoiceBank>,
    models: &'a SingerModels,
    sounds: &'a Path,
    bar: &'a ProgressBar,
}

impl Work<'_> {
    fn conversion(&self, number: usize, take: &Recording, singer: usize) -> Result<Conversion, String> {
        let settings = Settings { singer, seed: self.arguments.seed, ..Settings::default() };
        let fitted = self.arguments.transpose.fit(self.bank, &settings, take.rate_hz, &take.samples);
        let semitones = fitted.map_err(|error| format!("{}: {error}", take.name))?.semitones;
        let output = self.sing(take, Settings { transpose_semitones: semitones, ..settings })?;
        let file = format!("take_{number:03}_singer_{singer:02}.wav");
        self.write(&file, &output)?;
        let name = &self.bank.card().singers[singer].name;
        let mut judged = Conversion::judge(take, &output, name, semitones, self.models);
        judged.take_sound = format!("sounds/{}", take_file(number));
        judged.output_sound = format!("sounds/{file}");
        self.bar.inc(1);
        Ok(judged)
    }

    fn reconstruction(&self, clip: &Recording, singer: usize) -> Result<Reconstruction, String> {
        let settings = Settings { singer, seed: self.arguments.seed, ..Settings::default() };
        let output = self.sing(clip, settings)?;
        let in_arithmetic =
            |arithmetic| bits_per_sample(self.bank, arithmetic, clip.rate_hz, singer, &clip.samples);
        let own = in_arithmetic(self.bank.card().arithmetic);
        let single = match self.bank.card().arithmetic {
            Arithmetic::F32 => own,
            Arithmetic::Int8 => in_arithmetic(Arithmetic::F32),
        };
        self.bar.inc(1);
        Ok(Reconstruction::judge(clip, &output, &self.bank.card().singers[singer].name, [own, single]))
    }

    fn sing(&self, take: &Recording, settings: Settings) -> Result<Recording, String> {
        let sung = convert(self.bank, take.rate_hz, settings, &take.samples)
            .map_err(|error| format!("{}: {error}", take.name))?;
        Ok(Recording::new(take.name.clone(), sung, take.rate_hz))
    }

    fn write(&self, file: &str, recording: &Recording) -> Result<(), String> {
        let channels = vec![recording.samples.clone()];
        let sound = Sound { rate_hz: recording.rate_hz, channels, encoding: Encoding::Integer(24) };
        sound.write_wav(&self.sounds.join(file)).map_err(|error| error.to_string())
    }
}

/// The summary in a few lines.
fn tell(report: &Report) {
    let s = &report.summary;
    let number = |value: Option<f64>, digits: usize| {
        value.map_or("unknown".into(), |value| format!("{value:.digits$}"))
    };
    let share =
        |value: Option<f64>| value.map_or("unknown".into(), |value| format!("{:.1} %", 100.0 * value));
    say!("conversions      {}", report.conversions.len());
    say!(
        "melody           F0 correlation {}, RMSE {} cents, {} off key, voicing error {} (medians)",
        number(s.f0_correlation, 3),
        number(s.f0_rmse_cents, 1),
        share(s.off_key),
        share(s.voicing_error)
    );
    say!("timing           worst lag {} ms", number(s.worst_lag_ms, 0));
    say!(
        "singer           {} nearest to the one asked for, mean place {} of {} (real recordings {}, chance {})",
        share(s.identified),
        number(s.rank, 2),
        report.known.len(),
        share(s.real_identified),
        share(Some(s.chance))
    );
    say!(
        "level            {} dB off the take's (median), {} clipped, {} not numbers",
        number(s.louder_db, 1),
        s.clipped_samples,
        s.not_finite_samples
    );
    say!(
        "own recordings   {} bits per sample ({} in f32), MCD {} dB, STFT distance {}",
        number(s.bits_per_sample, 4),
        number(s.bits_per_sample_f32, 4),
        number(s.mel_cepstral_distortion_db, 2),
        number(s.stft_distance, 3)
    );
}
