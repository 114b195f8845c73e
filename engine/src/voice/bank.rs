//! Loading, checking and saving a bank.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::card::{Card, FORMAT_VERSION, Singer};
use super::container::{self, Element, Entry};
use super::derived::Derived;
use super::tensors::{EMBEDDING, TensorSpec, decoder_tensor_name, tensor_specs};
use super::timbre::{REGISTERS, TIMBRE};

/// Name of the bank that is built in.
pub const DEFAULT_BANK_NAME: &str = "default";

/// Largest file that is accepted as a bank, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// Metadata key of the card, as JSON.
const CARD_KEY: &str = "falsetto.card";
/// Metadata key of the layout's version, which is read before the card so that a newer card need not be understood.
const VERSION_KEY: &str = "falsetto.format_version";

static DEFAULT_BANK_BYTES: &[u8] = include_bytes!("../../../assets/voices/default.safetensors");

/// A bank: its card and its tensors. Whoever holds one may rely on it: the card has passed [`Card::check`], and exactly
/// the tensors of [`tensor_specs`] are there, in those shapes, with finite values.
#[derive(Debug)]
pub struct VoiceBank {
    card: Card,
    tensors: BTreeMap<String, Vec<f32>>,
    content_hash: String,
    pub(crate) derived: Derived,
}

/// Why a bank was refused or could not be read or written.
#[derive(Debug, Error)]
pub enum VoiceError {
    /// The file could not be read.
    #[error("cannot read voice bank {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file could not be written; what was there before is untouched.
    #[error("cannot write voice bank {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is larger than any bank may be.
    #[error("{origin} has {bytes} bytes or more; a voice bank has at most {MAX_FILE_BYTES}")]
    TooLarge {
        /// The file or the bank's name.
        origin: String,
        /// Bytes found.
        bytes: u64,
    },
    /// The file is not safetensors, or not a voice bank.
    #[error("{origin} is not a voice bank: {reason}")]
    Format {
        /// The file or the bank's name.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// The file was written by a newer (or no) version of Falsetto.
    #[error(
        "{origin} has the voice bank format {found}, this version reads format {FORMAT_VERSION}: \
         update Falsetto or train the bank again"
    )]
    Version {
        /// The file or the bank's name.
        origin: String,
        /// The version that the file states.
        found: String,
    },
    /// The card is not one that a bank can have.
    #[error("{origin}: the card is not valid: {reason}")]
    Card {
        /// The file or the bank's name.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// A tensor is missing, unknown, or not what the card's configuration asks for.
    #[error("{origin}: tensor `{tensor}`: expected {expected}, found {found}")]
    Tensor {
        /// The file or the bank's name.
        origin: String,
        /// The tensor.
        tensor: String,
        /// What must be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The bank has no such singer.
    #[error("bank `{bank}` has no singer `{wanted}`; its singers are {}", known.join(", "))]
    UnknownSinger {
        /// The bank's name.
        bank: String,
        /// The name that was asked for.
        wanted: String,
        /// The names that there are.
        known: Vec<String>,
    },
}

impl VoiceBank {
    /// A bank of this card and these tensors (by name, row-major in the shapes of [`tensor_specs`]).
    ///
    /// # Errors
    /// [`VoiceError::Card`] or [`VoiceError::Tensor`] where they do not fit each other or themselves, and
    /// [`VoiceError::TooLarge`] if the bank could not be loaded again.
    pub fn new(card: Card, tensors: BTreeMap<String, Vec<f32>>) -> Result<Self, VoiceError> {
        let origin = format!("voice bank `{}`", card.name);
        card.check().map_err(|reason| VoiceError::Card { origin: origin.clone(), reason })?;
        let specs = tensor_specs(&card.model, card.singers.len());
        refuse_extra(&origin, &specs, tensors.keys())?;
        for spec in &specs {
            let values = tensors.get(&spec.name).ok_or_else(|| missing(&origin, spec))?;
            if values.len() != spec.elements() {
                let found = format!("{} values", values.len());
                return Err(mismatch(&origin, spec, found));
            }
        }
        Self::from_checked_shapes(card, tensors, &specs, &origin)
    }

    /// Reads a bank from the bytes of its file; `origin` names it in errors (a path or a name).
    ///
    /// # Errors
    /// Any [`VoiceError`] but `Read` and `Write`. Nothing is allocated in proportion to what the file merely claims.
    pub fn from_bytes(bytes: &[u8], origin: &str) -> Result<Self, VoiceError> {
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(VoiceError::TooLarge { origin: origin.into(), bytes: bytes.len() as u64 });
        }
        let format_error = |reason| VoiceError::Format { origin: origin.into(), reason };
        let (mut header, data) = container::read(bytes).map_err(format_error)?;

        let version = header.metadata.get(VERSION_KEY);
        let version = version.ok_or_else(|| format_error(format!("its metadata has no `{VERSION_KEY}`")))?;
        if version.parse() != Ok(FORMAT_VERSION) {
            let found = version.chars().take(32).collect();
            return Err(VoiceError::Version { origin: origin.into(), found });
        }
        let card = header.metadata.get(CARD_KEY);
        let card = card.ok_or_else(|| format_error(format!("its metadata has no `{CARD_KEY}`")))?;
        let card_error = |reason| VoiceError::Card { origin: origin.into(), reason };
        let card: Card = serde_json::from_str(card).map_err(|error| card_error(error.to_string()))?;
        card.check().map_err(card_error)?;

        let specs = tensor_specs(&card.model, card.singers.len());
        refuse_extra(origin, &specs, header.tensors.keys())?;
        // All headers are checked before the first tensor is copied.
        let mut entries = Vec::with_capacity(specs.len());
        for spec in &specs {
            let entry = header.tensors.remove(&spec.name).ok_or_else(|| missing(origin, spec))?;
            entries.push(located(origin, spec, &entry, data)?);
        }
        let tensors = specs
            .iter()
            .zip(entries)
            .map(|(spec, (element, bytes))| (spec.name.clone(), element.widen(bytes)))
            .collect();
        Self::from_checked_shapes(card, tensors, &specs, origin)
    }

    fn from_checked_shapes(
        card: Card,
        tensors: BTreeMap<String, Vec<f32>>,
        specs: &[TensorSpec],
        origin: &str,
    ) -> Result<Self, VoiceError> {
        for spec in specs {
            let values = tensors.get(&spec.name).map_or(&[][..], Vec::as_slice);
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                return Err(VoiceError::Tensor {
                    origin: origin.into(),
                    tensor: spec.name.clone(),
                    expected: "finite values".into(),
                    found: format!("{} at element {index}", values[index]),
                });
            }
        }
        let mut bank = Self { card, tensors, content_hash: String::new(), derived: Derived::default() };
        let mut hasher = Sha256::new();
        let mut bytes = 0;
        bank.write_to(&mut |part| {
            hasher.update(part);
            bytes += part.len() as u64;
            Ok(())
        })
        .map_err(|error| VoiceError::Card { origin: origin.into(), reason: error.to_string() })?;
        if bytes > MAX_FILE_BYTES {
            return Err(VoiceError::TooLarge { origin: origin.into(), bytes });
        }
        bank.content_hash = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(bank)
    }

    /// Reads a bank from its file.
    ///
    /// # Errors
    /// Any [`VoiceError`] but `Write`.
    pub fn load(path: &Path) -> Result<Self, VoiceError> {
        let read_error = |source| VoiceError::Read { path: path.into(), source };
        let file = File::open(path).map_err(read_error)?;
        let origin = path.display().to_string();
        let claimed = file.metadata().map_err(read_error)?.len();
        if claimed > MAX_FILE_BYTES {
            return Err(VoiceError::TooLarge { origin, bytes: claimed });
        }
        // The length may lie (pipes, devices, files that grow), so the reading itself is bounded too.
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(read_error)?;
        Self::from_bytes(&bytes, &origin)
    }

    /// Writes the bank to a temporary name in the same folder, flushes it to the disk and renames it, so that `path` holds
    /// the old file or the whole new one whatever happens. A failed attempt leaves nothing behind.
    ///
    /// # Errors
    /// [`VoiceError::Write`].
    pub fn save(&self, path: &Path) -> Result<(), VoiceError> {
        self.save_and_rename(path).map_err(|source| VoiceError::Write { path: path.into(), source })
    }

    fn save_and_rename(&self, path: &Path) -> std::io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = path.file_name().ok_or(std::io::ErrorKind::IsADirectory)?;
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let temporary = path.with_file_name(temporary);

        let file = File::options().write(true).create_new(true).open(&temporary)?;
        let written = (|| {
            let mut writer = std::io::BufWriter::new(file);
            self.write_to(&mut |part| writer.write_all(part))?;
            writer.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
            std::fs::rename(&temporary, path)
        })();
        if written.is_err() {
            // The first error is the one to tell; that the clean-up failed too adds nothing.
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }

    /// The bytes of the file, part by part; equal banks give equal bytes.
    fn write_to(&self, write: &mut dyn FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
        let specs = tensor_specs(&self.card.model, self.card.singers.len());
        let metadata = BTreeMap::from([
            (CARD_KEY, serde_json::to_string(&self.card)?),
            (VERSION_KEY, FORMAT_VERSION.to_string()),
            ("modelspec.architecture", "falsetto-wavenet-autoencoder".to_string()),
            ("modelspec.license", self.card.licence.clone()),
            ("modelspec.title", self.card.name.clone()),
        ]);
        let names = specs.iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice()));
        write(&container::write_header(&metadata, names)?)?;
        let mut bytes = Vec::with_capacity(4 * 1024);
        for spec in &specs {
            for values in self.tensor(&spec.name).chunks(1024) {
                bytes.clear();
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                write(&bytes)?;
            }
        }
        Ok(())
    }

    /// The bank that is built in, parsed once per process.
    ///
    /// # Errors
    /// Any [`VoiceError`] but `Read` and `Write`, if the build holds a file that is not a bank.
    pub fn default_bank() -> Result<Arc<Self>, VoiceError> {
        static BANK: Mutex<Option<Arc<VoiceBank>>> = Mutex::new(None);
        let mut bank = BANK.lock();
        if let Some(bank) = &*bank {
            return Ok(Arc::clone(bank));
        }
        let parsed = Arc::new(Self::from_bytes(DEFAULT_BANK_BYTES, DEFAULT_BANK_NAME)?);
        Ok(Arc::clone(bank.insert(parsed)))
    }

    /// What the bank says about itself.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// The values of a tensor, row-major in the shape that [`tensor_specs`] gives.
    ///
    /// # Panics
    /// If the card's configuration has no tensor of this name, which is a mistake of the caller and of no file.
    pub fn tensor(&self, name: &str) -> &[f32] {
        match self.tensors.get(name) {
            Some(values) => values,
            None => panic!("a bank of this configuration has no tensor `{name}`"),
        }
    }

    /// Index of a singer.
    ///
    /// # Errors
    /// [`VoiceError::UnknownSinger`], with the names that there are.
    pub fn singer_index(&self, name: &str) -> Result<usize, VoiceError> {
        self.card.singers.iter().position(|singer| singer.name == name).ok_or_else(|| {
            VoiceError::UnknownSinger {
                bank: self.card.name.clone(),
                wanted: name.into(),
                known: self.card.singers.iter().map(|singer| singer.name.clone()).collect(),
            }
        })
    }

    /// The values of the tensor that a singer's decoder calls `name`; the last singer's if there are fewer.
    ///
    /// # Panics
    /// As [`VoiceBank::tensor`].
    pub fn decoder_tensor(&self, singer: usize, name: &str) -> &[f32] {
        let singer = singer.min(self.card.singers.len() - 1);
        self.tensor(&decoder_tensor_name(&self.card.model, singer, name))
    }

    /// Embedding of the singer of this index (`singer_embedding_size` values, so none where the decoder is given none); of
    /// the last singer if there are fewer.
    pub fn singer_embedding(&self, index: usize) -> &[f32] {
        let size = self.card.model.singer_embedding_size;
        if size == 0 {
            return &[];
        }
        let begin = index.min(self.card.singers.len() - 1) * size;
        &self.tensor(EMBEDDING)[begin..begin + size]
    }

    /// Writes the point between two singers' embeddings that is `blend` (0 to 1) of the way from the first to the second.
    pub fn blended_embedding(&self, first: usize, second: usize, blend: f32, embedding: &mut [f32]) {
        let parts = self.singer_embedding(first).iter().zip(self.singer_embedding(second));
        for (blended, (first, second)) in embedding.iter_mut().zip(parts) {
            *blended = (1.0 - blend) * first + blend * second;
        }
    }

    /// What the singer of this index sounds like on average, `[REGISTERS, bands]`, of the last if there are fewer; empty in a bank
    /// that does not know.
    pub(crate) fn timbre(&self, singer: usize) -> &[f32] {
        let model = &self.card.model;
        if !model.condition.timbre {
            return &[];
        }
        let size = REGISTERS * model.spectrum_bands();
        let begin = singer.min(self.card.singers.len() - 1) * size;
        &self.tensor(TIMBRE)[begin..begin + size]
    }

    /// Writes the point between two singers' timbres that is `blend` (0 to 1) of the way from the first to the second, and
    /// tells whether that is another than was there.
    pub(crate) fn blended_timbre(&self, first: usize, second: usize, blend: f32, timbre: &mut [f32]) -> bool {
        let parts = self.timbre(first).iter().zip(self.timbre(second));
        let mut changed = false;
        for (blended, (first, second)) in timbre.iter_mut().zip(parts) {
            let value = (1.0 - blend) * first + blend * second;
            changed |= value != *blended;
            *blended = value;
        }
        changed
    }

    /// A bank whose only singer is a blend: the sum of the singers' embeddings, each times its share.
    ///
    /// # Errors
    /// [`VoiceError::Tensor`] if a share is so large that the sum is not finite, or if the bank's singers have no
    /// embeddings.
    pub fn blend(&self, shares: &[(usize, f32)]) -> Result<Self, VoiceError> {
        let origin = format!("a blend of `{}`", self.card.name);
        let mut embedding = vec![0.0; self.card.model.singer_embedding_size];
        if embedding.is_empty() {
            return Err(VoiceError::Tensor {
                origin,
                tensor: EMBEDDING.into(),
                expected: "embeddings, which are what is blended".into(),
                found: "singers without".into(),
            });
        }
        let mut timbre = vec![0.0; self.timbre(0).len()];
        let mut log_f0 = 0.0;
        for &(singer, share) in shares {
            let sums = [(&mut embedding, self.singer_embedding(singer)), (&mut timbre, self.timbre(singer))];
            for (sum, part) in sums {
                sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += share * value);
            }
            let last = self.card.singers.len() - 1;
            log_f0 += share * libm::logf(self.card.singers[singer.min(last)].median_f0_hz);
        }
        let mut card = self.card.clone();
        card.singers = vec![Singer { name: "blend".into(), median_f0_hz: libm::expf(log_f0) }];
        let mut tensors = self.tensors.clone();
        tensors.insert(EMBEDDING.into(), embedding);
        if !timbre.is_empty() {
            tensors.insert(TIMBRE.into(), timbre);
        }
        let specs = tensor_specs(&card.model, 1);
        Self::from_checked_shapes(card, tensors, &specs, &origin)
    }

    /// SHA-256 of the file that [`save`](Self::save) writes, in hexadecimal: what a project remembers a bank by. It
    /// depends on card and weights only, so a copy whose weights are stored in another order has the same.
    pub fn content_hash(&self) -> String {
        self.content_hash.clone()
    }
}

/// Element type and bytes of a tensor whose header fits the specification.
fn located<'a>(
    origin: &str,
    spec: &TensorSpec,
    entry: &Entry,
    data: &'a [u8],
) -> Result<(Element, &'a [u8]), VoiceError> {
    let refuse = |found: String| Err(mismatch(origin, spec, found));
    let Some(element) = Element::from_name(&entry.dtype) else {
        return refuse(format!("elements of type {:.32}", entry.dtype));
    };
    if !entry.shape.iter().copied().eq(spec.shape.iter().map(|size| *size as u64)) {
        let shape = &entry.shape[..entry.shape.len().min(8)];
        return refuse(format!("the shape {shape:?} ({} axes)", entry.shape.len()));
    }
    let (begin, end) = entry.data_offsets;
    if end.checked_sub(begin) != Some(spec.elements() as u64 * element.bytes()) {
        return refuse(format!("{} in the bytes {begin}..{end}", entry.dtype));
    }
    match data.get(begin as usize..end as usize) {
        Some(bytes) => Ok((element, bytes)),
        None => refuse(format!("the bytes {begin}..{end} of {}", data.len())),
    }
}

fn refuse_extra<'a>(
    origin: &str,
    specs: &[TensorSpec],
    names: impl Iterator<Item = &'a String>,
) -> Result<(), VoiceError> {
    let known: std::collections::BTreeSet<_> = specs.iter().map(|spec| spec.name.as_str()).collect();
    for name in names {
        if !known.contains(name.as_str()) {
            return Err(VoiceError::Tensor {
                origin: origin.into(),
                tensor: name.chars().take(64).collect(),
                expected: "no tensor of this name in the card's configuration".into(),
                found: "one".into(),
            });
        }
    }
    Ok(())
}

fn missing(origin: &str, spec: &TensorSpec) -> VoiceError {
    mismatch(origin, spec, "no such tensor".into())
}

fn mismatch(origin: &str, spec: &TensorSpec, found: String) -> VoiceError {
    VoiceError::Tensor {
        origin: origin.into(),
        tensor: spec.name.clone(),
        expected: format!("F32, F16 or BF16 of the shape {:?}", spec.shape),
        found,
    }
}

#[cfg(test)]
mod tests;
