//! A CLAP host: loads a built `.clap` and plays takes through it, as a DAW would.

mod callbacks;

use std::ffi::CString;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use clack_extensions::audio_ports_config::{AudioPortsConfigBuffer, PluginAudioPortsConfig};
use clack_extensions::latency::PluginLatency;
use clack_extensions::params::{ParamInfoBuffer, PluginParams};
use clack_extensions::render::{PluginRender, RenderMode};
use clack_extensions::state::PluginState;
use clack_host::events::event_types::ParamValueEvent;
use clack_host::prelude::*;
use clack_host::utils::ClapId;

use crate::play::{Block, HostError, Pace, Plan, Played, Sound, play_blocks, without_latency};
use crate::syscall_trap::Trap;
use callbacks::{AudioThread, FalsettoHost, MainThread, Shared};

/// A loaded `.clap` file.
#[derive(Clone)]
pub struct Module {
    entry: PluginEntry,
    plugin_id: CString,
}

/// One parameter as the plugin describes it. Values are plain.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub id: u32,
    pub name: String,
    pub min: f64,
    pub max: f64,
    pub default: f64,
}

/// One instance of the plugin. It stays on the thread that made it, which is its main thread.
pub struct Instance {
    plugin: PluginInstance<FalsettoHost>,
    channels: usize,
}

impl Module {
    /// Loads the file and takes its first plugin.
    pub fn open(path: &Path) -> Result<Self, HostError> {
        let failed = |what, why: &dyn ToString| HostError::Load {
            path: path.display().to_string(),
            what,
            why: why.to_string(),
        };
        // SAFETY: the file is a CLAP plugin that was built from this workspace (or one the caller trusts as much):
        // its entry keeps the rules of the format.
        let entry = unsafe { PluginEntry::load(path) }.map_err(|e| failed("loading", &e))?;
        let factory = entry.get_plugin_factory().ok_or_else(|| failed("the factory", &"none offered"))?;
        let descriptor = factory.plugin_descriptors().next();
        let plugin_id = descriptor
            .and_then(|d| d.id().map(ToOwned::to_owned))
            .ok_or_else(|| failed("the plugin list", &"it is empty"))?;
        Ok(Self { entry, plugin_id })
    }

    /// A new instance with the plugin's default ports.
    pub fn instance(&self) -> Result<Instance, HostError> {
        let about = HostInfo::new(
            "Falsetto's test host",
            "The Falsetto authors",
            "https://falsetto.example",
            "0.1.0",
        )
        .map_err(|e| HostError::Refused(format!("hear about its host: {e}")))?;
        let plugin =
            PluginInstance::new(|_| Shared::default(), |_| MainThread, &self.entry, &self.plugin_id, &about)
                .map_err(|e| HostError::Refused(format!("be instantiated: {e}")))?;
        Ok(Instance { plugin, channels: 2 })
    }
}

impl Instance {
    /// Every parameter, in the plugin's order.
    pub fn parameters(&mut self) -> Result<Vec<Parameter>, HostError> {
        let params: PluginParams = self.extension("parameters")?;
        let handle = self.plugin.plugin_handle();
        let mut buffer = ParamInfoBuffer::new();
        Ok((0..params.count(&handle))
            .filter_map(|index| {
                let info = params.get_info(&handle, index, &mut buffer)?;
                Some(Parameter {
                    id: info.id.get(),
                    name: String::from_utf8_lossy(info.name).into_owned(),
                    min: info.min_value,
                    max: info.max_value,
                    default: info.default_value,
                })
            })
            .collect())
    }

    /// The parameter with this name.
    pub fn parameter(&mut self, name: &str) -> Result<Parameter, HostError> {
        let all = self.parameters()?;
        let known = || all.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
        let unknown = || HostError::UnknownParameter { name: name.into(), known: known() };
        all.iter().find(|p| p.name == name).cloned().ok_or_else(unknown)
    }

    /// What a parameter is set to.
    pub fn value(&mut self, id: u32) -> Result<f64, HostError> {
        let params: PluginParams = self.extension("parameters")?;
        params
            .get_value(&self.plugin.plugin_handle(), ClapId::new(id))
            .ok_or_else(|| HostError::Refused(format!("tell the value of parameter {id}")))
    }

    /// How the plugin writes a value.
    pub fn text_of(&mut self, id: u32, value: f64) -> Result<String, HostError> {
        let params: PluginParams = self.extension("parameters")?;
        let mut buffer = [0; 256];
        params
            .value_to_text(&self.plugin.plugin_handle(), ClapId::new(id), value, &mut buffer)
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .map_err(|_| HostError::Refused(format!("write the value {value} of parameter {id}")))
    }

    /// The value that the plugin reads from a text, such as a singer's name.
    pub fn value_of_text(&mut self, parameter: &Parameter, text: &str) -> Result<f64, HostError> {
        let params: PluginParams = self.extension("parameters")?;
        let unknown = || HostError::UnknownValue { parameter: parameter.name.clone(), text: text.to_owned() };
        let text = CString::new(text).map_err(|_| unknown())?;
        params
            .text_to_value(&self.plugin.plugin_handle(), ClapId::new(parameter.id), &text)
            .ok_or_else(unknown)
    }

    /// Everything that a parameter of named steps can be set to. A step that is not in use is named `unused ...`.
    pub fn choices(&mut self, parameter: &str) -> Result<Vec<String>, HostError> {
        let Parameter { id, min, max, .. } = self.parameter(parameter)?;
        let texts = (0..=(max - min) as usize).map(|step| self.text_of(id, min + step as f64));
        let texts: Vec<String> = texts.collect::<Result<_, _>>()?;
        Ok(texts.into_iter().filter(|text| !text.starts_with("unused")).collect())
    }

    /// Sets a parameter while the plugin is not playing; the value is in the range that the plugin states, which need not
    /// be that of its texts.
    pub fn set(&mut self, id: u32, value: f64) -> Result<(), HostError> {
        let stated = self.parameters()?.into_iter().find(|parameter| parameter.id == id);
        if let Some(Parameter { name, min, max, .. }) = stated.filter(|p| !(p.min..=p.max).contains(&value)) {
            return Err(HostError::OutOfRange { parameter: name, value, min, max });
        }
        let params: PluginParams = self.extension("parameters")?;
        let mut handle = self
            .plugin
            .inactive_plugin_handle()
            .ok_or_else(|| HostError::Refused("take a parameter while it plays".into()))?;
        let (mut events, mut answers) = (EventBuffer::new(), EventBuffer::new());
        events.push(&ParamValueEvent::new(0, ClapId::new(id), Pckn::match_all(), value));
        params.flush(&mut handle, &events.as_input(), &mut answers.as_output());
        Ok(())
    }

    /// Sets a parameter by the names that a person sees, such as `("Singer", "kal")`.
    pub fn set_by_name(&mut self, parameter: &str, text: &str) -> Result<(), HostError> {
        let parameter = self.parameter(parameter)?;
        let value = self.value_of_text(&parameter, text)?;
        self.set(parameter.id, value)
    }

    /// Chooses mono (1) or stereo (2) ports.
    pub fn use_channels(&mut self, channels: usize) -> Result<(), HostError> {
        let configs: PluginAudioPortsConfig = self.extension("a choice of ports")?;
        let handle = self.plugin.plugin_handle();
        let mut buffer = AudioPortsConfigBuffer::new();
        let refused = || HostError::Refused(format!("use {channels} channels"));
        let wanted = (0..configs.count(&handle)).find_map(|index| {
            let config = configs.get(&handle, index, &mut buffer)?;
            let (input, output) = (config.main_input?, config.main_output?);
            let fits = [input.channel_count, output.channel_count].iter().all(|c| *c as usize == channels);
            fits.then_some(config.id)
        });
        configs.select(&handle, wanted.ok_or_else(refused)?).map_err(|_| refused())?;
        self.channels = channels;
        Ok(())
    }

    /// The plugin's state, as a DAW writes it into a project.
    pub fn save_state(&mut self) -> Result<Vec<u8>, HostError> {
        let state: PluginState = self.extension("its state")?;
        let mut bytes = Vec::new();
        state
            .save(&self.plugin.plugin_handle(), &mut bytes)
            .map_err(|_| HostError::Refused("save its state".into()))?;
        Ok(bytes)
    }

    /// Loads what [`save_state`](Self::save_state) gave.
    pub fn load_state(&mut self, mut bytes: &[u8]) -> Result<(), HostError> {
        let state: PluginState = self.extension("its state")?;
        state
            .load(&self.plugin.plugin_handle(), &mut bytes)
            .map_err(|_| HostError::Refused("load the state".into()))
    }

    /// Plays `input` (`[channels][frames]`) as the plan says and gives as many frames as the input has, latency and
    /// all.
    pub fn play(&mut self, input: &[Vec<f32>], plan: &Plan) -> Result<Played, HostError> {
        self.run(input, plan, false)
    }

    /// Plays `input` and as much silence as the plugin's latency; gives the input's frames with the latency taken
    /// off, as a DAW does that bounces.
    pub fn bounce(&mut self, input: &[Vec<f32>], plan: &Plan) -> Result<Played, HostError> {
        self.run(input, plan, true).map(without_latency)
    }

    fn run(&mut self, input: &[Vec<f32>], plan: &Plan, past_the_end: bool) -> Result<Played, HostError> {
        self.set_pace(plan.pace)?;
        let stopped = self.activate(plan)?;
        let latency: PluginLatency = self.extension("its latency")?;
        let latency_samples = latency.get(&self.plugin.plugin_handle()) as usize;
        let frames = input.first().map_or(0, Vec::len) + if past_the_end { latency_samples } else { 0 };
        let input = spread(input, self.channels);
        let result = thread::scope(|scope| {
            let audio = thread::Builder::new()
                .name("audio".into())
                .spawn_scoped(scope, || play_on_audio_thread(stopped, &input, frames, plan))
                .map_err(|e| HostError::AudioThread(e.to_string()))?;
            while !audio.is_finished() {
                self.answer_callbacks();
                thread::sleep(Duration::from_millis(2));
            }
            audio.join().map_err(|_| HostError::AudioThread("it panicked".into()))?
        });
        self.plugin.try_deactivate().map_err(|e| HostError::Refused(format!("be deactivated: {e}")))?;
        self.answer_callbacks();
        Ok(Played { latency_samples, ..result? })
    }

    fn set_pace(&mut self, pace: Pace) -> Result<(), HostError> {
        let mode = if pace == Pace::Offline { RenderMode::Offline } else { RenderMode::Realtime };
        let render: PluginRender = self.extension("a render mode")?;
        render
            .set(&self.plugin.plugin_handle(), mode)
            .map_err(|_| HostError::Refused("change its render mode".into()))
    }

    /// Activates the plugin; once more when it asks for a restart, as it does when its latency has changed.
    fn activate(&mut self, plan: &Plan) -> Result<StoppedPluginAudioProcessor<FalsettoHost>, HostError> {
        let configuration = PluginAudioConfiguration {
            sample_rate: plan.sample_rate_hz,
            min_frames_count: 1,
            max_frames_count: plan.announced_block_samples() as u32,
        };
        let mut restarts_left = 2;
        loop {
            let stopped = self
                .plugin
                .activate(|_, _| AudioThread, configuration)
                .map_err(|e| HostError::Refused(format!("be activated: {e}")))?;
            self.answer_callbacks();
            let asked = self.plugin.access_shared_handler(|s| s.restart_asked.swap(false, Ordering::AcqRel));
            if !asked || restarts_left == 0 {
                return Ok(stopped);
            }
            self.plugin.deactivate(stopped);
            restarts_left -= 1;
        }
    }

    fn answer_callbacks(&mut self) {
        if self.plugin.access_shared_handler(|s| s.callback_asked.swap(false, Ordering::AcqRel)) {
            self.plugin.call_on_main_thread_callback();
        }
    }

    fn extension<E>(&mut self, what: &'static str) -> Result<E, HostError>
    where
        E: clack_host::extensions::Extension<ExtensionSide = clack_host::extensions::PluginExtensionSide>,
    {
        self.plugin.plugin_handle().get_extension().ok_or(HostError::Missing(what))
    }
}

/// The input on the plugin's channels: as it is, or the first channel on all of them.
pub(crate) fn spread(input: &[Vec<f32>], channels: usize) -> Sound {
    if input.len() == channels {
        return input.to_vec();
    }
    let first = input.first().cloned().unwrap_or_default();
    vec![first; channels]
}

fn play_on_audio_thread(
    stopped: StoppedPluginAudioProcessor<FalsettoHost>,
    input: &[Vec<f32>],
    frames: usize,
    plan: &Plan,
) -> Result<Played, HostError> {
    let processor =
        stopped.start_processing().map_err(|e| HostError::Refused(format!("start processing: {e:?}")))?;
    let processor = std::cell::RefCell::new(processor);
    let channels = input.len();
    let mut input_ports = AudioPorts::with_capacity(channels, 1);
    let mut output_ports = AudioPorts::with_capacity(channels, 1);
    let mut events = EventBuffer::with_capacity(256);
    let mut answers = EventBuffer::with_capacity(256);
    let process = |block: Block<'_>, trap: Option<&Trap>| {
        events.clear();
        answers.clear();
        for change in block.changes {
            let (at, id) = (change.at_sample as u32, ClapId::new(change.parameter_id));
            events.push(&ParamValueEvent::new(at, id, Pckn::match_all(), change.value));
        }
        let samples = block.samples;
        let inputs = block.input.iter_mut().map(|c| InputChannel::variable(&mut c[..samples]));
        let inputs = input_ports.with_input_buffers([AudioPortBuffer {
            latency: 0,
            channels: AudioPortBufferType::f32_input_only(inputs),
        }]);
        let outputs = block.output.iter_mut().map(|c| &mut c[..samples]);
        let mut outputs = output_ports.with_output_buffers([AudioPortBuffer {
            latency: 0,
            channels: AudioPortBufferType::f32_output_only(outputs),
        }]);
        let (events, mut answers) = (events.as_input(), answers.as_output());
        let mut processor = processor.borrow_mut();
        let mut call = || {
            let time = Some(block.start_sample as u64);
            processor.process(&inputs, &mut outputs, &events, &mut answers, time, None)
        };
        let status = match trap {
            Some(trap) => trap.armed(call),
            None => call(),
        };
        status.map(|_| ()).map_err(|e| HostError::Refused(format!("process a block: {e}")))
    };
    let reset = || processor.borrow_mut().reset();
    let played = play_blocks(input, frames, channels, plan, reset, process);
    processor.into_inner().stop_processing();
    played
}
