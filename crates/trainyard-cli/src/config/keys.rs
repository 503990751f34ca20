//! The clouds' keys: from `RUNPOD_API_KEY`, `LAMBDA_API_KEY` and `VAST_API_KEY`, else from files that the
//! configuration names. Never from a flag, and never printed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::{Environment, ProvidersSection};
use crate::exit::Failure;

/// Most of a key's file that is read, in bytes. Keys have about a hundred.
const KEY_BYTES_MAX: u64 = 4096;

/// Where the keys are. `Debug` shows none.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) runpod: Option<Key>,
    pub(crate) lambda: Option<Key>,
    pub(crate) vastai: Option<Key>,
}

/// Where a key is.
#[derive(Debug)]
pub(crate) enum Key {
    /// It stood in the environment.
    Here(SecretString),
    /// It stands in a file.
    File(PathBuf),
}

impl Keys {
    /// Looks where they are; the environment wins over a file, and nothing said is no key.
    pub(crate) fn of(providers: &ProvidersSection, environment: &Environment) -> Result<Keys, Failure> {
        let key = |variable: &str, file: &Option<PathBuf>| match (environment.get(variable), file) {
            (Some(key), _) => one(key, variable).map(|key| Some(Key::Here(key))),
            (None, Some(path)) => Ok(Some(Key::File(path.clone()))),
            (None, None) => Ok(None),
        };
        Ok(Keys {
            runpod: key("RUNPOD_API_KEY", &providers.runpod.key_file)?,
            lambda: key("LAMBDA_API_KEY", &providers.lambda.key_file)?,
            vastai: key("VAST_API_KEY", &providers.vastai.key_file)?,
        })
    }
}

impl Key {
    /// The key itself. A file that is named and cannot be read is an error.
    #[cfg_attr(
        not(any(feature = "runpod", feature = "lambda", feature = "vastai")),
        expect(dead_code, reason = "no cloud is built in")
    )]
    pub(crate) fn read(&self) -> Result<SecretString, Failure> {
        match self {
            Key::Here(key) => Ok(key.clone()),
            Key::File(path) => of_file(path),
        }
    }
}

fn of_file(path: &Path) -> Result<SecretString, Failure> {
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(KEY_BYTES_MAX).read_to_string(&mut text)).map_err(
        |error| Failure::usage(format!("the key's file `{}` cannot be read", path.display())).because(&error),
    )?;
    one(&text, &path.display().to_string())
}

/// A key is one word: whatever else stands there was not meant as one, and must not go into a header.
fn one(text: &str, place: &str) -> Result<SecretString, Failure> {
    let key = text.trim();
    if key.is_empty() || key.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err(Failure::usage(format!("what {place} holds is no key"))
            .hint("it must hold the key and nothing else, in one line"));
    }
    Ok(key.to_owned().into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn the_environment_wins_over_a_file_and_neither_is_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from-a-file\n").unwrap();
        let mut providers = ProvidersSection::default();
        providers.runpod.key_file = Some(file.path().to_owned());
        providers.vastai.key_file = Some(file.path().to_owned());
        let keys = Keys::of(&providers, &Environment::of(&[("RUNPOD_API_KEY", "from-outside")])).unwrap();
        let read = |key: &Option<Key>| {
            key.as_ref().map(|key| key.read().unwrap().expose_secret().to_owned()).unwrap_or_default()
        };
        assert_eq!(read(&keys.runpod), "from-outside");
        assert_eq!(read(&keys.vastai), "from-a-file");
        assert!(keys.lambda.is_none());
        let shown = format!("{keys:?}");
        assert!(!shown.contains("from-"), "{shown}");
    }

    #[test]
    fn what_is_no_key_is_named_by_its_place_alone() {
        let variables = Environment::of(&[("LAMBDA_API_KEY", "two words")]);
        let failure = Keys::of(&ProvidersSection::default(), &variables).unwrap_err();
        assert!(failure.to_string().contains("LAMBDA_API_KEY"), "{failure}");
        assert!(!failure.to_string().contains("two words"), "{failure}");
        let mut providers = ProvidersSection::default();
        providers.lambda.key_file = Some("/nowhere/at/all".into());
        let keys = Keys::of(&providers, &Environment::of(&[])).unwrap();
        assert!(keys.lambda.unwrap().read().is_err());
    }
}
