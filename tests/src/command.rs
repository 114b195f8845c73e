//! Runs the built `falsetto` and reads and writes the WAV files it works on.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

use crate::play::Sound;

/// What the command did.
#[derive(Clone, Debug)]
pub struct Answer {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The `falsetto` program.
#[derive(Clone, Debug)]
pub struct Falsetto {
    program: PathBuf,
}

impl Falsetto {
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// Runs it and waits.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> std::io::Result<Answer> {
        Command::new(&self.program).args(arguments).output().map(Answer::from)
    }

    /// Runs it with a standard output that nobody reads, as `| head` leaves it behind.
    pub fn run_unread<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> std::io::Result<Answer> {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let child =
            Command::new(&self.program).args(arguments).stdout(writer).stderr(Stdio::piped()).spawn()?;
        child.wait_with_output().map(Answer::from)
    }

    /// `falsetto convert INPUT --singer NAME -o OUTPUT`
    pub fn convert(&self, input: &Path, singer: &str, output: &Path) -> std::io::Result<Answer> {
        self.convert_with(input, singer, &[], output)
    }

    /// `falsetto convert INPUT --singer NAME SETTINGS... -o OUTPUT`
    pub fn convert_with(
        &self,
        input: &Path,
        singer: &str,
        settings: &[&str],
        output: &Path,
    ) -> std::io::Result<Answer> {
        let singer = [OsStr::new("--singer"), OsStr::new(singer)];
        let output = [OsStr::new("-o"), output.as_os_str()];
        let head = [OsStr::new("convert"), input.as_os_str()];
        self.run(head.into_iter().chain(singer).chain(settings.iter().map(OsStr::new)).chain(output))
    }
}

/// Writes `[channels][frames]` as a WAV file of 32-bit floats.
pub fn write_wav(path: &Path, sample_rate_hz: u32, sound: &[Vec<f32>]) -> Result<(), hound::Error> {
    let spec = WavSpec {
        channels: sound.len() as u16,
        sample_rate: sample_rate_hz,
        bits_per_sample: 32,
        sample_format: SampleFormat::Float,
    };
    let mut writer = WavWriter::create(path, spec)?;
    for frame in 0..sound.first().map_or(0, Vec::len) {
        for channel in sound {
            writer.write_sample(channel[frame])?;
        }
    }
    writer.finalize()
}

/// Reads a WAV file as its rate in Hz and `[channels][frames]`.
pub fn read_wav(path: &Path) -> Result<(u32, Sound), hound::Error> {
    let reader = WavReader::open(path)?;
    let spec = reader.spec();
    let samples: Vec<f32> = match spec.sample_format {
        SampleFormat::Float => reader.into_samples().collect::<Result<_, _>>()?,
        SampleFormat::Int => {
            let full_scale = (1_i64 << (spec.bits_per_sample - 1)) as f32;
            let samples = reader.into_samples::<i32>();
            samples.map(|s| s.map(|v| v as f32 / full_scale)).collect::<Result<_, _>>()?
        }
    };
    let channels = usize::from(spec.channels.max(1));
    Ok((
        spec.sample_rate,
        (0..channels).map(|c| samples.iter().copied().skip(c).step_by(channels).collect()).collect(),
    ))
}
