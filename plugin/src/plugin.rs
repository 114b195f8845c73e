//! What the host calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use nice_plug::prelude::*;
use rtrb::RingBuffer;

use crate::audio::{AudioPath, StreamExchange};
use crate::board::Board;
use crate::params::FalsettoParams;
use crate::voice::{self, Active, Voice};

/// One instance of the plugin.
pub struct Falsetto {
    params: Arc<FalsettoParams>,
    voice: Arc<Voice>,
    board: Arc<Board>,
    /// Kept while the plugin is inactive, since hosts activate it often.
    audio: Option<AudioPath>,
    input_channels: usize,
}

impl Default for Falsetto {
    fn default() -> Self {
        let board = Arc::new(Board::default());
        let voice = Voice::start(&board);
        let params = Arc::new(FalsettoParams::new(&voice));
        Self { params, voice, board, audio: None, input_channels: 1 }
    }
}

impl Drop for Falsetto {
    fn drop(&mut self) {
        // First the stream, which may join the engine thread, then the thread that could open another.
        self.audio = None;
        self.voice.close();
    }
}

/// A bus layout of so many channels in and out.
const fn layout(inputs: u32, outputs: u32) -> AudioIOLayout {
    AudioIOLayout {
        main_input_channels: NonZeroU32::new(inputs),
        main_output_channels: NonZeroU32::new(outputs),
        ..AudioIOLayout::const_default()
    }
}

impl Falsetto {
    /// Builds what the audio thread needs, or keeps what is there if it still fits.
    fn prepare(&mut self, host_rate_hz: u32, max_block_samples: usize) {
        let bank = self.voice.bank();
        let failed =
            self.board.stream.lock().as_ref().is_some_and(|info| {
                info.meters.as_ref().is_some_and(|meters| meters.report().failure.is_some())
            });
        let broken = self.board.broken.swap(false, Relaxed) || failed;
        if self.audio.is_some() && !broken && self.voice.plays(host_rate_hz, max_block_samples, bank.as_ref())
        {
            return;
        }
        // The old stream first, so that two never hold memory at once.
        self.audio = None;
        self.board.restart.store(false, Relaxed);
        let opened = bank.as_ref().and_then(|bank| {
            voice::open_stream(bank, host_rate_hz, max_block_samples, self.params.settings())
                .inspect_err(|reason| nice_error!("no stream for the voice: {reason}"))
                .ok()
        });
        let (stream, info) = match opened {
            Some((stream, info)) => (Some(stream), info),
            None => (None, voice::no_stream(host_rate_hz, max_block_samples)),
        };
        let latency_samples = info.latency.total_samples();
        *self.board.stream.lock() = Some(info);
        let (to_audio, incoming) = RingBuffer::new(2);
        let (outgoing, from_audio) = RingBuffer::new(2);
        let exchange = StreamExchange { incoming, outgoing };
        self.audio = Some(AudioPath::new(stream, exchange, latency_samples, host_rate_hz, max_block_samples));
        self.voice.activate(Active {
            host_rate_hz,
            max_block_samples,
            latency_samples,
            playing: bank,
            incoming: to_audio,
            outgoing: from_audio,
        });
    }
}

impl Plugin for Falsetto {
    const NAME: &'static str = "Falsetto";
    const VENDOR: &'static str = "Falsetto";
    const URL: &'static str = env!("CARGO_PKG_REPOSITORY");
    const EMAIL: &'static str = "";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const AUDIO_IO_LAYOUTS: &'static [AudioIOLayout] = &[layout(2, 2), layout(1, 1), layout(1, 2)];
    // Splits blocks at events, so that one call has one set of values and each change falls on its sample.
    const SAMPLE_ACCURATE_AUTOMATION: bool = true;

    #[cfg(feature = "editor")]
    type Editor = crate::editor::Window;
    #[cfg(not(feature = "editor"))]
    type Editor = ();
    type SysExMessage = ();
    type BackgroundTask = ();

    fn params(&self) -> Arc<dyn Params> {
        self.params.clone()
    }

    #[cfg(feature = "editor")]
    fn editor(&mut self, _: AsyncExecutor<Self>) -> Option<Self::Editor> {
        crate::editor::window(Arc::clone(&self.params), Arc::clone(&self.voice), Arc::clone(&self.board))
    }

    fn activate(
        &mut self,
        layout: &AudioIOLayout,
        config: &BufferConfig,
        context: &mut impl ActivateContext<Self>,
    ) -> bool {
        // Rates come as floats; nobody has a fraction of a hertz.
        let host_rate_hz = config.sample_rate.round() as u32;
        let max_block_samples = config.max_buffer_size as usize;
        self.input_channels = layout.main_input_channels.map_or(1, |count| count.get() as usize);
        self.prepare(host_rate_hz, max_block_samples);
        let Some(audio) = &mut self.audio else { return false };
        audio.set_offline(config.process_mode == ProcessMode::Offline);
        audio.reset();
        context.set_latency_samples(u32::try_from(audio.latency_samples()).unwrap_or(u32::MAX));
        true
    }

    fn reset(&mut self) {
        if let Some(audio) = &mut self.audio {
            audio.reset();
        }
    }

    fn process(
        &mut self,
        buffer: &mut Buffer,
        _: &mut AuxiliaryBuffers,
        context: &mut impl ProcessContext<Self>,
    ) -> ProcessStatus {
        let Some(audio) = &mut self.audio else { return ProcessStatus::Error("not activated") };
        let board = &self.board;
        if board.restart.load(Relaxed) && board.restart.swap(false, Relaxed) {
            context.request_restart();
        }
        let controls = self.params.controls();
        let tail = u32::try_from(audio.latency_samples()).unwrap_or(u32::MAX);
        if board.broken.load(Relaxed) {
            audio.pass_dry(buffer.as_slice(), self.input_channels);
            return ProcessStatus::Tail(tail);
        }
        // A panic must not cross into the host, which would abort. What the panic left behind is not trusted any more:
        // from then on only the delay lines are used, which hold plain samples.
        let inputs = self.input_channels;
        let done = catch_unwind(AssertUnwindSafe(|| {
            audio.process(buffer.as_slice(), inputs, controls, board);
        }));
        if done.is_err() {
            board.broken.store(true, Relaxed);
            for channel in buffer.as_slice() {
                channel.fill(0.0);
            }
        }
        ProcessStatus::Tail(tail)
    }
}

impl ClapPlugin for Falsetto {
    const CLAP_ID: &'static str = "org.falsetto.falsetto";
    const CLAP_DESCRIPTION: Option<&'static str> = Some("Sings your take in another singer's voice");
    const CLAP_MANUAL_URL: Option<&'static str> = None;
    const CLAP_SUPPORT_URL: Option<&'static str> = None;
    const CLAP_FEATURES: &'static [ClapFeature] =
        &[ClapFeature::AudioEffect, ClapFeature::PitchShifter, ClapFeature::Stereo, ClapFeature::Mono];

    fn remote_controls(&self, context: &mut impl RemoteControlsContext) {
        context.add_section("Falsetto", |section| {
            section.add_page("Voice", |page| {
                page.add_param(&self.params.singer);
                page.add_param(&self.params.second_singer);
                page.add_param(&self.params.blend);
                page.add_param(&self.params.transpose);
                page.add_param(&self.params.formant);
                page.add_param(&self.params.mix);
                page.add_param(&self.params.air);
                page.add_param(&self.params.gain);
            });
            section.add_page("Output", |page| {
                page.add_param(&self.params.seed);
                page.add_param(&self.params.bypass);
            });
        });
    }
}

impl Vst3Plugin for Falsetto {
    const VST3_CLASS_ID: [u8; 16] = *b"FalsettoSingerVC";
    const VST3_SUBCATEGORIES: &'static [Vst3SubCategory] =
        &[Vst3SubCategory::Fx, Vst3SubCategory::PitchShift];
}
