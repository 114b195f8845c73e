//! Reading and writing sound files. Reads WAV, FLAC, AIFF, MP3, Ogg Vorbis, MP4/AAC and ALAC; writes WAV.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::TrackType;
use symphonia::core::formats::probe::Hint;
use symphonia::core::io::MediaSourceStream;
use thiserror::Error;

/// Extensions of the files that [`Sound::read`] is tried on when a folder is searched.
pub const EXTENSIONS: [&str; 10] = ["wav", "wave", "flac", "aif", "aiff", "mp3", "ogg", "oga", "m4a", "mp4"];

/// More channels and higher rates than these are refused: no take has them, but a broken header may say so.
const LARGEST_CHANNEL_COUNT: usize = 64;
const LARGEST_RATE_HZ: u32 = 768_000;

/// How samples are stored in a written file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Signed integers of so many bits (8, 16, 24 or 32).
    Integer(u16),
    /// 32-bit floats.
    Float,
}

/// A sound: all channels of equal length, full scale at 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// Samples a second.
    pub rate_hz: u32,
    /// Samples, `[channels][frames]`.
    pub channels: Vec<Vec<f32>>,
    /// How the file stored them; what a written file should use to lose nothing.
    pub encoding: Encoding,
}

/// Why a sound file could not be read or written.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file could not be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not a sound file, or it is damaged.
    #[error("{path} is not a sound file that can be read (WAV, FLAC, AIFF, MP3, Ogg or M4A): {reason}")]
    NotSound {
        /// The file.
        path: PathBuf,
        /// What the reader met.
        reason: String,
    },
    /// The file holds no samples.
    #[error("{path} holds no sound")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Some samples are NaN or infinite.
    #[error(
        "{path} has samples that are not numbers, the first at {seconds:.3} s; export it again, or as 24-bit integers"
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Where the first of them is.
        seconds: f64,
    },
    /// The file could not be written.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
}

impl Sound {
    /// Reads a whole file.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        // An early look tells a missing file from a broken one.
        let file = File::open(path).map_err(|source| FileError::Open { path: path.into(), source })?;
        let sound = match read_wav(path) {
            Some(read) => read.map_err(|error| not_sound(path, error))?,
            None => read_any(path, file)?,
        };
        if sound.frames() == 0 {
            return Err(FileError::Empty { path: path.into() });
        }
        let broken = |channel: &Vec<f32>| channel.iter().position(|sample| !sample.is_finite());
        if let Some(frame) = sound.channels.iter().filter_map(broken).min() {
            let seconds = frame as f64 / f64::from(sound.rate_hz);
            return Err(FileError::NotFinite { path: path.into(), seconds });
        }
        Ok(sound)
    }

    /// Samples of each channel.
    pub fn frames(&self) -> usize {
        self.channels.first().map_or(0, Vec::len)
    }

    /// The mean of all channels.
    pub fn mono(&self) -> Vec<f32> {
        let scale = 1.0 / self.channels.len() as f32;
        (0..self.frames())
            .map(|frame| {
                let sum: f32 = self.channels.iter().map(|channel| channel[frame]).sum();
                if self.channels.len() == 1 { sum } else { sum * scale }
            })
            .collect()
    }

    /// Writes a WAV file: first under a temporary name in the same folder, then renamed, so that a failed run leaves
    /// no file. Integer encodings round to nearest and saturate.
    pub fn write_wav(&self, path: &Path) -> Result<(), FileError> {
        let fail = |reason: String| FileError::Write { path: path.into(), reason };
        let name = path.file_name().ok_or_else(|| fail("the path names no file".into()))?;
        let mut temporary_name = std::ffi::OsString::from(".");
        temporary_name.push(name);
        temporary_name.push(format!(".{}.part", std::process::id()));
        let temporary = path.with_file_name(temporary_name);
        let written = self.write_to(&temporary).map_err(|error| match error {
            hound::Error::IoError(cause) => cause.to_string(),
            other => other.to_string(),
        });
        let renamed =
            written.and_then(|()| std::fs::rename(&temporary, path).map_err(|cause| cause.to_string()));
        renamed.map_err(|reason| {
            // The temporary file may not exist; what matters is that none stays behind.
            let _ = std::fs::remove_file(&temporary);
            fail(reason)
        })
    }

    fn write_to(&self, path: &Path) -> Result<(), hound::Error> {
        let (bits_per_sample, sample_format) = match self.encoding {
            Encoding::Float => (32, SampleFormat::Float),
            Encoding::Integer(bits) => (bits, SampleFormat::Int),
        };
        let channels = self.channels.len() as u16;
        let mut writer = WavWriter::create(
            path,
            WavSpec { channels, sample_rate: self.rate_hz, bits_per_sample, sample_format },
        )?;
        let full_scale = 2f64.powi(i32::from(bits_per_sample) - 1);
        for frame in 0..self.frames() {
            for channel in &self.channels {
                let value = channel[frame];
                match sample_format {
                    SampleFormat::Float => writer.write_sample(value)?,
                    SampleFormat::Int => {
                        let scaled = (f64::from(value) * full_scale).round_ties_even();
                        writer.write_sample(scaled.clamp(-full_scale, full_scale - 1.0) as i32)?;
                    }
                }
            }
        }
        writer.finalize()
    }
}

fn not_sound(path: &Path, reason: impl ToString) -> FileError {
    FileError::NotSound { path: path.into(), reason: reason.to_string() }
}

/// A WAV file, or `None` where the content is something else and another reader should try.
fn read_wav(path: &Path) -> Option<Result<Sound, String>> {
    let reader = match WavReader::open(path) {
        Ok(reader) => reader,
        Err(hound::Error::FormatError(_) | hound::Error::Unsupported) => return None,
        Err(hound::Error::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => return None,
        Err(error) => return Some(Err(error.to_string())),
    };
    Some(read_wav_samples(reader))
}

fn read_wav_samples<R: std::io::Read>(mut reader: WavReader<R>) -> Result<Sound, String> {
    let spec = reader.spec();
    let count = usize::from(spec.channels);
    if count == 0 || count > LARGEST_CHANNEL_COUNT || !(1..=LARGEST_RATE_HZ).contains(&spec.sample_rate) {
        return Err(format!("its header claims {count} channels at {} Hz", spec.sample_rate));
    }
    let mut channels = vec![Vec::new(); count];
    let encoding = match spec.sample_format {
        SampleFormat::Float => Encoding::Float,
        SampleFormat::Int => Encoding::Integer(spec.bits_per_sample),
    };
    let mut place = |index: usize, value: f32| channels[index % count].push(value);
    match spec.sample_format {
        SampleFormat::Float => {
            for (index, sample) in reader.samples::<f32>().enumerate() {
                place(index, sample.map_err(|error| error.to_string())?);
            }
        }
        SampleFormat::Int => {
            let scale = 2f64.powi(1 - i32::from(spec.bits_per_sample));
            for (index, sample) in reader.samples::<i32>().enumerate() {
                place(index, (f64::from(sample.map_err(|error| error.to_string())?) * scale) as f32);
            }
        }
    }
    Ok(Sound { rate_hz: spec.sample_rate, channels, encoding })
}

fn read_any(path: &Path, file: File) -> Result<Sound, FileError> {
    let stream = MediaSourceStream::new(Box::new(file), Default::default());
    let mut hint = Hint::new();
    if let Some(extension) = path.extension().and_then(|extension| extension.to_str()) {
        hint.with_extension(extension);
    }
    let refuse = |error: SymphoniaError| match error {
        SymphoniaError::IoError(cause) if cause.kind() == ErrorKind::UnexpectedEof => {
            not_sound(path, "it ends too early or is of no known format")
        }
        other => not_sound(path, other),
    };
    let mut format = symphonia::default::get_probe()
        .probe(&hint, stream, Default::default(), Default::default())
        .map_err(refuse)?;
    let track =
        format.default_track(TrackType::Audio).ok_or_else(|| not_sound(path, "it has no audio track"))?;
    let track_id = track.id;
    let parameters = track
        .codec_params
        .as_ref()
        .and_then(|parameters| parameters.audio())
        .ok_or_else(|| not_sound(path, "its codec is not known"))?;
    let encoding = match parameters.bits_per_sample {
        Some(bits @ (8 | 16)) => Encoding::Integer(bits as u16),
        _ => Encoding::Integer(24),
    };
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(refuse)?;

    let mut rate_hz = 0;
    let mut channels: Vec<Vec<f32>> = Vec::new();
    let mut planes: Vec<Vec<f32>> = Vec::new();
    while let Some(packet) = format.next_packet().map_err(refuse)? {
        if packet.track_id != track_id {
            continue;
        }
        let decoded = decoder.decode(&packet).map_err(refuse)?;
        decoded.copy_to_vecs_planar(&mut planes);
        if channels.is_empty() {
            rate_hz = decoded.spec().rate();
            channels.resize(planes.len(), Vec::new());
        }
        if planes.len() != channels.len() || decoded.spec().rate() != rate_hz {
            return Err(not_sound(path, "its channel count or rate changes within the file"));
        }
        for (channel, plane) in channels.iter_mut().zip(&planes) {
            channel.extend_from_slice(plane);
        }
    }
    if channels.len() > LARGEST_CHANNEL_COUNT {
        return Err(not_sound(path, format!("it has {} channels", channels.len())));
    }
    if rate_hz > LARGEST_RATE_HZ {
        return Err(not_sound(path, format!("it claims {rate_hz} samples a second")));
    }
    Ok(Sound { rate_hz, channels, encoding })
}

/// Files below `root` that may hold sound, sorted by path; `root` itself if it is a file.
pub fn find_sounds(root: &Path) -> Result<Vec<PathBuf>, FileError> {
    let open = |source| FileError::Open { path: root.into(), source };
    if std::fs::metadata(root).map_err(open)?.is_file() {
        return Ok(vec![root.into()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).map_err(open)? {
        let path = entry.map_err(open)?.path();
        if path.is_dir() {
            found.extend(find_sounds(&path)?);
        } else if path.extension().and_then(|extension| extension.to_str()).is_some_and(is_sound_extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is_sound_extension(extension: &str) -> bool {
    EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}
