//! The device that decodes: the processor, or a GPU where the environment asks for one.

use std::sync::{Arc, OnceLock};

use falsetto_engine::decode::Gpu;
use falsetto_engine::stream::Converter;

/// `cuda` lets the first CUDA device decode. All devices sing the same samples.
pub const VARIABLE: &str = "FALSETTO_DEVICE";

/// The GPU that is asked for, or why there is none; none where nobody asks. One for all streams of this process.
fn asked() -> Option<&'static Result<Arc<Gpu>, String>> {
    static GPU: OnceLock<Option<Result<Arc<Gpu>, String>>> = OnceLock::new();
    GPU.get_or_init(|| match std::env::var(VARIABLE) {
        Ok(device) if device == "cuda" => Some(Gpu::open().map_err(|error| error.to_string())),
        Ok(device) if !["cpu", "auto", ""].contains(&device.as_str()) => {
            Some(Err(format!("{VARIABLE} is {device}, must be cpu or cuda; the processor sings")))
        }
        _ => None,
    })
    .as_ref()
}

/// Lets the device that is asked for decode, and says which one it is.
pub fn choose(converter: &mut Converter) -> String {
    let chosen = match asked() {
        None => return "processor".into(),
        Some(Err(why)) => Err(why.clone()),
        Some(Ok(gpu)) => {
            converter.sing_on(gpu).map(|()| gpu.name().to_owned()).map_err(|error| error.to_string())
        }
    };
    match chosen {
        Ok(name) => name,
        Err(why) => {
            tracing::warn!("{why}");
            format!("processor ({why})")
        }
    }
}
