//! Whether all is well, and why not.

use std::sync::atomic::Ordering::Relaxed;

use egui::{Color32, Ui};
use falsetto_engine::stream::GpuUse;

use crate::board::{Board, StreamInfo};
use crate::voice::{Voice, VoiceStatus};

const TROUBLE: Color32 = Color32::from_rgb(230, 120, 60);

/// The lines below the meters.
pub fn show(ui: &mut Ui, voice: &Voice, board: &Board) {
    let (wanted, status, _) = voice.view();
    match status {
        VoiceStatus::Loading => ui.label(format!("Voice: loading {}", wanted.name)),
        VoiceStatus::Ready => ui.label(format!("Voice: {}", wanted.name)),
        VoiceStatus::ByName => ui.colored_label(
            TROUBLE,
            format!("Voice: {}, but not the file that this project was made with", wanted.name),
        ),
        VoiceStatus::Missing(reason) => {
            ui.colored_label(TROUBLE, format!("Dry sound, since no voice can be loaded: {reason}"))
        }
    };
    if board.broken.load(Relaxed) {
        ui.colored_label(
            TROUBLE,
            "Dry sound: a fault in the plugin was caught. Switch it off and on again to restart it.",
        );
    }
    // Copied, so that nothing is locked while text is laid out.
    let info = board.stream.lock().clone();
    if let Some(info) = info {
        latency(ui, &info);
        engine(ui, &info);
    }
}

fn latency(ui: &mut Ui, info: &StreamInfo) {
    let milliseconds = |samples: usize| samples as f64 * 1000.0 / f64::from(info.host_rate_hz);
    let total = info.latency.total_samples();
    let mut parts: Vec<(&str, usize)> = info.stages.clone();
    parts.push(("host block", info.latency.block_samples));
    parts.push(("engine", info.latency.compute_samples));
    let sum: Vec<String> = parts
        .iter()
        .filter(|(_, samples)| *samples > 0)
        .map(|(name, samples)| format!("{name} {samples} ({:.1} ms)", milliseconds(*samples)))
        .collect();
    ui.label(format!("Latency: {:.1} ms, {total} samples at {} Hz", milliseconds(total), info.host_rate_hz));
    ui.weak(sum.join(" + "));
}

fn engine(ui: &mut Ui, info: &StreamInfo) {
    let Some(meters) = &info.meters else { return };
    let report = meters.report();
    if let Some(failure) = &report.failure {
        ui.colored_label(
            TROUBLE,
            format!(
                "Dry sound: the engine failed ({failure}). Switch the plugin off and on again to restart it."
            ),
        );
        return;
    }
    ui.label(format!("Engine load: {:.0} %", report.load * 100.0));
    ui.label(match report.gpu {
        None | Some(GpuUse { falls: 0, .. }) => format!("Device: {}", info.device),
        Some(GpuUse { sings, falls }) => {
            let now = if sings { info.device.as_str() } else { "processor" };
            format!("Device: {now}; the GPU had to be left {falls} times")
        }
    });
    if report.late_samples > 0 {
        let seconds = report.late_samples as f64 / f64::from(info.host_rate_hz);
        ui.colored_label(
            TROUBLE,
            format!("Late: {} times, {seconds:.2} s of dry sound instead", report.late_blocks),
        );
    } else {
        ui.label("Late: never");
    }
}
