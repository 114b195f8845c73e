//! Which frame of a codebook a latent frame falls to.

/// Index of the row of `codebook` (`[codes][frame.len()]`) that lies nearest to `frame`; the first of several.
/// Distances are sums of squares in `f32`, one fused multiply-add a value in ascending order, so that the trainer and
/// the stream agree to the bit.
pub(crate) fn nearest_code(codebook: &[f32], frame: &[f32]) -> usize {
    let mut best = (0, f32::INFINITY);
    for (code, row) in codebook.chunks_exact(frame.len()).enumerate() {
        let distance = row.iter().zip(frame).fold(0.0f32, |sum, (a, b)| (a - b).mul_add(a - b, sum));
        if distance < best.1 {
            best = (code, distance);
        }
    }
    best.0
}
