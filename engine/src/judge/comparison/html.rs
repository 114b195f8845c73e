//! The comparison as one page; the banks' own pages and sounds lie in folders beside it.

use std::fmt::Write;

use super::{Candidate, Comparison, Heard};
use crate::page::{END, address, begin, escape, figure, per_cent};

/// Which end of a column is the better one, if one is.
#[derive(Clone, Copy)]
enum Better {
    High,
    Low,
    Neither,
}

/// A figure of every bank.
struct Column {
    title: &'static str,
    better: Better,
    value: fn(&Candidate) -> Option<f64>,
    text: fn(Option<f64>) -> String,
}

const SOUND: [Column; 10] = [
    Column {
        title: "nearest to the singer asked for",
        better: Better::High,
        value: |bank| bank.summary.identified,
        text: per_cent,
    },
    Column {
        title: "mean place of the singer asked for",
        better: Better::Low,
        value: |bank| bank.summary.rank,
        text: |value| figure(value, 2),
    },
    Column {
        title: "F0 correlation",
        better: Better::High,
        value: |bank| bank.summary.f0_correlation,
        text: |value| figure(value, 3),
    },
    Column {
        title: "F0 RMSE, cents",
        better: Better::Low,
        value: |bank| bank.summary.f0_rmse_cents,
        text: |value| figure(value, 1),
    },
    Column {
        title: "voicing error",
        better: Better::Low,
        value: |bank| bank.summary.voicing_error,
        text: per_cent,
    },
    Column {
        title: "MCD, dB",
        better: Better::Low,
        value: |bank| bank.summary.mel_cepstral_distortion_db,
        text: |value| figure(value, 2),
    },
    Column {
        title: "STFT distance",
        better: Better::Low,
        value: |bank| bank.summary.stft_distance,
        text: |value| figure(value, 3),
    },
    Column {
        title: "bits per sample",
        better: Better::Low,
        value: |bank| bank.summary.bits_per_sample,
        text: |value| figure(value, 3),
    },
    Column {
        title: "samples in the limiter or clipped",
        better: Better::Low,
        value: |bank| Some(bank.summary.clipped_samples as f64),
        text: |value| figure(value, 0),
    },
    Column {
        title: "samples that are no numbers",
        better: Better::Low,
        value: |bank| Some(bank.summary.not_finite_samples as f64),
        text: |value| figure(value, 0),
    },
];

const COST: [Column; 7] = [
    Column {
        title: "parameters, thousands",
        better: Better::Low,
        value: |bank| Some(bank.cost.parameters as f64 / 1e3),
        text: |value| figure(value, 0),
    },
    Column {
        title: "file, MB",
        better: Better::Low,
        value: |bank| Some(bank.cost.file_bytes as f64 / 1e6),
        text: |value| figure(value, 2),
    },
    Column {
        title: "latency of the engine, ms",
        better: Better::Low,
        value: |bank| Some(bank.cost.engine_latency_ms),
        text: |value| figure(value, 1),
    },
    Column {
        title: "of the plugin, ms",
        better: Better::Low,
        value: |bank| Some(bank.cost.plugin_latency_ms),
        text: |value| figure(value, 1),
    },
    Column {
        title: "times real time on one core",
        better: Better::High,
        value: |bank| bank.cost.times_real_time,
        text: |value| figure(value, 1),
    },
    Column {
        title: "training steps",
        better: Better::Neither,
        value: |bank| bank.cost.training.map(|training| training.steps as f64),
        text: |value| figure(value, 0),
    },
    Column {
        title: "CPU minutes of training",
        better: Better::Low,
        value: |bank| bank.cost.training.map(|training| training.cpu_minutes),
        text: |value| figure(value, 1),
    },
];

pub(super) fn page(comparison: &Comparison) -> String {
    let banks = &comparison.banks;
    let mut page = begin("Judged: voice banks compared", "Voice banks compared");
    page += "<h2>What they sing like</h2>\n<p>Melody: medians over the conversions. MCD, STFT distance and bits per sample: \
             means over the singers' own recordings, sung by themselves.";
    if let Some(bank) = banks.first() {
        let (real, chance) = (bank.summary.real_identified, Some(bank.summary.chance));
        let _ = write!(
            page,
            " Of real recordings {} are nearest to their singer (the ceiling), by chance {} would be.",
            per_cent(real),
            per_cent(chance)
        );
    }
    if banks.windows(2).any(|pair| pair[0].singers != pair[1].singers) {
        page += " <strong>These banks do not have the same singers, so their figures are not of the same conversions.</strong>";
    }
    page += "</p>\n";
    table(&mut page, banks, &SOUND, ("conversions", |bank| bank.conversions.to_string()));
    page += "<h2>What they take</h2>\n<p>Latency at 48 kHz; the plugin's in blocks of 64 samples. Speed: seconds of sound that one core of \
             this machine sang in a second, as it was measured while converting. \
             Training: processor time of all threads, where the run left word beside its bank.</p>\n";
    table(&mut page, banks, &COST, ("trained on", |bank| escape(&bank.cost.trained_on)));
    if !comparison.heard.is_empty() {
        page += "<h2>Side by side</h2>\n<p class=\"legend\">Everything that a bank sang is on its own page.</p>\n";
    }
    for heard in &comparison.heard {
        sounds(&mut page, banks, heard);
    }
    page += END;
    page
}

/// One row for each bank, with a last column of words.
fn table(
    page: &mut String,
    banks: &[Candidate],
    columns: &[Column],
    (words_title, words): (&str, fn(&Candidate) -> String),
) {
    *page += "<div class=\"wide\"><table><tr><th>bank</th>";
    for column in columns {
        let _ = write!(page, "<th>{}</th>", column.title);
    }
    let _ = writeln!(page, "<th class=\"words\">{words_title}</th></tr>");
    let best: Vec<Option<String>> = columns.iter().map(|column| column.best(banks)).collect();
    for bank in banks {
        let name = escape(&bank.name);
        let _ = write!(
            page,
            "<tr><td><a href=\"{name}/index.html\">{name}</a><br><small>{}</small></td>",
            escape(&bank.file)
        );
        for (column, best) in columns.iter().zip(&best) {
            let text = (column.text)((column.value)(bank));
            let class = if Some(&text) == best.as_ref() { " class=\"hit\"" } else { "" };
            let _ = write!(page, "<td{class}>{text}</td>");
        }
        let _ = writeln!(page, "<td class=\"words\">{}</td></tr>", words(bank));
    }
    *page += "</table></div>\n";
}

impl Column {
    /// The best figure as it is shown; none where all are shown alike.
    fn best(&self, banks: &[Candidate]) -> Option<String> {
        let values = banks.iter().filter_map(|bank| (self.value)(bank));
        let best = match self.better {
            Better::High => values.reduce(f64::max),
            Better::Low => values.reduce(f64::min),
            Better::Neither => None,
        }?;
        let best = (self.text)(Some(best));
        banks.iter().any(|bank| (self.text)((self.value)(bank)) != best).then_some(best)
    }
}

fn sounds(page: &mut String, banks: &[Candidate], heard: &Heard) {
    let _ =
        writeln!(page, "<article><strong>{} → {}</strong><br>", escape(&heard.take), escape(&heard.singer));
    let named = banks.iter().map(|bank| bank.name.as_str()).zip(&heard.output_sounds);
    for (name, sound) in std::iter::once(("the take", &heard.take_sound)).chain(named) {
        let _ = writeln!(
            page,
            "<span><small>{}</small><br><audio controls preload=\"none\" src=\"{}\"></audio></span>",
            escape(name),
            address(sound)
        );
    }
    *page += "</article>\n";
}
