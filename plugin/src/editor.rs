//! The window: who sings, how, what comes in and goes out, and whether all is well.

mod meter;
mod status;

use std::sync::Arc;
use std::time::Duration;

use egui::{Button, CentralPanel, Grid, RichText, ScrollArea, Ui};
use falsetto_engine::signal::range::octaves_between;
use falsetto_engine::voice::{Card, Singer};
use nice_plug::context::gui::GuiContext;
use nice_plug::editor::{SizeConstraints, dpi::LogicalSize};
use nice_plug::prelude::*;
use nice_plug_egui::{
    EguiEditor, EguiEditorState, EguiNiceSettings, Frame, NiceEguiApp, RepaintNotifier, baseview,
    create_egui_editor, widgets::ParamSlider,
};

use crate::board::Board;
use crate::params::{FalsettoParams, SINGER_SLOTS};
use crate::voice::Voice;
use meter::Meter;

/// The plugin's editor.
pub type Window = EguiEditor<App>;

/// What the window shows. Lives as long as the plugin; the window comes and goes.
pub struct App {
    params: Arc<FalsettoParams>,
    voice: Arc<Voice>,
    board: Arc<Board>,
    host: Option<GuiContext>,
    input: Meter,
    output: Meter,
}

const WIDTH: f32 = 520.0;
const HEIGHT: f32 = 500.0;
const FRAME: Duration = Duration::from_millis(40);

/// The editor, not yet open.
pub fn window(params: Arc<FalsettoParams>, voice: Arc<Voice>, board: Arc<Board>) -> Option<Window> {
    let hint = ResizeHint {
        can_resize: true,
        can_resize_horizontally: true,
        can_resize_vertically: true,
        size_constraints: SizeConstraints::Logical {
            min_size: Some(LogicalSize::new(420.0, 320.0)),
            max_size: None,
        },
        ..Default::default()
    };
    create_egui_editor(
        EguiEditorState::from_size(LogicalSize::new(WIDTH, HEIGHT), 1.0),
        RepaintNotifier::new(),
        EguiNiceSettings::new().with_tile("Falsetto").with_resize_hint(hint),
        App { params, voice, board, host: None, input: Meter::default(), output: Meter::default() },
    )
}

impl NiceEguiApp for App {
    fn build(
        &mut self,
        _: egui::Context,
        host: GuiContext,
        _: &mut Frame,
    ) -> Result<(), baseview::HandlerError> {
        self.host = Some(host);
        Ok(())
    }

    fn ui(&mut self, ui: &mut Ui, _: &mut Frame) {
        let Some(host) = self.host.clone() else { return };
        let setter = host.param_setter();
        CentralPanel::default().show(ui, |ui| {
            ui.heading("Falsetto");
            ui.add_space(4.0);
            let (_, _, bank) = self.voice.view();
            let card = bank.as_ref().map(|bank| bank.card());
            self.singers(ui, &setter, card.map_or(&[], |card| &card.singers));
            ui.separator();
            self.controls(ui, &setter, card);
            ui.separator();
            let (input_peak, output_peak) = self.board.take_peaks();
            self.input.show(ui, "In", input_peak, FRAME);
            self.output.show(ui, "Out", output_peak, FRAME);
            ui.separator();
            status::show(ui, &self.voice, &self.board);
        });
        ui.ctx().request_repaint_after(FRAME);
    }

    fn editor_closed(&mut self) {
        self.host = None;
    }
}

impl App {
    fn singers(&self, ui: &mut Ui, setter: &ParamSetter, singers: &[Singer]) {
        if singers.is_empty() {
            ui.label("No singers: there is no voice bank.");
            return;
        }
        let chosen = self.params.singer.value();
        ScrollArea::vertical().id_salt("singers").max_height(110.0).auto_shrink([false, true]).show(
            ui,
            |ui| {
                ui.horizontal_wrapped(|ui| {
                    for (slot, singer) in (0i32..).zip(singers.iter().take(SINGER_SLOTS)) {
                        let name = RichText::new(&singer.name).size(16.0);
                        if ui.selectable_label(slot == chosen, name).clicked() {
                            set(setter, &self.params.singer, slot);
                        }
                    }
                });
            },
        );
        if usize::try_from(chosen).is_ok_and(|chosen| chosen >= singers.len()) {
            ui.weak(format!("Slot {chosen} is unused; {} sings instead.", singers[singers.len() - 1].name));
        }
    }

    fn controls(&self, ui: &mut Ui, setter: &ParamSetter, card: Option<&Card>) {
        let params = &self.params;
        Grid::new("controls").num_columns(3).spacing([12.0, 6.0]).show(ui, |ui| {
            ui.label("Second singer");
            ui.add(ParamSlider::for_param(&params.second_singer, setter));
            ui.end_row();
            ui.label("Blend").on_hover_text("The second singer's share of the voice.");
            ui.add(ParamSlider::for_param(&params.blend, setter));
            ui.end_row();
            ui.label("Transpose");
            ui.add(ParamSlider::for_param(&params.transpose, setter));
            self.octave_button(ui, setter, card);
            ui.end_row();
            ui.label("Formant").on_hover_text("The length of the singer's throat: up is shorter.");
            ui.add(ParamSlider::for_param(&params.formant, setter));
            ui.end_row();
            ui.label("Mix");
            ui.add(ParamSlider::for_param(&params.mix, setter));
            ui.end_row();
            ui.label("Air").on_hover_text("What lies above the voice's own band, from the take.");
            ui.add(ParamSlider::for_param(&params.air, setter));
            ui.end_row();
            ui.label("Gain");
            ui.add(ParamSlider::for_param(&params.gain, setter));
            ui.end_row();
            ui.label("Seed").on_hover_text("Another number is another performance of the same take.");
            ui.add(ParamSlider::for_param(&params.seed, setter));
            ui.end_row();
            ui.label("Bypass");
            let mut bypassed = params.bypass.value();
            if ui.checkbox(&mut bypassed, "").changed() {
                set(setter, &params.bypass, bypassed);
            }
            ui.end_row();
        });
    }

    /// Transposes by the octaves that bring what was heard so far to the range of the singer, or of the blend.
    fn octave_button(&self, ui: &mut Ui, setter: &ParamSetter, card: Option<&Card>) {
        let meters = self.board.stream.lock().as_ref().and_then(|info| info.meters.clone());
        let heard = meters.and_then(|meters| meters.report().take_median_f0_hz);
        let button = Button::new("Fit octave");
        let (Some(take_f0_hz), Some(card)) = (heard, card) else {
            ui.add_enabled(false, button)
                .on_disabled_hover_text("Play the take first: its range is not known.");
            return;
        };
        let settings = self.params.settings();
        let voice_f0_hz = card.blended_f0_hz(settings.singer, settings.second_singer, settings.blend);
        let told = format!("The take lies around {take_f0_hz:.0} Hz, the voice around {voice_f0_hz:.0} Hz.");
        if ui.add(button).on_hover_text(told).clicked() {
            set(setter, &self.params.transpose, octaves_between(take_f0_hz, voice_f0_hz).clamp(-24.0, 24.0));
        }
    }
}

/// One gesture that sets one value.
fn set<P: Param>(setter: &ParamSetter, param: &P, value: P::Plain) {
    setter.begin_set_parameter(param);
    setter.set_parameter(param, value);
    setter.end_set_parameter(param);
}
