//! Sound in, sound out, one hop at a time.
