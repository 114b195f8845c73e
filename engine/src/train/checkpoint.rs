//! A checkpoint: all that a run needs to go on exactly as if it had not stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use thiserror::Error;

use super::optimizer::{Adam, Moments};
use crate::model::Parameters;

/// Why a checkpoint could not be saved or read.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The disk refused.
    #[error("checkpoint {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The content is not a checkpoint of this run.
    #[error("checkpoint {path} does not belong to this run: {reason}; move it away to start anew")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Everything that changes from step to step.
#[derive(Default)]
pub(crate) struct Checkpoint {
    /// Tensors by name; a prefix tells parameters, moments and averages apart.
    pub(crate) tensors: BTreeMap<String, Vec<f32>>,
    /// Small facts: the step, a hash of the recipe, counts.
    pub(crate) facts: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Adds a set of parameters and its optimizer under `prefix`.
    pub(crate) fn put(
        &mut self,
        prefix: &str,
        parameters: &Parameters,
        adam: &Adam,
    ) -> candle_core::Result<()> {
        for (name, values) in parameters.values()? {
            self.tensors.insert(format!("{prefix}.value.{name}"), values);
        }
        for (name, moments) in adam.moments()? {
            self.tensors.insert(format!("{prefix}.first.{name}"), moments.first);
            self.tensors.insert(format!("{prefix}.second.{name}"), moments.second);
        }
        self.facts.insert(format!("{prefix}.adam_steps"), adam.steps.to_string());
        Ok(())
    }

    /// Restores what [`Checkpoint::put`] saved.
    pub(crate) fn take(&self, prefix: &str, parameters: &Parameters, adam: &mut Adam) -> Result<(), String> {
        for (name, _) in parameters.iter() {
            let values = self
                .tensors
                .get(&format!("{prefix}.value.{name}"))
                .ok_or_else(|| format!("tensor {name} is missing"))?;
            parameters.set(name, values).map_err(|error| format!("tensor {name}: {error}"))?;
            let first = self.tensors.get(&format!("{prefix}.first.{name}"));
            let second = self.tensors.get(&format!("{prefix}.second.{name}"));
            if let (Some(first), Some(second)) = (first, second) {
                adam.set_moments(name, Moments { first: first.clone(), second: second.clone() });
            }
        }
        adam.steps = self.fact(&format!("{prefix}.adam_steps"))?;
        Ok(())
    }

    /// A fact, parsed.
    pub(crate) fn fact<T: std::str::FromStr>(&self, name: &str) -> Result<T, String> {
        let text = self.facts.get(name).ok_or_else(|| format!("{name} is missing"))?;
        text.parse().map_err(|_| format!("{name} is {text:?}"))
    }

    /// Writes to a temporary name beside `path`, then renames.
    pub(crate) fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let bytes: Vec<(&String, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, values)| (name, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
            .collect();
        let content = |reason: String| CheckpointError::Content { path: path.into(), reason };
        let views: Vec<(&String, TensorView)> = bytes
            .iter()
            .map(|(name, data)| Ok((*name, TensorView::new(Dtype::F32, vec![data.len() / 4], data)?)))
            .collect::<Result<_, safetensors::SafeTensorError>>()
            .map_err(|error| content(error.to_string()))?;
        let facts = self.facts.iter().map(|(name, text)| (name.clone(), text.clone())).collect();
        let file = serialize(views, Some(facts)).map_err(|error| content(error.to_string()))?;
        write_atomically(path, &file).map_err(|source| CheckpointError::File { path: path.into(), source })
    }

    /// Reads a checkpoint; `None` where there is none.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, CheckpointError> {
        let file = match std::fs::read(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CheckpointError::File { path: path.into(), source }),
        };
        let content = |reason: String| CheckpointError::Content { path: path.into(), reason };
        let (_, header) = SafeTensors::read_metadata(&file).map_err(|error| content(error.to_string()))?;
        let facts = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let read = SafeTensors::deserialize(&file).map_err(|error| content(error.to_string()))?;
        let tensors = read
            .iter()
            .map(|(name, view)| {
                let values =
                    view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                (name.to_string(), values.collect())
            })
            .collect();
        Ok(Some(Self { tensors, facts }))
    }
}

/// Writes a file under a temporary name, then renames it, so that a full disk or a stop never leaves half of it.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("part");
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(&temporary, path)
}
