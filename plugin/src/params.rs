//! The parameters. Ids, ranges and steps are in people's projects: they never change.

use std::sync::Arc;

use falsetto_engine::stream::{MAX_FORMANT_SEMITONES, Settings};
use nice_plug::prelude::*;

use crate::audio::Controls;
use crate::voice::{PersistedVoice, Voice};

/// Slots of the singer parameter. A bank may hold fewer singers (the rest are shown as unused) but a host must never see
/// the number of steps change.
pub const SINGER_SLOTS: usize = 32;

/// Largest seed that can be set.
const MAX_SEED: i32 = 9_999;

/// The parameters of one instance.
#[derive(Params)]
pub struct FalsettoParams {
    /// Who sings.
    #[id = "singer"]
    pub singer: IntParam,
    /// Whose voice is blended into the singer's.
    #[id = "second"]
    pub second_singer: IntParam,
    /// The second singer's share, 0 to 1.
    #[id = "blend"]
    pub blend: FloatParam,
    /// How far the take is transposed, in semitones.
    #[id = "transpose"]
    pub transpose: FloatParam,
    /// How much higher the singer's formants lie than his own, in semitones.
    #[id = "formant"]
    pub formant: FloatParam,
    /// Share of the singer's sound, 0 to 1; the rest is the take, aligned.
    #[id = "mix"]
    pub mix: FloatParam,
    /// How much is heard of the take above the voice's own band, 0 to 1.
    #[id = "air"]
    pub air: FloatParam,
    /// Level of the output, in dB.
    #[id = "gain"]
    pub gain: FloatParam,
    /// Which of all possible performances is heard.
    #[id = "seed"]
    pub seed: IntParam,
    /// Passes the take through, aligned to the same latency.
    #[id = "bypass"]
    pub bypass: BoolParam,

    /// Which voice bank the project uses.
    #[persist = "voice"]
    pub(crate) voice: PersistedVoice,
}

impl FalsettoParams {
    pub(crate) fn new(voice: &Arc<Voice>) -> Self {
        Self {
            singer: singer_param("Singer", voice),
            second_singer: singer_param("Second singer", voice),
            blend: share_param("Blend", 0.0),
            transpose: FloatParam::new("Transpose", 0.0, FloatRange::Linear { min: -24.0, max: 24.0 })
                // A cent.
                .with_step_size(0.01)
                .with_unit(" st"),
            formant: FloatParam::new(
                "Formant",
                0.0,
                FloatRange::Linear { min: -MAX_FORMANT_SEMITONES, max: MAX_FORMANT_SEMITONES },
            )
            .with_step_size(0.01)
            .with_unit(" st"),
            mix: share_param("Mix", 1.0),
            air: share_param("Air", 1.0),
            gain: FloatParam::new("Gain", 0.0, FloatRange::Linear { min: -24.0, max: 12.0 })
                .with_step_size(0.1)
                .with_unit(" dB"),
            seed: IntParam::new("Seed", 0, IntRange::Linear { min: 0, max: MAX_SEED }),
            bypass: BoolParam::new("Bypass", false)
                .with_value_to_string(formatters::v2s_bool_bypass())
                .with_string_to_value(formatters::s2v_bool_bypass())
                .make_bypass(),
            voice: PersistedVoice(Arc::clone(voice)),
        }
    }

    /// The values that hold now. Reads atomics only.
    pub(crate) fn controls(&self) -> Controls {
        Controls {
            settings: self.settings(),
            mix: self.mix.value(),
            gain_db: self.gain.value(),
            bypass: self.bypass.value(),
        }
    }

    /// The part of the values that the engine follows.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            singer: usize::try_from(self.singer.value()).unwrap_or(0),
            second_singer: usize::try_from(self.second_singer.value()).unwrap_or(0),
            blend: self.blend.value(),
            transpose_semitones: whole_cents(self.transpose.value()),
            formant_semitones: whole_cents(self.formant.value()),
            air: self.air.value(),
            seed: u64::try_from(self.seed.value()).unwrap_or(0),
        }
    }
}

/// Whole cents, as a person types them into the command, whatever the way through the host's share of the range leaves of
/// them.
fn whole_cents(semitones: f32) -> f32 {
    (semitones * 100.0).round() / 100.0
}

/// A choice among the bank's singers.
fn singer_param(name: &str, voice: &Arc<Voice>) -> IntParam {
    let (shown, asked) = (Arc::clone(voice), Arc::clone(voice));
    IntParam::new(name, 0, IntRange::Linear { min: 0, max: SINGER_SLOTS as i32 - 1 })
        .with_value_to_string(Arc::new(move |slot| singer_text(&shown.singers(), slot)))
        .with_string_to_value(Arc::new(move |text| singer_slot(&asked.singers(), text)))
}

/// A share of something, shown in per cent.
fn share_param(name: &str, default: f32) -> FloatParam {
    FloatParam::new(name, default, FloatRange::Linear { min: 0.0, max: 1.0 })
        .with_unit(" %")
        .with_value_to_string(formatters::v2s_f32_percentage(1))
        .with_string_to_value(formatters::s2v_f32_percentage())
}

/// What a slot of the singer parameter is called.
pub(crate) fn singer_text(singers: &[String], slot: i32) -> String {
    usize::try_from(slot)
        .ok()
        .and_then(|slot| singers.get(slot).cloned())
        .unwrap_or_else(|| format!("unused {slot}"))
}

/// The slot that a text means: a singer's name in any case, what `singer_text` says, or a number.
pub(crate) fn singer_slot(singers: &[String], text: &str) -> Option<i32> {
    let text = text.trim();
    let named = singers
        .iter()
        .position(|name| name == text)
        .or_else(|| singers.iter().position(|name| name.to_lowercase() == text.to_lowercase()));
    match named {
        Some(slot) => i32::try_from(slot).ok(),
        None => {
            let digits = text.strip_prefix("unused").unwrap_or(text).trim();
            digits.parse().ok().filter(|slot| (0..SINGER_SLOTS as i32).contains(slot))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn singers_are_found_by_name_and_unused_slots_by_number() {
        let singers = ["Ida".to_string(), "Noor".to_string()];
        for slot in 0..SINGER_SLOTS as i32 {
            assert_eq!(singer_slot(&singers, &singer_text(&singers, slot)), Some(slot));
        }
        assert_eq!(singer_text(&singers, 7), "unused 7");
        assert_eq!(singer_slot(&singers, " noor "), Some(1));
        assert_eq!(singer_slot(&singers, "1"), Some(1));
        assert_eq!(singer_slot(&singers, "32"), None);
        assert_eq!(singer_slot(&singers, "Otto"), None);
    }

    #[test]
    fn the_ids_are_those_that_projects_have() {
        let params = FalsettoParams::new(&Voice::idle());
        let ids: Vec<String> = params.param_map().into_iter().map(|(id, _, _)| id).collect();
        assert_eq!(
            ids,
            ["singer", "second", "blend", "transpose", "formant", "mix", "air", "gain", "seed", "bypass"]
        );
        assert_eq!(params.serialize_fields().keys().collect::<Vec<_>>(), ["voice"]);
    }
}
