//! Between the host's rate and the model's.
#[allow(missing_docs)] pub struct Resampler;
#[allow(missing_docs)] impl Resampler { pub fn convert(x: &[f32], _: u32, _: u32) -> Vec<f32> { x.to_vec() } }
