//! The report as one page without anything from elsewhere; sounds lie beside it.

use std::fmt::Write;

use super::{Conversion, Report};
use crate::judge::contour::FRAMES_PER_SECOND;
use crate::page::{END, address, begin, escape, figure, per_cent};

const WIDTH: f32 = 900.0;
const HEIGHT: f32 = 110.0;

pub(super) fn page(report: &Report) -> String {
    let bank = &report.bank;
    let mut page = begin(&format!("Judged: {bank}"), &format!("Voice bank {bank}"));
    let _ = writeln!(page, "<p><small>{}</small></p>", escape(&report.bank_hash));
    summary(&mut page, report);
    page += "<h2>Who it sounds like</h2>\n<p>Rows: the singer that was asked for; columns: the one it is nearest to.</p>\n";
    confusion(&mut page, "Conversions", &report.known, &report.confusion);
    confusion(
        &mut page,
        "Real recordings that the classifier had not heard",
        &report.known,
        &report.real_confusion,
    );
    reconstructions(&mut page, report);
    page += "<h2>Conversions</h2>\n<p class=\"legend\">F0 of the take, transposed as asked (grey), and of the output \
             (red), on a logarithmic scale.</p>\n";
    for pair in &report.conversions {
        conversion(&mut page, pair);
    }
    page += END;
    page
}

fn summary(page: &mut String, report: &Report) {
    let s = &report.summary;
    let rows = [
        ("F0 correlation, median", figure(s.f0_correlation, 3)),
        ("F0 error, RMSE in cents, median", figure(s.f0_rmse_cents, 1)),
        ("F0 error, median in cents, median", figure(s.f0_median_error_cents, 1)),
        ("frames more than 50 cents off, median", per_cent(s.off_key)),
        ("voicing error, median", per_cent(s.voicing_error)),
        ("correlation of the levels, median", figure(s.envelope_correlation, 3)),
        ("largest lag, ms", figure(s.worst_lag_ms, 0)),
        ("nearest to the singer that was asked for", per_cent(s.identified)),
        ("the same of real recordings (the ceiling)", per_cent(s.real_identified)),
        ("the same by chance", per_cent(Some(s.chance))),
        ("place of the asked singer among the known, mean", figure(s.rank, 2)),
        ("difference of loudness to the take in dB, median", figure(s.louder_db, 1)),
        ("loudest in held silence, dB of full scale", figure(s.loudest_in_silence_db, 1)),
        ("clipped samples", s.clipped_samples.to_string()),
        ("samples that are no numbers", s.not_finite_samples.to_string()),
        ("bits per sample of the singers' own recordings", figure(s.bits_per_sample, 4)),
        ("the same if products were made in f32", figure(s.bits_per_sample_f32, 4)),
        ("mel-cepstral distortion of those, dB", figure(s.mel_cepstral_distortion_db, 2)),
        ("multi-resolution STFT distance of those", figure(s.stft_distance, 3)),
    ];
    let _ = writeln!(page, "<p>{} conversions.</p>\n<table>", report.conversions.len());
    for (name, value) in rows {
        let _ = writeln!(page, "<tr><td>{name}</td><td>{value}</td></tr>");
    }
    *page += "</table>\n";
}

fn confusion(page: &mut String, title: &str, known: &[String], table: &[Vec<usize>]) {
    let _ = write!(page, "<table><tr><th>{title}</th>");
    for name in known {
        let _ = write!(page, "<th>{}</th>", escape(name));
    }
    *page += "</tr>\n";
    for (row, (name, counts)) in known.iter().zip(table).enumerate() {
        if counts.iter().all(|count| *count == 0) {
            continue;
        }
        let _ = write!(page, "<tr><td>{}</td>", escape(name));
        for (column, count) in counts.iter().enumerate() {
            let class = match (*count, row == column) {
                (0, _) => "",
                (_, true) => " class=\"hit\"",
                (_, false) => " class=\"miss\"",
            };
            let _ = write!(page, "<td{class}>{count}</td>");
        }
        *page += "</tr>\n";
    }
    *page += "</table>\n";
}

fn reconstructions(page: &mut String, report: &Report) {
    *page += "<h2>Singers' own recordings, sung by themselves</h2>\n<table><tr><th>recording</th><th>singer</th>\
              <th>bits per sample</th><th>MCD, dB</th><th>STFT distance</th></tr>\n";
    for clip in &report.reconstructions {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&clip.clip),
            escape(&clip.singer),
            figure(clip.bits_per_sample, 3),
            figure(clip.mel_cepstral_distortion_db, 2),
            figure(clip.stft_distance, 3)
        );
    }
    *page += "</table>\n";
}

fn conversion(page: &mut String, pair: &Conversion) {
    let melody = &pair.melody;
    let nearest = match (&pair.nearest, pair.rank) {
        (Some(nearest), Some(rank)) => format!("nearest to {}, place {rank}", escape(nearest)),
        _ => "too little is voiced to say whom it sounds like".into(),
    };
    let _ = writeln!(
        page,
        "<article><strong>{} → {}</strong> <small>{:+} semitones</small><br>\n\
         <audio controls preload=\"none\" src=\"{}\"></audio> <audio controls preload=\"none\" src=\"{}\"></audio>\n{}\
         <small>{nearest}; F0 correlation {}, RMSE {} cents, {} off key; voicing error {}; lag {:.0} ms; \
         {} LUFS, peak {} dB, band to {:.1} kHz</small></article>",
        escape(&pair.take),
        escape(&pair.singer),
        pair.transpose_semitones,
        address(&pair.take_sound),
        address(&pair.output_sound),
        picture(&pair.contours),
        figure(melody.f0_correlation, 3),
        figure(melody.f0_rmse_cents, 0),
        per_cent(melody.off_key),
        per_cent(Some(melody.voicing_error)),
        melody.lag_ms,
        figure(pair.level.loudness_lufs, 1),
        figure(pair.level.peak_db, 1),
        pair.level.bandwidth_hz / 1_000.0,
    );
}

/// The two contours, an inch a second or what fits.
fn picture(contours: &[Vec<f32>; 2]) -> String {
    let voiced = || contours.iter().flatten().copied().filter(|f0_hz| *f0_hz > 0.0);
    let (low, high) = (voiced().fold(f32::MAX, f32::min).log2(), voiced().fold(f32::MIN, f32::max).log2());
    if !(low.is_finite() && high.is_finite()) {
        return String::new();
    }
    let frames = contours.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let width = WIDTH.min(frames as f32 * 96.0 / FRAMES_PER_SECOND as f32);
    let mut picture = format!("<svg width=\"{width:.0}\" height=\"{HEIGHT}\">");
    for (contour, colour) in contours.iter().zip(["#999", "#d0402a"]) {
        let mut path = String::new();
        let mut before = 0.0;
        for (frame, f0_hz) in contour.iter().enumerate() {
            if *f0_hz > 0.0 {
                let x = frame as f32 / frames as f32 * width;
                let y = HEIGHT * (0.95 - 0.9 * (f0_hz.log2() - low) / (high - low).max(0.1));
                let _ = write!(path, "{}{x:.1} {y:.1}", if before > 0.0 { 'L' } else { 'M' });
            }
            before = *f0_hz;
        }
        let _ =
            write!(picture, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>");
    }
    picture + "</svg>\n"
}
