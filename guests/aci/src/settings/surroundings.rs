//! Environment and files.

use std::{fs, io::Read as _};

use vk_sdk::{Error, Result};

/// The largest file of credentials, in bytes.
const LARGEST: u64 = 256 * 1024;

pub(super) trait Surroundings {
    /// A variable, if it is set and not empty.
    fn variable(&self, name: &str) -> Option<String>;

    /// A file, for what `purpose` says.
    fn file(&self, path: &str, purpose: &str) -> Result<Vec<u8>>;
}

/// What the operator has granted to the component.
pub(super) struct Wasi;

impl Surroundings for Wasi {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    fn file(&self, path: &str, purpose: &str) -> Result<Vec<u8>> {
        let problem = |problem: String| {
            Error::invalid(format!(
                "{purpose}: cannot read {path:?}: {problem}; check the path, and that sandbox.read grants its directory"
            ))
        };
        let file = fs::File::open(path).map_err(|error| problem(error.to_string()))?;
        let mut content = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut content).map_err(|error| problem(error.to_string()))?;
        if content.len() as u64 > LARGEST {
            return Err(problem(format!("it has more than {LARGEST} bytes")));
        }
        Ok(content)
    }
}
