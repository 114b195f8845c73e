//! Singers' embeddings in a bank lie further apart than training put them: a voice a little more like its singer than the
//! recordings makes up for what still comes through of the take's own singer.

/// Others that a singer is most easily taken for.
const NEAREST: usize = 2;
/// Rounds of taking a contrast back; each leaves at most half of the error.
const ROUNDS: usize = 32;

/// How much further apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Emphasis {
    /// Distance from the mean of all singers over the one that was trained.
    pub(crate) from_mean: f32,
    /// Share of the way that leads away from the mean of the two nearest others, on top; 0 to 1.
    pub(crate) from_nearest: f32,
}

impl Emphasis {
    /// Embeddings as they were trained.
    pub(crate) const NONE: Self = Self { from_mean: 1.0, from_nearest: 0.0 };

    /// Embeddings, `[singers][width]`, as a bank has them.
    pub(crate) fn put_on(self, trained: &[f32], width: usize) -> Vec<f32> {
        let scaled = scaled(trained, width, self.from_mean);
        let beside = means_of(&neighbours(&scaled, width), &scaled, width);
        let pairs = scaled.iter().zip(beside);
        pairs.map(|(value, beside)| value + self.from_nearest * (value - beside)).collect()
    }

    /// The embeddings that [`put_on`](Self::put_on) was given, if singers are nearest to the same others before and after it.
    pub(crate) fn taken_back(self, emphasised: &[f32], width: usize) -> Vec<f32> {
        let share = self.from_nearest;
        let neighbours = neighbours(emphasised, width);
        let mut values = emphasised.to_vec();
        for _ in 0..ROUNDS {
            let beside = means_of(&neighbours, &values, width);
            let pairs = emphasised.iter().zip(&beside);
            values = pairs.map(|(value, beside)| (value + share * beside) / (1.0 + share)).collect();
        }
        scaled(&values, width, 1.0 / self.from_mean)
    }
}

/// Every singer moved away from the mean of all.
fn scaled(embeddings: &[f32], width: usize, factor: f32) -> Vec<f32> {
    let singers = (embeddings.len() / width.max(1)).max(1) as f32;
    let mean = |channel: usize| embeddings.iter().skip(channel).step_by(width).sum::<f32>() / singers;
    let means: Vec<f32> = (0..width).map(mean).collect();
    embeddings.iter().zip(means.iter().cycle()).map(|(value, mean)| mean + factor * (value - mean)).collect()
}

/// Of each singer the others who are nearest; himself where there is nobody else.
fn neighbours(embeddings: &[f32], width: usize) -> Vec<Vec<usize>> {
    let rows: Vec<&[f32]> = embeddings.chunks_exact(width.max(1)).collect();
    let of = |singer: usize| {
        let distance = |other: &usize| -> f32 {
            rows[singer].iter().zip(rows[*other]).map(|(a, b)| (a - b) * (a - b)).sum()
        };
        let mut others: Vec<usize> = (0..rows.len()).filter(|other| *other != singer).collect();
        others.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
        others.truncate(NEAREST);
        if others.is_empty() { vec![singer] } else { others }
    };
    (0..rows.len()).map(of).collect()
}

/// For each group of singers the mean of their embeddings.
fn means_of(groups: &[Vec<usize>], embeddings: &[f32], width: usize) -> Vec<f32> {
    let mean = |group: &Vec<usize>, channel: usize| {
        group.iter().map(|singer| embeddings[singer * width + channel]).sum::<f32>() / group.len() as f32
    };
    groups.iter().flat_map(|group| (0..width).map(move |channel| mean(group, channel))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three singers close together on a line, one far away.
    const TRAINED: [f32; 8] = [0.0, 0.0, 1.0, 0.0, 2.0, 0.0, 0.0, 9.0];

    #[test]
    fn a_singer_moves_away_from_all_and_further_from_the_two_nearest() {
        let plain = Emphasis { from_mean: 2.0, from_nearest: 0.0 }.put_on(&TRAINED, 2);
        // The mean is (0.75, 2.25).
        assert_eq!(plain, [-0.75, -2.25, 1.25, -2.25, 3.25, -2.25, -0.75, 15.75]);
        let apart = Emphasis { from_mean: 1.0, from_nearest: 0.5 }.put_on(&TRAINED, 2);
        // The first: away from (1.5, 0); the second stands half way between its two and stays.
        assert_eq!(apart[..6], [-0.75, 0.0, 1.0, 0.0, 2.75, 0.0]);
        assert_eq!(apart[6..], [-0.25, 13.5]);
    }

    #[test]
    fn what_was_put_on_is_taken_back() {
        let emphasis = Emphasis { from_mean: 1.5, from_nearest: 0.3 };
        let back = emphasis.taken_back(&emphasis.put_on(&TRAINED, 2), 2);
        assert!(back.iter().zip(TRAINED).all(|(a, b)| (a - b).abs() < 1e-5), "{back:?}");
        for alone in [&[][..], &[3.0, 4.0]] {
            for same in [emphasis.put_on(alone, 2), emphasis.taken_back(alone, 2)] {
                assert_eq!(same.len(), alone.len());
                assert!(same.iter().zip(alone).all(|(a, b)| (a - b).abs() < 1e-5), "{same:?}");
            }
        }
    }
}
