//! One bank under judgement: what it sings, and the report of it.

use std::path::Path;
use std::sync::Arc;

use falsetto_engine::files::{Encoding, Sound};
use falsetto_engine::judge::{Conversion, Reconstruction, Recording, Report, SingerModels, bits_per_sample};
use falsetto_engine::stream::{Settings, convert};
use falsetto_engine::voice::{Arithmetic, VoiceBank};
use indicatif::ProgressBar;
use rayon::prelude::*;

use super::core_clock::CoreClock;
use super::hearing::Hearing;
use super::{Arguments, write};
use crate::commands::progress_bar;

/// What was found out about a bank.
pub struct Judged {
    pub report: Report,
    /// Seconds of sound that one core sang in a second; none where nothing was converted.
    pub times_real_time: Option<f64>,
}

/// Judges a bank and writes its report into a folder, which is made if need be.
pub fn judge(
    arguments: &Arguments,
    bank: &Arc<VoiceBank>,
    hearing: &Hearing,
    folder: &Path,
) -> Result<Judged, String> {
    let sounds = folder.join("sounds");
    std::fs::create_dir_all(&sounds)
        .map_err(|error| format!("cannot make folder {}: {error}", sounds.display()))?;
    let takes = hearing.takes();
    let singers = &bank.card().singers;
    let pairs: Vec<(usize, usize)> = (0..takes.len())
        .flat_map(|take| (0..singers.len()).map(move |singer| (take, singer)))
        .filter(|(take, singer)| takes[*take].0 != singers[*singer].name)
        .collect();
    let selves: Vec<(usize, &Recording)> =
        hearing.own().filter_map(|(name, clip)| Some((bank.singer_index(name).ok()?, clip))).collect();

    let bar =
        progress_bar((pairs.len() + selves.len()) as u64, "{msg} {wide_bar} {pos}/{len} {elapsed}<{eta}");
    bar.set_message(bank.card().name.clone());
    let work = Work { arguments, bank, models: &hearing.models, sounds: &sounds, bar: &bar };
    takes.par_iter().enumerate().try_for_each(|(number, (_, take))| work.write(&take_file(number), take))?;
    let conversions = pairs.par_iter().map(|(take, singer)| work.conversion(*take, takes[*take].1, *singer));
    let conversions = conversions.collect::<Result<Vec<_>, String>>()?;
    let reconstructions = selves.par_iter().map(|(singer, clip)| work.reconstruction(clip, *singer));
    let reconstructions = reconstructions.collect::<Result<Vec<_>, String>>()?;
    bar.finish_and_clear();

    let (conversions, core_s): (Vec<Conversion>, Vec<f64>) = conversions.into_iter().unzip();
    let sung_s: f64 = pairs.iter().map(|(take, _)| seconds(takes[*take].1)).sum();
    let times_real_time = (!pairs.is_empty()).then(|| sung_s / core_s.iter().sum::<f64>().max(1e-9));
    let name = bank.card().name.clone();
    let names = hearing.models.names().to_vec();
    let report = Report::new(name, bank.content_hash(), names, &hearing.real, conversions, reconstructions);
    write(folder, report.html(), &report)?;
    Ok(Judged { report, times_real_time })
}

fn seconds(recording: &Recording) -> f64 {
    recording.samples.len() as f64 / f64::from(recording.rate_hz)
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
    /// The conversion, judged, and how many seconds a core sang it.
    fn conversion(
        &self,
        number: usize,
        take: &Recording,
        singer: usize,
    ) -> Result<(Conversion, f64), String> {
        let settings = Settings { singer, seed: self.arguments.seed, ..Settings::default() };
        let fitted = self.arguments.transpose.fit(self.bank, &settings, take.rate_hz, &take.samples);
        let semitones = fitted.map_err(|error| format!("{}: {error}", take.name))?.semitones;
        let (output, core_s) = self.sing(take, Settings { transpose_semitones: semitones, ..settings })?;
        let file = format!("take_{number:03}_singer_{singer:02}.wav");
        self.write(&file, &output)?;
        let name = &self.bank.card().singers[singer].name;
        let mut judged = Conversion::judge(take, &output, name, semitones, self.models);
        judged.take_sound = format!("sounds/{}", take_file(number));
        judged.output_sound = format!("sounds/{file}");
        self.bar.inc(1);
        Ok((judged, core_s))
    }

    fn reconstruction(&self, clip: &Recording, singer: usize) -> Result<Reconstruction, String> {
        let settings = Settings { singer, seed: self.arguments.seed, ..Settings::default() };
        let (output, _) = self.sing(clip, settings)?;
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

    /// What is sung, and how many seconds a core sang.
    fn sing(&self, take: &Recording, settings: Settings) -> Result<(Recording, f64), String> {
        let clock = CoreClock::start();
        let sung = convert(self.bank, take.rate_hz, settings, &take.samples)
            .map_err(|error| format!("{}: {error}", take.name))?;
        let core_s = clock.elapsed().as_secs_f64();
        Ok((Recording::new(take.name.clone(), sung, take.rate_hz), core_s))
    }

    fn write(&self, file: &str, recording: &Recording) -> Result<(), String> {
        let channels = vec![recording.samples.clone()];
        let sound = Sound { rate_hz: recording.rate_hz, channels, encoding: Encoding::Integer(24) };
        sound.write_wav(&self.sounds.join(file)).map_err(|error| error.to_string())
    }
}
