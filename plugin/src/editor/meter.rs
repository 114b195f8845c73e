//! A level meter.

use std::time::Duration;

use egui::{Color32, Rect, Sense, Ui, pos2, vec2};

/// Falls by so much per second.
const FALL_DB_PER_S: f32 = 24.0;
const FLOOR_DB: f32 = -60.0;

/// The level shown now, which falls slowly.
pub struct Meter {
    level_db: f32,
}

impl Default for Meter {
    fn default() -> Self {
        Self { level_db: FLOOR_DB }
    }
}

impl Meter {
    /// Takes the peak since the last frame and draws.
    pub fn show(&mut self, ui: &mut Ui, name: &str, peak: f32, frame: Duration) {
        let peak_db = 20.0 * peak.max(1e-6).log10();
        let fallen_db = self.level_db - FALL_DB_PER_S * frame.as_secs_f32();
        self.level_db = peak_db.max(fallen_db).max(FLOOR_DB);
        ui.horizontal(|ui| {
            ui.add_sized([30.0, 14.0], egui::Label::new(name));
            let width = (ui.available_width() - 70.0).max(50.0);
            let (area, _) = ui.allocate_exact_size(vec2(width, 10.0), Sense::hover());
            let share = ((self.level_db - FLOOR_DB) / -FLOOR_DB).clamp(0.0, 1.0);
            let filled =
                Rect::from_min_max(area.min, pos2(area.left() + share * area.width(), area.bottom()));
            let colour = if self.level_db > -0.1 {
                Color32::from_rgb(220, 60, 50)
            } else if self.level_db > -6.0 {
                Color32::from_rgb(220, 180, 60)
            } else {
                Color32::from_rgb(70, 170, 110)
            };
            ui.painter().rect_filled(area, 2.0, ui.visuals().extreme_bg_color);
            ui.painter().rect_filled(filled, 2.0, colour);
            if self.level_db > FLOOR_DB {
                ui.label(format!("{:.0} dB", self.level_db));
            } else {
                ui.label("-inf dB");
            }
        });
    }
}
