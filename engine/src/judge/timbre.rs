//! Which of several singers a sound is nearest to.
//!
//! One Gaussian with a full covariance over the mel cepstra of each singer's voiced frames; a sound belongs to the singer
//! under whom its frames are likeliest on average. Plain, but it knows nothing of the network that it judges.

use super::spectrum::{CEPSTRA, Cepstra};

type Matrix = [[f64; CEPSTRA]; CEPSTRA];

/// Share of the covariance that is kept off the diagonal, and what is added on it: few frames must not make it singular.
const OFF_DIAGONAL: f64 = 0.9;
const DIAGONAL_FLOOR: f64 = 0.02;
/// Fewest frames that a singer can be known from, or a sound judged by.
const FEWEST_FRAMES: usize = 40;

/// What is known of some singers' timbres.
pub struct SingerModels {
    names: Vec<String>,
    models: Vec<Gaussian>,
}

impl SingerModels {
    /// Learns the singers from their frames; the name of the first who has too few of them where there is one.
    pub fn learn(singers: Vec<(String, Cepstra)>) -> Result<Self, String> {
        let (mut names, mut models) = (Vec::new(), Vec::new());
        for (name, frames) in singers {
            let Some(model) = Gaussian::fit(&frames) else { return Err(name) };
            names.push(name);
            models.push(model);
        }
        Ok(Self { names, models })
    }

    /// The singers, in the order of the scores.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Mean log likelihood per frame under each singer, up to a constant; none for a sound with too few voiced frames.
    pub fn scores(&self, frames: &Cepstra) -> Option<Vec<f64>> {
        (frames.len() >= FEWEST_FRAMES / 2).then(|| {
            let mean = |model: &Gaussian| {
                frames.iter().map(|frame| model.log_likelihood(frame)).sum::<f64>() / frames.len() as f64
            };
            self.models.iter().map(mean).collect()
        })
    }
}

struct Gaussian {
    mean: [f64; CEPSTRA],
    /// Lower triangle of Cholesky's factor of the covariance.
    factor: Matrix,
    /// Logarithm of the covariance's determinant.
    ln_determinant: f64,
}

impl Gaussian {
    fn fit(frames: &Cepstra) -> Option<Self> {
        if frames.len() < FEWEST_FRAMES {
            return None;
        }
        let count = frames.len() as f64;
        let mean: [f64; CEPSTRA] =
            std::array::from_fn(|i| frames.iter().map(|frame| frame[i]).sum::<f64>() / count);
        let mut covariance = [[0.0; CEPSTRA]; CEPSTRA];
        for frame in frames {
            for i in 0..CEPSTRA {
                for j in 0..=i {
                    covariance[i][j] += (frame[i] - mean[i]) * (frame[j] - mean[j]) / (count - 1.0);
                }
            }
        }
        for (i, row) in covariance.iter_mut().enumerate() {
            row[..i].iter_mut().for_each(|value| *value *= OFF_DIAGONAL);
            row[i] += DIAGONAL_FLOOR;
        }
        let factor = cholesky(&covariance)?;
        let ln_determinant = (0..CEPSTRA).map(|i| 2.0 * factor[i][i].ln()).sum();
        Some(Self { mean, factor, ln_determinant })
    }

    fn log_likelihood(&self, frame: &[f64; CEPSTRA]) -> f64 {
        // Solves factor . x = frame - mean; the squared length of x is Mahalanobis' distance.
        let mut solved = [0.0; CEPSTRA];
        for i in 0..CEPSTRA {
            let known: f64 = (0..i).map(|j| self.factor[i][j] * solved[j]).sum();
            solved[i] = (frame[i] - self.mean[i] - known) / self.factor[i][i];
        }
        -0.5 * (solved.iter().map(|x| x * x).sum::<f64>() + self.ln_determinant)
    }
}

/// The lower triangle whose product with its transpose is the matrix, of which only the lower triangle is read.
fn cholesky(matrix: &Matrix) -> Option<Matrix> {
    let mut factor = [[0.0; CEPSTRA]; CEPSTRA];
    for i in 0..CEPSTRA {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| factor[i][k] * factor[j][k]).sum();
            let rest = matrix[i][j] - known;
            if i == j {
                if rest <= 0.0 {
                    return None;
                }
                factor[i][i] = rest.sqrt();
            } else {
                factor[i][j] = rest / factor[j][j];
            }
        }
    }
    Some(factor)
}
