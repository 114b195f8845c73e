//! Two Python hosts, as other people wrote them: pedalboard (JUCE, compensates the latency) and DawDreamer (JUCE,
//! does not). Each runs a small script; sound goes in and out as raw little-endian 32-bit floats.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::play::{HostError, Sound};

const PEDALBOARD: &str = include_str!("../python/pedalboard_bounce.py");
const DAWDREAMER: &str = include_str!("../python/dawdreamer_bounce.py");

/// A Python environment that has both hosts.
#[derive(Clone, Debug)]
pub struct PythonHosts {
    python: PathBuf,
}

/// What a script is asked to do.
#[derive(Clone, Debug)]
pub struct Bounce<'a> {
    /// The `.vst3` folder.
    pub plugin: &'a Path,
    /// A folder for the sound files; it must exist.
    pub folder: &'a Path,
    /// Both channels carry this.
    pub take: &'a [f32],
    pub sample_rate_hz: u32,
    pub block_samples: usize,
    pub settings: &'a [Setting<'a>],
}

/// A parameter, by the name that a person sees, and its value.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    name: &'a str,
    value: serde_json::Value,
}

impl<'a> Setting<'a> {
    /// A value as a person reads it, such as a singer's name.
    pub fn text(name: &'a str, text: &str) -> Self {
        Self { name, value: text.into() }
    }

    /// A value between 0 and 1.
    pub fn normalised(name: &'a str, value: f64) -> Self {
        Self { name, value: value.into() }
    }
}

/// What a script gives back.
#[derive(Clone, Debug)]
pub struct Bounced {
    pub sound: Sound,
    /// What the host hears of the plugin's latency.
    pub latency_samples: usize,
}

impl PythonHosts {
    pub fn new(python: impl Into<PathBuf>) -> Self {
        Self { python: python.into() }
    }

    /// Bounces in pedalboard; the sound is as long as the take and aligned with it.
    pub fn pedalboard(&self, bounce: &Bounce<'_>) -> Result<Bounced, HostError> {
        self.run("pedalboard", PEDALBOARD, bounce)
    }

    /// Bounces in DawDreamer; the sound is as long as the take and late by the plugin's latency.
    pub fn dawdreamer(&self, bounce: &Bounce<'_>) -> Result<Bounced, HostError> {
        self.run("dawdreamer", DAWDREAMER, bounce)
    }

    fn run(&self, name: &str, script: &str, bounce: &Bounce<'_>) -> Result<Bounced, HostError> {
        let failed = |why: String| HostError::Refused(format!("be bounced by {name}: {why}"));
        let input = bounce.folder.join(format!("{name}-in.f32"));
        let output = bounce.folder.join(format!("{name}-out.f32"));
        let bytes: Vec<u8> = bounce.take.iter().flat_map(|x| x.to_le_bytes()).collect();
        std::fs::write(&input, bytes).map_err(|e| failed(e.to_string()))?;
        let settings: Vec<_> = bounce.settings.iter().map(|s| json!([s.name, s.value])).collect();
        let task = json!({
            "plugin": bounce.plugin, "input": input, "output": output, "sample_rate_hz": bounce.sample_rate_hz,
            "block_samples": bounce.block_samples, "settings": settings,
        });
        let run = Command::new(&self.python)
            .args(["-c", script, &task.to_string()])
            .output()
            .map_err(|e| failed(format!("{}: {e}", self.python.display())))?;
        if !run.status.success() {
            return Err(failed(String::from_utf8_lossy(&run.stderr).into_owned()));
        }
        let said = String::from_utf8_lossy(&run.stdout);
        let latency_samples = said.lines().last().and_then(|line| line.trim().parse().ok());
        let latency_samples = latency_samples.ok_or_else(|| failed(format!("no latency in `{said}`")))?;
        // Two channels, one after the other.
        let bytes = std::fs::read(&output).map_err(|e| failed(e.to_string()))?;
        let samples: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let sound = samples.chunks(samples.len().div_ceil(2).max(1)).map(<[f32]>::to_vec).collect();
        Ok(Bounced { sound, latency_samples })
    }
}
