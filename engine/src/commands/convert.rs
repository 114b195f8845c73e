//! `falsetto convert`: takes in, takes in another singer's voice out.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use falsetto_engine::decode::Gpu;
use falsetto_engine::files::{Encoding, Sound, find_sounds};
use falsetto_engine::stream::{Batch, Conversion, MAX_FORMANT_SEMITONES, Settings, StreamError};
use falsetto_engine::voice::VoiceBank;
use indicatif::ProgressBar;
use parking_lot::Mutex;

use super::device::Device;
use super::transpose::{Fitted, Transpose};
use super::{Outcome, open_bank, progress_bar, say};

/// Sing takes in another singer's voice.
#[derive(clap::Args)]
pub struct Arguments {
    /// Sound files, or folders that are searched for them.
    #[arg(required = true, value_name = "IN")]
    inputs: Vec<PathBuf>,
    /// Target singer, as `falsetto singers` names them.
    #[arg(long)]
    singer: String,
    /// A WAV file for one input file; a folder (made if need be) for several inputs or a folder.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Voice bank; the built-in one if it is not given.
    #[arg(long, value_name = "FILE")]
    voice: Option<PathBuf>,
    /// Another seed sings another, equally honest take.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A second singer whose voice is blended in, and his share of it.
    #[arg(long, value_name = "SINGER:SHARE", value_parser = blend)]
    blend: Option<Blend>,
    /// Semitones up (or down, negative); `octave` for the whole octaves, `key` for the whole semitones that bring each
    /// take nearest to the singer's range. As it is if nothing is said; then a take that lies nearer in another octave is
    /// told.
    #[arg(long, value_name = "SEMITONES|octave|key", allow_hyphen_values = true, value_parser = Transpose::parse)]
    transpose: Option<Transpose>,
    /// Semitones by which the singer's formants are moved, -12 to 12: up for a shorter throat.
    #[arg(long, default_value_t = 0.0, value_name = "SEMITONES", allow_hyphen_values = true, value_parser = formant)]
    formant: f32,
    /// How much is heard of what lies above the voice's own band, which the take gives: 0 to 1.
    #[arg(long, default_value_t = 1.0, value_parser = share)]
    air: f32,
    /// Device that decodes. All of them sing the same samples.
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    device: Device,
    /// Do only every N-th file, counted from I (1 to N), so that N machines share a folder.
    #[arg(long, value_name = "I/N", value_parser = shard)]
    shard: Option<Shard>,
    /// Threads that convert, each several files side by side; as many as the processor has if it is not given.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

#[derive(Clone, Copy)]
struct Shard {
    index: usize,
    count: usize,
}

#[derive(Clone)]
struct Blend {
    singer: String,
    share: f32,
}

fn share(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("must be a number from 0 to 1".into()),
    }
}

fn formant(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value.abs() <= MAX_FORMANT_SEMITONES => Ok(value),
        _ => Err(format!("must be a number from -{MAX_FORMANT_SEMITONES} to {MAX_FORMANT_SEMITONES}")),
    }
}

fn blend(text: &str) -> Result<Blend, String> {
    let (singer, part) =
        text.rsplit_once(':').ok_or("must be SINGER:SHARE, for example slt:0.5".to_string())?;
    Ok(Blend { singer: singer.into(), share: share(part)? })
}

fn shard(text: &str) -> Result<Shard, String> {
    let parsed =
        text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
    match parsed {
        Some((index, count)) if index >= 1 && index <= count => Ok(Shard { index, count }),
        _ => Err("must be I/N with 1 <= I <= N, for example 2/8".into()),
    }
}

pub fn run(arguments: &Arguments) -> Outcome {
    let bank = open_bank(arguments.voice.as_deref())?;
    let singer = bank.singer_index(&arguments.singer).map_err(|error| error.to_string())?;
    let (second_singer, blend) = match &arguments.blend {
        Some(blend) => (bank.singer_index(&blend.singer).map_err(|error| error.to_string())?, blend.share),
        None => (singer, 0.0),
    };
    let settings = Settings {
        singer,
        second_singer,
        blend,
        formant_semitones: arguments.formant,
        air: arguments.air,
        seed: arguments.seed,
        ..Settings::default()
    };
    let gpu = arguments.device.open()?;
    let mut jobs = plan(&arguments.inputs, &arguments.output)?;
    if let Some(Shard { index, count }) = arguments.shard {
        jobs = jobs.into_iter().skip(index - 1).step_by(count).collect();
    }
    let bar = match jobs.len() {
        0 | 1 => ProgressBar::hidden(),
        files => progress_bar(files as u64, "{wide_bar} {pos}/{len} {elapsed}<{eta}"),
    };
    // One broken file must not cost a folder's worth of work.
    let failures = convert_all(&jobs, arguments.threads, gpu.as_deref(), &bar, |job| {
        let (taken, conversion) = Taken::open(&bank, settings, arguments.transpose, job)?;
        let Some(gpu) = &gpu else { return Ok((taken, conversion)) };
        let conversion =
            conversion.on_gpu(gpu).map_err(|error| format!("{}: {error}", job.input.display()))?;
        Ok((taken, conversion))
    });
    bar.finish_and_clear();
    match failures.as_slice() {
        [] => Ok(()),
        [message] if jobs.len() == 1 => Err(message.clone()),
        _ => Err(format!("{} of {} files could not be converted", failures.len(), jobs.len())),
    }
}

/// An input file and where its conversion goes.
struct Job {
    input: PathBuf,
    output: PathBuf,
}

/// Converts all jobs on several threads; tells what there is to tell of each, gives the messages of those that failed.
fn convert_all<'a>(
    jobs: &'a [Job],
    threads: Option<NonZeroUsize>,
    gpu: Option<&Gpu>,
    bar: &ProgressBar,
    open: impl Fn(&'a Job) -> Result<(Taken<'a>, Conversion), String> + Sync,
) -> Vec<String> {
    let threads = threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let most_together = if gpu.is_some() { Batch::<Taken>::MOST_ON_GPU } else { Batch::<Taken>::MOST };
    let side_by_side = jobs.len().div_ceil(threads).min(most_together);
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let report = |result: Result<Heard, String>| {
        bar.suspend(|| match &result {
            Ok(heard) => heard.tell(),
            // A single failure is the command's own.
            Err(message) if jobs.len() > 1 => eprintln!("falsetto: {message}"),
            Err(_) => {}
        });
        bar.inc(1);
        failures.lock().extend(result.err());
    };
    let work = || {
        let mut batch = Batch::default();
        loop {
            while batch.len() < side_by_side
                && let Some(job) = jobs.get(next.fetch_add(1, Relaxed))
            {
                match open(job) {
                    Ok((taken, conversion)) => batch.push(taken, conversion),
                    Err(message) => report(Err(message)),
                }
            }
            let Some((taken, sung)) = batch.finish_one() else { return };
            // What a GPU did not sing to its end must not be taken for the take.
            if gpu.is_some_and(|gpu| gpu.has_failed()) {
                let input = taken.job.input.display();
                report(Err(format!("{input}: the GPU failed while it sang; convert it with --device cpu")));
                continue;
            }
            report(taken.write(sung));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(jobs.len()) {
            scope.spawn(work);
        }
        work();
    });
    failures.into_inner()
}

/// What is converted, and where to.
fn plan(inputs: &[PathBuf], output: &Path) -> Result<Vec<Job>, String> {
    if let [input] = inputs
        && !input.is_dir()
        && !output.is_dir()
    {
        return Ok(vec![Job { input: input.clone(), output: output.to_path_buf() }]);
    }
    let mut jobs: Vec<Job> = Vec::new();
    for root in inputs {
        let found = find_sounds(root).map_err(|error| error.to_string())?;
        if found.is_empty() {
            return Err(format!("{} holds no sound files", root.display()));
        }
        for input in found {
            // A folder's tree is kept below the output folder; a file goes right into it.
            let relative = if root.is_dir() {
                input.strip_prefix(root).unwrap_or(&input)
            } else {
                Path::new(input.file_name().unwrap_or_default())
            };
            let target = output.join(relative).with_extension("wav");
            if let Some(other) = jobs.iter().find(|job| job.output == target) {
                return Err(format!(
                    "{} and {} would both be written to {}; convert them one at a time",
                    other.input.display(),
                    input.display(),
                    target.display()
                ));
            }
            jobs.push(Job { input, output: target });
        }
    }
    Ok(jobs)
}

/// What there is to say of a take's register.
enum Heard {
    /// What was asked for.
    Told(String),
    /// What the user may not know.
    Hint(String),
    Nothing,
}

impl Heard {
    fn tell(&self) {
        match self {
            Self::Told(line) => say!("{line}"),
            Self::Hint(line) => eprintln!("falsetto: {line}"),
            Self::Nothing => {}
        }
    }
}

/// What was found out about a take that is transposed as asked, or not at all.
fn heard(input: &Path, asked: Option<Transpose>, fitted: &Fitted) -> Heard {
    let (input, semitones) = (input.display(), fitted.semitones);
    match (asked, fitted.take_f0_hz) {
        (Some(Transpose::Semitones(_)), _) => Heard::Nothing,
        (Some(_), Some(f0_hz)) => {
            Heard::Told(format!("{input}: median F0 {f0_hz:.0} Hz, transposed {semitones:+} semitones"))
        }
        (Some(_), None) => Heard::Told(format!("{input}: no pitch, transposed {semitones:+} semitones")),
        (None, Some(f0_hz)) if semitones != 0.0 => Heard::Hint(format!(
            "{input}: its median F0 of {f0_hz:.0} Hz is far from the singer's register, which costs likeness; \
             --transpose octave would transpose it {semitones:+} semitones"
        )),
        (None, _) => Heard::Nothing,
    }
}

/// A file whose take is being converted.
struct Taken<'a> {
    job: &'a Job,
    rate_hz: u32,
    channels: usize,
    encoding: Encoding,
    heard: Heard,
}

impl<'a> Taken<'a> {
    fn open(
        bank: &Arc<VoiceBank>,
        settings: Settings,
        transpose: Option<Transpose>,
        job: &'a Job,
    ) -> Result<(Self, Conversion), String> {
        let Job { input, output } = job;
        if same_file(input, output) {
            return Err(format!(
                "{} would be overwritten by its own conversion; choose another output",
                input.display()
            ));
        }
        let sound = Sound::read(input).map_err(|error| error.to_string())?;
        let named = |error: StreamError| format!("{}: {error}", input.display());
        let take = sound.mono();
        let fitted = transpose
            .unwrap_or(Transpose::Octave)
            .fit(bank, &settings, sound.rate_hz, &take)
            .map_err(named)?;
        let taken = Self {
            job,
            rate_hz: sound.rate_hz,
            channels: sound.channels.len(),
            encoding: sound.encoding,
            heard: heard(input, transpose, &fitted),
        };
        let transpose_semitones = if transpose.is_some() { fitted.semitones } else { 0.0 };
        let settings = Settings { transpose_semitones, ..settings };
        Ok((taken, Conversion::new(bank, sound.rate_hz, settings, take).map_err(named)?))
    }

    /// Writes what was sung; says what was found out about the take.
    fn write(self, sung: Vec<f32>) -> Result<Heard, String> {
        let output = &self.job.output;
        if let Some(folder) = output.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)
                .map_err(|error| format!("cannot make folder {}: {error}", folder.display()))?;
        }
        let channels = vec![sung; self.channels];
        let result = Sound { rate_hz: self.rate_hz, channels, encoding: self.encoding };
        result.write_wav(output).map_err(|error| error.to_string())?;
        Ok(self.heard)
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
