//! Where the singers of the built-in bank are at home, as its file says.

use std::collections::HashMap;
use std::fs;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::error::{ChoreError, Result};
use crate::workspace::root;

const BANK: &str = "assets/voices/default.safetensors";
/// The entry of the file's metadata that holds the bank's card as JSON.
const CARD: &str = "falsetto.card";

/// Median F0 in Hz of each singer, by name.
pub fn homes_hz() -> Result<HashMap<String, f64>> {
    let path = root().join(BANK);
    let bytes = fs::read(&path).map_err(|source| ChoreError::File { path: path.clone(), source })?;
    of_bank(&bytes).map_err(|reason| ChoreError::Bank { path, reason })
}

fn of_bank(bytes: &[u8]) -> std::result::Result<HashMap<String, f64>, String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let card = header.metadata().as_ref().and_then(|entries| entries.get(CARD)).ok_or("it has no card")?;
    let card: Value = serde_json::from_str(card).map_err(|error| error.to_string())?;
    let singers = card["singers"].as_array().ok_or("its card names no singers")?;
    let home = |singer: &Value| Some((singer["name"].as_str()?.to_owned(), singer["median_f0_hz"].as_f64()?));
    singers.iter().map(home).collect::<Option<_>>().ok_or_else(|| "a singer has no home".to_owned())
}

/// The octaves, in semitones, that bring a take of one median F0 nearest to a singer's home: what *Fit octave* does in
/// the editor.
pub fn fitted_octave(take_hz: f64, home_hz: f64) -> f64 {
    // Plus zero, since minus zero would be shown as such.
    12.0 * (home_hz / take_hz).log2().round() + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_singers_have_homes_within_the_voice() {
        let homes_hz = homes_hz().expect("the built-in bank");
        assert!(homes_hz.len() > 1 && homes_hz.values().all(|home_hz| (80.0..600.0).contains(home_hz)));
        assert_eq!(fitted_octave(220.0, homes_hz["nit"]), 12.0);
    }

    #[test]
    fn what_is_no_bank_is_told() {
        assert!(of_bank(b"{}").is_err());
    }
}
