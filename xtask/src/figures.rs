//! What several programs took for the same thing, each in its turns.

use serde_json::{Value, json};

/// Least figure of each, in the order in which they were first heard of.
pub struct Figures {
    ours: &'static str,
    least: Vec<(String, f64)>,
}

impl Figures {
    /// None yet; what is called `ours` is the measure of all.
    pub fn beside(ours: &'static str) -> Self {
        Self { ours, least: Vec::new() }
    }

    /// Takes lines of a name, a tab and a number; others are not figures.
    pub fn add(&mut self, lines: &str) {
        for line in lines.lines() {
            let Some((name, figure)) = line.split_once('\t') else { continue };
            let Ok(figure) = figure.trim().parse::<f64>() else { continue };
            match self.least.iter_mut().find(|(known, _)| known == name) {
                Some((_, least)) => *least = least.min(figure),
                None => self.least.push((name.into(), figure)),
            }
        }
    }

    /// Name, least figure, and that as a multiple of ours.
    pub fn times(&self) -> impl Iterator<Item = (&str, f64, f64)> {
        let ours =
            self.least.iter().find(|(name, _)| name == self.ours).map_or(f64::NAN, |(_, figure)| *figure);
        self.least.iter().map(move |(name, figure)| (name.as_str(), *figure, figure / ours))
    }

    /// A line for each.
    pub fn table(&self) -> String {
        self.times()
            .map(|(name, figure, times)| format!("  {name:<30} {figure:>12.2} {times:>9.1}\n"))
            .collect()
    }

    /// The same for programs; `key` says what the figure is.
    pub fn json(&self, key: &str) -> Value {
        self.times()
            .map(|(name, figure, times)| json!({ "name": name, key: figure, "times_ours": times }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_counts_and_ours_is_the_measure() {
        let mut figures = Figures::beside("falsetto");
        figures.add("warming up\nfalsetto\t12.0\ncandle\t300\n");
        figures.add("falsetto\t10.0\ncandle\t400\nbroken\tline\n");
        let times: Vec<_> = figures.times().collect();
        assert_eq!(times, [("falsetto", 10.0, 1.0), ("candle", 300.0, 30.0)]);
        assert!(figures.table().contains("candle"));
        let wanted = json!({ "name": "candle", "us_min": 300.0, "times_ours": 30.0 });
        assert_eq!(figures.json("us_min")[1], wanted);
    }
}
