//! A VST3 host: loads a built `.vst3` and plays takes through it. It calls `setupProcessing` once, as many hosts do,
//! and hands parameter changes over in queues.

mod changes;

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::ptr;
use std::thread;

use libloading::{Library, Symbol};
use vst3::Steinberg::Vst::*;
use vst3::Steinberg::*;
use vst3::{Class, ComPtr, ComWrapper};

use crate::clap_host::spread;
use crate::play::{Block, HostError, Pace, Plan, Played, play_blocks, without_latency};
use crate::syscall_trap::Trap;
use changes::Changes;

/// A loaded `.vst3` folder.
#[derive(Clone)]
pub struct Module {
    factory: ComPtr<IPluginFactory>,
}

/// One parameter as the plugin describes it. Values are normalised: 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub id: u32,
    pub name: String,
    pub default: f64,
}

/// One instance of the plugin, component and controller in one.
pub struct Instance {
    component: ComPtr<IComponent>,
    processor: ComPtr<IAudioProcessor>,
    controller: ComPtr<IEditController>,
    channels: usize,
}

struct Handler;

impl Class for Handler {
    type Interfaces = (IComponentHandler,);
}

impl IComponentHandlerTrait for Handler {
    unsafe fn beginEdit(&self, _id: ParamID) -> tresult {
        kResultOk
    }
    unsafe fn performEdit(&self, _id: ParamID, _value: ParamValue) -> tresult {
        kResultOk
    }
    unsafe fn endEdit(&self, _id: ParamID) -> tresult {
        kResultOk
    }
    unsafe fn restartComponent(&self, _flags: int32) -> tresult {
        kResultOk
    }
}

impl Module {
    /// Loads the folder's library and takes its factory.
    pub fn open(folder: &Path) -> Result<Self, HostError> {
        let path = library_of(folder);
        let failed = |what, why: String| HostError::Load { path: path.display().to_string(), what, why };
        // SAFETY: the folder is a VST3 plugin that was built from this workspace (or one the caller trusts as much);
        // loading it runs no more than its initialisers.
        let library = unsafe { Library::new(&path) }.map_err(|e| failed("loading", e.to_string()))?;
        // SAFETY: the entry points have these signatures in the VST3 module format; entering comes before anything
        // else, and the factory comes with one reference that is handed to us.
        let factory = unsafe {
            let enter: Symbol<unsafe extern "C" fn(*mut c_void) -> bool> =
                library.get(b"ModuleEntry\0").map_err(|e| failed("the entry", e.to_string()))?;
            if !enter(ptr::null_mut()) {
                return Err(failed("the entry", "it answers false".into()));
            }
            let factory: Symbol<unsafe extern "system" fn() -> *mut IPluginFactory> =
                library.get(b"GetPluginFactory\0").map_err(|e| failed("the factory", e.to_string()))?;
            ComPtr::from_raw(factory())
        };
        let factory = factory.ok_or_else(|| failed("the factory", "none offered".into()))?;
        // Never unloaded: the plugin's own threads and thread-locals may outlive its objects.
        std::mem::forget(library);
        Ok(Self { factory })
    }

    /// A new instance of the factory's first class.
    pub fn instance(&self) -> Result<Instance, HostError> {
        // SAFETY: the class information is plain data that the factory fills; the object comes with one reference
        // that is handed to us, of the interface that was asked for; a host context may be null.
        unsafe {
            let mut class = MaybeUninit::<PClassInfo>::zeroed().assume_init();
            self.factory.getClassInfo(0, &mut class);
            let mut object = ptr::null_mut();
            self.factory.createInstance(class.cid.as_ptr(), IComponent_iid.as_ptr().cast(), &mut object);
            let component = ComPtr::from_raw(object.cast::<IComponent>())
                .ok_or_else(|| HostError::Refused("be instantiated".into()))?;
            if component.initialize(ptr::null_mut()) != kResultOk {
                return Err(HostError::Refused("be initialised".into()));
            }
            let processor = component.cast().ok_or(HostError::Missing("an audio processor"))?;
            let controller: ComPtr<IEditController> =
                component.cast().ok_or(HostError::Missing("an edit controller in its component"))?;
            if let Some(handler) = ComWrapper::new(Handler).to_com_ptr::<IComponentHandler>() {
                controller.setComponentHandler(handler.as_ptr());
            }
            Ok(Instance { component, processor, controller, channels: 2 })
        }
    }
}

impl Instance {
    /// Every parameter, in the plugin's order.
    pub fn parameters(&self) -> Vec<Parameter> {
        // SAFETY: the information is plain data that the controller fills; every index is in range.
        let info = |index| unsafe {
            let mut info = MaybeUninit::<ParameterInfo>::zeroed().assume_init();
            self.controller.getParameterInfo(index, &mut info);
            info
        };
        // SAFETY: has no arguments.
        let count = unsafe { self.controller.getParameterCount() };
        (0..count)
            .map(info)
            .map(|info| Parameter {
                id: info.id,
                name: text_of(&info.title),
                default: info.defaultNormalizedValue,
            })
            .collect()
    }

    /// The parameter with this name.
    pub fn parameter(&self, name: &str) -> Result<Parameter, HostError> {
        let all = self.parameters();
        let known = || all.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
        let unknown = || HostError::UnknownParameter { name: name.into(), known: known() };
        all.iter().find(|p| p.name == name).cloned().ok_or_else(unknown)
    }

    /// The normalised value that the plugin reads from a text, such as a singer's name.
    pub fn value_of_text(&self, parameter: &Parameter, text: &str) -> Result<f64, HostError> {
        let mut wide: Vec<u16> = text.encode_utf16().chain([0]).collect();
        let mut value = 0.0;
        // SAFETY: the text ends with a zero and the value is ours to be written.
        let result =
            unsafe { self.controller.getParamValueByString(parameter.id, wide.as_mut_ptr(), &mut value) };
        if result == kResultOk {
            return Ok(value);
        }
        Err(HostError::UnknownValue { parameter: parameter.name.clone(), text: text.into() })
    }

    /// Sets a parameter while the plugin is not playing.
    pub fn set(&self, id: u32, value: f64) -> Result<(), HostError> {
        // SAFETY: called from the thread that made the instance, which is not playing.
        let result = unsafe { self.controller.setParamNormalized(id, value) };
        if result == kResultOk { Ok(()) } else { Err(HostError::Refused(format!("set parameter {id}"))) }
    }

    /// Sets a parameter by the names that a person sees, such as `("Singer", "kal")`.
    pub fn set_by_name(&self, parameter: &str, text: &str) -> Result<(), HostError> {
        let parameter = self.parameter(parameter)?;
        self.set(parameter.id, self.value_of_text(&parameter, text)?)
    }

    /// Chooses mono (1) or stereo (2) buses.
    pub fn use_channels(&mut self, channels: usize) -> Result<(), HostError> {
        let mut input = if channels == 1 { SpeakerArr::kMono } else { SpeakerArr::kStereo };
        let mut output = input;
        // SAFETY: one arrangement for the one bus of each direction.
        let result = unsafe { self.processor.setBusArrangements(&mut input, 1, &mut output, 1) };
        if result != kResultOk {
            return Err(HostError::Refused(format!("use {channels} channels")));
        }
        self.channels = channels;
        Ok(())
    }

    /// Plays `input` (`[channels][frames]`) as the plan says and gives as many frames as the input has, latency and
    /// all.
    pub fn play(&mut self, input: &[Vec<f32>], plan: &Plan) -> Result<Played, HostError> {
        self.run(input, plan, false)
    }

    /// Plays `input` and as much silence as the plugin's latency; gives the input's frames with the latency taken
    /// off.
    pub fn bounce(&mut self, input: &[Vec<f32>], plan: &Plan) -> Result<Played, HostError> {
        self.run(input, plan, true).map(without_latency)
    }

    fn run(&mut self, input: &[Vec<f32>], plan: &Plan, past_the_end: bool) -> Result<Played, HostError> {
        let mode =
            if plan.pace == Pace::Offline { ProcessModes_::kOffline } else { ProcessModes_::kRealtime };
        let mut setup = ProcessSetup {
            processMode: mode as int32,
            symbolicSampleSize: SymbolicSampleSizes_::kSample32 as int32,
            maxSamplesPerBlock: plan.announced_block_samples() as int32,
            sampleRate: plan.sample_rate_hz,
        };
        // SAFETY: the calls come in the format's order, from the thread that made the instance, with one main bus in
        // each direction.
        let latency_samples = unsafe {
            if self.processor.setupProcessing(&mut setup) != kResultOk {
                return Err(HostError::Refused("be set up".into()));
            }
            for direction in [BusDirections_::kInput, BusDirections_::kOutput] {
                self.component.activateBus(MediaTypes_::kAudio as _, direction as _, 0, 1);
            }
            if self.component.setActive(1) != kResultOk {
                return Err(HostError::Refused("be activated".into()));
            }
            self.processor.setProcessing(1);
            self.processor.getLatencySamples() as usize
        };
        let frames = input.first().map_or(0, Vec::len) + if past_the_end { latency_samples } else { 0 };
        let input = spread(input, self.channels);
        let result = thread::scope(|scope| {
            let task = || play_on_audio_thread(&self.processor, &input, frames, plan, mode as int32);
            let thread = thread::Builder::new()
                .name("audio".into())
                .spawn_scoped(scope, task)
                .map_err(|e| HostError::AudioThread(e.to_string()))?;
            thread.join().map_err(|_| HostError::AudioThread("it panicked".into()))?
        });
        // SAFETY: the audio thread has ended.
        unsafe {
            self.processor.setProcessing(0);
            self.component.setActive(0);
        }
        Ok(Played { latency_samples, ..result? })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: not active any more; the references themselves are given back by their owners.
        unsafe {
            self.controller.setComponentHandler(ptr::null_mut());
            self.component.terminate();
        }
    }
}

fn play_on_audio_thread(
    processor: &ComPtr<IAudioProcessor>,
    input: &[Vec<f32>],
    frames: usize,
    plan: &Plan,
    mode: int32,
) -> Result<Played, HostError> {
    let channels = input.len();
    let process = |block: Block<'_>, trap: Option<&Trap>| {
        let mut inputs: Vec<*mut f32> = block.input.iter_mut().map(|c| c.as_mut_ptr()).collect();
        let mut outputs: Vec<*mut f32> = block.output.iter_mut().map(|c| c.as_mut_ptr()).collect();
        let bus = |channels: &mut Vec<*mut f32>| AudioBusBuffers {
            numChannels: channels.len() as int32,
            silenceFlags: 0,
            __field0: AudioBusBuffers__type0 { channelBuffers32: channels.as_mut_ptr() },
        };
        let (mut input_bus, mut output_bus) = (bus(&mut inputs), bus(&mut outputs));
        let changes = Changes::new(block.changes);
        let mut data = ProcessData {
            processMode: mode,
            symbolicSampleSize: SymbolicSampleSizes_::kSample32 as int32,
            numSamples: block.samples as int32,
            numInputs: 1,
            numOutputs: 1,
            inputs: &mut input_bus,
            outputs: &mut output_bus,
            inputParameterChanges: changes.as_ref().map_or(ptr::null_mut(), |c| c.as_ptr()),
            outputParameterChanges: ptr::null_mut(),
            inputEvents: ptr::null_mut(),
            outputEvents: ptr::null_mut(),
            processContext: ptr::null_mut(),
        };
        // SAFETY: every pointer in `data` is null where the format allows it or points to something that lives until
        // the end of this block and is as large as is said.
        let mut call = || unsafe { processor.process(&mut data) };
        let result = match trap {
            Some(trap) => trap.armed(call),
            None => call(),
        };
        if result == kResultOk { Ok(()) } else { Err(HostError::Refused("process a block".into())) }
    };
    // VST3 has no reset while processing: `setProcessing` off and on is what hosts do.
    let reset = || {
        // SAFETY: the plugin is active; the calls may come from the audio thread.
        unsafe {
            processor.setProcessing(0);
            processor.setProcessing(1);
        }
    };
    play_blocks(input, frames, channels, plan, reset, process)
}

/// The library inside the folder, or the file itself.
fn library_of(folder: &Path) -> PathBuf {
    let contents = folder.join("Contents");
    let found = std::fs::read_dir(&contents).into_iter().flatten().flatten().find_map(|inner| {
        let wanted = inner.file_name().to_string_lossy().ends_with("-linux")
            || ["MacOS", "x86_64-win"].iter().any(|n| inner.file_name() == *n);
        let mut files = std::fs::read_dir(inner.path()).ok()?.flatten();
        wanted.then(|| files.next().map(|f| f.path()))?
    });
    found.unwrap_or_else(|| folder.to_owned())
}

/// A text that ends at its first zero.
fn text_of(wide: &[u16]) -> String {
    let end = wide.iter().position(|c| *c == 0).unwrap_or(wide.len());
    String::from_utf16_lossy(&wide[..end])
}
