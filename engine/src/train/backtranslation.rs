//! Phase II: clips sung by blends of two singers.
//!
//! Nachmani & Wolf (2019), section 3.2: a clip of singer A is converted to `alpha v_B + (1 - alpha) v_A`, B another
//! singer and alpha uniform; the network is trained to give back A's original from that. So the encoder meets
//! conversions, with the scores they were made from, and learns to hear past whoever sings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::corpus::Corpus;
use super::error::TrainError;
use super::recipe::{BacktranslationConfig, Recipe};
use crate::model::random::Generator;
use crate::stream::{Batch, Conversion, Settings};
use crate::voice::VoiceBank;

/// Keeps the draws of a round apart from those of the steps.
const ROUND_SEED: u64 = 0xB7A2;

/// The clips of one round, as the encoder hears them.
#[derive(Default)]
pub(crate) struct SungByBlends {
    /// For each singer: the place of a training clip, and what is heard in its stead.
    clips: Vec<Vec<(usize, Vec<f32>)>>,
    /// Which round it is; none in phase I.
    pub(crate) round: Option<u64>,
}

/// A clip that is to be sung.
struct Order {
    singer: usize,
    place: usize,
    other: usize,
    alpha: f32,
    transpose_semitones: f32,
    seed: u64,
}

/// What the encoder hears of each order's clip when the blend has sung it; nothing of those that are left when it is
/// asked to stop.
fn sing_side_by_side(
    orders: &[Order],
    recipe: &Recipe,
    corpus: &Corpus,
    bank: &Arc<VoiceBank>,
    stop: &AtomicBool,
) -> Result<Vec<Vec<f32>>, TrainError> {
    let clip = |order: &Order| &corpus.training[order.singer][order.place];
    let mut batch = Batch::default();
    for (index, order) in orders.iter().enumerate() {
        let settings = Settings {
            singer: order.singer,
            second_singer: order.other,
            blend: order.alpha,
            seed: order.seed,
            transpose_semitones: order.transpose_semitones,
            ..Settings::default()
        };
        let take = clip(order).waveform.clone();
        batch.push(index, Conversion::new(bank, recipe.model.sample_rate_hz, settings, take)?);
    }
    let mut heard = vec![Vec::new(); orders.len()];
    while !stop.load(Ordering::Relaxed)
        && let Some((index, sung)) = batch.finish_one()
    {
        heard[index] = clip(&orders[index]).heard_as(sung, recipe, &corpus.mel_mean);
    }
    Ok(heard)
}

impl SungByBlends {
    /// Has `bank` sing some clips of every singer. A function of the recipe's seed, the round and the bank;
    /// `None` if it was asked to stop meanwhile.
    pub(crate) fn sing(
        config: &BacktranslationConfig,
        round: u64,
        recipe: &Recipe,
        corpus: &Corpus,
        bank: &Arc<VoiceBank>,
        stop: &AtomicBool,
    ) -> Result<Option<Self>, TrainError> {
        let mut random = Generator::new(recipe.training.seed ^ ROUND_SEED, round);
        let singers = corpus.singers.len();
        let orders: Vec<Order> = (0..singers * config.clips)
            .map(|index| {
                let singer = index % singers;
                Order {
                    singer,
                    place: random.below(corpus.training[singer].len()),
                    other: (singer + 1 + random.below((singers - 1).max(1))) % singers,
                    alpha: random.uniform(),
                    transpose_semitones: random
                        .between(-config.transpose_semitones, config.transpose_semitones),
                    seed: random.next(),
                }
            })
            .collect();
        let side_by_side = orders.len().div_ceil(rayon::current_num_threads()).clamp(1, Batch::<usize>::MOST);
        let heard: Vec<Vec<f32>> = orders
            .par_chunks(side_by_side)
            .map(|orders| sing_side_by_side(orders, recipe, corpus, bank, stop))
            .collect::<Result<Vec<_>, TrainError>>()?
            .concat();
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut clips = vec![Vec::new(); singers];
        for (order, heard) in orders.into_iter().zip(heard) {
            clips[order.singer].push((order.place, heard));
        }
        Ok(Some(Self { clips, round: Some(round) }))
    }

    /// With the probability that the recipe states, the place of one of the singer's clips and what the encoder hears
    /// of it. Draws nothing as long as there are none.
    pub(crate) fn draw(
        &self,
        recipe: &Recipe,
        singer: usize,
        random: &mut Generator,
    ) -> Option<(usize, &[f32])> {
        let clips = self.clips.get(singer)?;
        let share = recipe.backtranslation.as_ref()?.share;
        if !random.chance(share) {
            return None;
        }
        let (place, heard) = &clips[random.below(clips.len())];
        Some((*place, heard))
    }
}
