//! Between the host's rate and the model's.
