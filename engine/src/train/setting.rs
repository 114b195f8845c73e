//! One value of a recipe, set from outside: `training.batch=4`.

use std::str::FromStr;

use thiserror::Error;

/// A recipe's key, with dots between tables, and the value that takes the place of the recipe's.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    key: String,
    /// None takes the key out.
    value: Option<toml::Value>,
}

/// Why a setting was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingError {
    /// It has no `=` or no key.
    #[error("`{0}` sets nothing: expected KEY=VALUE, or KEY= to take the key out")]
    Form(String),
    /// The value is not of the recipe's language.
    #[error("`{text}`: {reason} (values are written as in the recipe, texts in quotes)")]
    Value {
        /// The setting.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// The key lies in something that is no table.
    #[error("`{key}` cannot be set: `{part}` is no table of the recipe")]
    NoTable {
        /// The key.
        key: String,
        /// The part of it that has no keys.
        part: String,
    },
    /// There is no such key to take out.
    #[error("`{0}` cannot be taken out: the recipe has none")]
    NoKey(String),
}

impl FromStr for Setting {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let form = || SettingError::Form(text.into());
        let (key, value) = text.split_once('=').ok_or_else(form)?;
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() || key.split('.').any(str::is_empty) {
            return Err(form());
        }
        let value = match value {
            "" => None,
            value => Some(value.parse().map_err(|error: toml::de::Error| SettingError::Value {
                text: text.into(),
                reason: error.message().into(),
            })?),
        };
        Ok(Self { key: key.into(), value })
    }
}

impl Setting {
    /// Puts the value into a recipe; a table that is not there yet is made.
    pub(crate) fn apply(&self, recipe: &mut toml::Table) -> Result<(), SettingError> {
        let (tables, last) = self.key.rsplit_once('.').unwrap_or(("", &self.key));
        let mut table = recipe;
        for part in tables.split('.').filter(|part| !part.is_empty()) {
            let no_table = || SettingError::NoTable { key: self.key.clone(), part: part.into() };
            let inner = table.entry(part).or_insert_with(|| toml::Table::new().into());
            table = inner.as_table_mut().ok_or_else(no_table)?;
        }
        match &self.value {
            Some(value) => _ = table.insert(last.into(), value.clone()),
            None => _ = table.remove(last).ok_or_else(|| SettingError::NoKey(self.key.clone()))?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(recipe: &str, setting: &str) -> Result<String, SettingError> {
        let mut table: toml::Table = recipe.parse().unwrap();
        setting.parse::<Setting>()?.apply(&mut table)?;
        Ok(table.to_string())
    }

    #[test]
    fn values_take_the_place_of_the_recipes() {
        assert_eq!(set("a = 1", "a=2").unwrap(), "a = 2\n");
        assert_eq!(set("[b]\na = 1", "b.a = 'x=y'").unwrap(), "[b]\na = \"x=y\"\n");
        assert_eq!(set("", "b.a=[0, 1.5]").unwrap(), "[b]\na = [0, 1.5]\n");
        assert_eq!(set("a = 1\nb = 2", "a=").unwrap(), "b = 2\n");
    }

    #[test]
    fn what_cannot_be_set_is_named() {
        let told = |recipe: &str, setting: &str| set(recipe, setting).unwrap_err().to_string();
        assert!(told("", "steps").contains("`steps` sets nothing"));
        assert!(told("", "a..b=1").contains("`a..b=1` sets nothing"));
        assert!(told("", "a=word").contains("`a=word`: "));
        assert!(told("a = 1", "a.b=2").contains("`a` is no table"));
        assert!(told("", "a=").contains("`a` cannot be taken out"));
    }
}
