//! Several banks, judged on the same takes, side by side: what each sings like, and what it takes.

mod html;

use std::sync::Arc;

use serde::Serialize;

use super::report::{Report, Summary};
use crate::stream::{Converter, LatencyParts, Settings, StreamError};
use crate::voice::{VoiceBank, tensor_specs};

/// Rate and largest block of the host whose singer waits.
const HOST_RATE_HZ: u32 = 48_000;
const HOST_BLOCK_SAMPLES: usize = 64;

/// Most takes that are heard side by side: more are a wall that nobody listens through.
const MOST_HEARD: usize = 8;

/// What a bank took to train.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Training {
    /// Steps that led to it.
    pub steps: u64,
    /// Processor time of all threads, in minutes.
    pub cpu_minutes: f64,
}

/// What a bank takes to keep, to wait for, to run and to make.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Values of its tensors.
    pub parameters: usize,
    /// Size of its file.
    pub file_bytes: u64,
    /// Latency of the engine at 48 kHz: what no faster machine takes away.
    pub engine_latency_ms: f64,
    /// The same with the plugin's hand-off in blocks of 64 samples: what the host is told.
    pub plugin_latency_ms: f64,
    /// Seconds of sound that one core sang in a second, measured while converting; none where nothing was converted.
    pub times_real_time: Option<f64>,
    /// What its training took; none where that is not known.
    pub training: Option<Training>,
    /// What its card says of its training: corpora, minutes, steps.
    pub trained_on: String,
}

impl Cost {
    /// What this bank takes; its file, its speed and its training are known to the caller.
    ///
    /// # Errors
    /// [`StreamError`] where no stream of the bank can be made.
    pub fn of(
        bank: &Arc<VoiceBank>,
        file_bytes: u64,
        times_real_time: Option<f64>,
        training: Option<Training>,
    ) -> Result<Self, StreamError> {
        let card = bank.card();
        let engine_samples = Converter::new(bank, HOST_RATE_HZ, Settings::default())?.latency_samples();
        let plugin = LatencyParts::new(engine_samples, HOST_RATE_HZ, HOST_BLOCK_SAMPLES);
        let milliseconds = |samples: usize| 1_000.0 * samples as f64 / f64::from(HOST_RATE_HZ);
        Ok(Self {
            parameters: tensor_specs(&card.model, card.singers.len())
                .iter()
                .map(|spec| spec.elements())
                .sum(),
            file_bytes,
            engine_latency_ms: milliseconds(engine_samples),
            plugin_latency_ms: milliseconds(plugin.total_samples()),
            times_real_time,
            training,
            trained_on: card.trained_on.clone(),
        })
    }
}

/// One of the banks that are compared.
#[derive(Clone, Debug, Serialize)]
pub struct Candidate {
    /// Name among the compared, and of the folder beside the page that holds the bank's own report.
    pub name: String,
    /// The bank's file, as it was given.
    pub file: String,
    /// Name on the bank's card.
    pub bank: String,
    /// The bank's content hash.
    pub bank_hash: String,
    /// Its singers.
    pub singers: Vec<String>,
    /// How many conversions were judged.
    pub conversions: usize,
    /// What was measured of it.
    pub summary: Summary,
    /// What it takes.
    pub cost: Cost,
    #[serde(skip)]
    sung: Vec<Sung>,
}

/// A conversion's sounds, relative to the comparison.
#[derive(Clone, Debug)]
struct Sung {
    take: String,
    /// Which take it is, for every bank: names may be used twice.
    take_file: String,
    take_sound: String,
    singer: String,
    output_sound: String,
}

impl Candidate {
    /// A bank, its report, whose files lie in a folder `name` beside the comparison's, and what it takes.
    pub fn new(name: String, file: String, bank: &VoiceBank, report: &Report, cost: Cost) -> Self {
        let sung = report.conversions.iter().map(|conversion| Sung {
            take: conversion.take.clone(),
            take_file: conversion.take_sound.clone(),
            take_sound: format!("{name}/{}", conversion.take_sound),
            singer: conversion.singer.clone(),
            output_sound: format!("{name}/{}", conversion.output_sound),
        });
        let sung = sung.collect();
        Self {
            name,
            file,
            bank: report.bank.clone(),
            bank_hash: report.bank_hash.clone(),
            singers: bank.card().singers.iter().map(|singer| singer.name.clone()).collect(),
            conversions: report.conversions.len(),
            summary: report.summary,
            cost,
            sung,
        }
    }
}

/// A take as each bank's singer of the same name sings it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Heard {
    /// The take's name.
    pub take: String,
    /// Who sings.
    pub singer: String,
    /// The take's sound, relative to the comparison.
    pub take_sound: String,
    /// The outputs' sounds, in the order of the banks.
    pub output_sounds: Vec<String>,
}

/// Banks side by side.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The banks, in the order in which they were given.
    pub banks: Vec<Candidate>,
    /// Some of what all of them sang.
    pub heard: Vec<Heard>,
}

impl Comparison {
    /// Of banks that were judged on the same takes with the same models of the singers.
    pub fn new(banks: Vec<Candidate>) -> Self {
        let heard = heard(&banks);
        Self { banks, heard }
    }

    /// The page.
    pub fn html(&self) -> String {
        html::page(self)
    }
}

/// Some takes that all banks sang with a singer of the same name: every singer in turn, each from another take on.
fn heard(banks: &[Candidate]) -> Vec<Heard> {
    let Some((first, others)) = banks.split_first() else { return Vec::new() };
    let by_all = |sung: &Sung| {
        let same = |other: &&Sung| (&other.take_file, &other.singer) == (&sung.take_file, &sung.singer);
        let outputs = others.iter().map(|bank| Some(bank.sung.iter().find(same)?.output_sound.clone()));
        Some(Heard {
            take: sung.take.clone(),
            singer: sung.singer.clone(),
            take_sound: sung.take_sound.clone(),
            output_sounds: std::iter::once(Some(sung.output_sound.clone()))
                .chain(outputs)
                .collect::<Option<_>>()?,
        })
    };
    let of_singer = |(index, singer): (usize, &String)| -> Vec<Heard> {
        let mut own: Vec<Heard> =
            first.sung.iter().filter(|sung| sung.singer == *singer).filter_map(by_all).collect();
        let turn = index % own.len().max(1);
        own.rotate_left(turn);
        own
    };
    let singers: Vec<Vec<Heard>> = first.singers.iter().enumerate().map(of_singer).collect();
    let rounds = 0..singers.iter().map(Vec::len).max().unwrap_or(0);
    let turns = rounds.flat_map(|round| singers.iter().filter_map(move |own| own.get(round).cloned()));
    turns.take(MOST_HEARD).collect()
}
