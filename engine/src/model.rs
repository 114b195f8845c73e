//! The networks as candle graphs: used to train and as the reference.

pub mod ops;
