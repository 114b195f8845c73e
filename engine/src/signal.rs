//! What is done to sound. Pure, streaming, each stage tells its delay.
