//! The trainer's fused operations, differentiable in candle, forward and backward written by hand.
//!
//! Tensors are contiguous `(B, C, T)`, `f32` for training and `f64` for the tests that hold every gradient against
//! finite differences. On the CPU one batch item is a task; gradients of weights are summed over the items in order, so
//! that results do not depend on the number of threads. Weights that belong to one operation come as one vector, a
//! *pack*, because candle's operations take at most three arguments. What the operations do on a GPU is in `device`.

mod basis;
mod conv;
#[cfg(any(feature = "train-cuda", test))]
mod device;
mod head;
mod host;
mod input;
mod layer;
mod matrix;
#[cfg(target_arch = "x86_64")]
mod product;
mod real;
mod reflection;
mod reverse;
#[cfg(target_arch = "x86_64")]
mod square;

pub use basis::frame_basis;
pub use conv::{Geometry, conv1d};
pub use head::{HeadOptions, head_logits, head_nll};
pub use input::{InputSizes, decoder_input};
pub use layer::{gated_layer, gated_stack};
pub use reflection::reflection_to_taps;
pub use reverse::reverse_gradient;

#[cfg(feature = "train-cuda")]
pub(crate) use device::{
    card::{Products as CardProducts, follow as follow_on_card, with_tensors as with_tensors_on_card},
    optimizer::{Step as AdamStep, Table as AdamTable},
};

#[cfg(test)]
mod tests;
