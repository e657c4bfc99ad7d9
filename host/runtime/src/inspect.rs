//! What a component is, in its author's words: what it imports and exports, and what that lacks.

use std::fmt;

/// What [`inspect`](crate::inspect()) found. Its `Display` is a report of a few lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Size of the component in bytes.
    pub wasm_bytes: usize,
    /// The version track of `vk:provider` that it uses, such as `0.1`; `None` if it does not use that package.
    pub track: Option<String>,
    /// What it needs of the host, in order of name.
    pub imports: Vec<Import>,
    /// What it offers, in order of name; what the host does not know it ignores.
    pub exports: Vec<String>,
    /// Required interfaces that it does not export.
    pub missing: Vec<&'static str>,
    /// Optional interfaces that it exports: `logs`, `sessions`, `stats`.
    pub optional: Vec<&'static str>,
    /// What is wrong, one sentence each with its remedy; empty if the component satisfies the world.
    pub problems: Vec<String>,
}

impl Inspection {
    /// Whether the component satisfies the world `vk:provider/provider`.
    pub fn satisfied(&self) -> bool {
        self.problems.is_empty()
    }
}

/// An import of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its name, such as `wasi:http/types@0.2.6`.
    pub name: String,
    /// Whether the host offers it.
    pub offered: bool,
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.track {
            Some(track) => writeln!(f, "contract: vk:provider {track}")?,
            None => writeln!(f, "contract: none")?,
        }
        writeln!(f, "size: {} bytes", self.wasm_bytes)?;
        writeln!(f, "optional interfaces: {}", list(&self.optional))?;
        writeln!(f, "imports:")?;
        for Import { name, offered } in &self.imports {
            writeln!(f, "  {name}{}", if *offered { "" } else { "  (not offered)" })?;
        }
        writeln!(f, "exports:")?;
        for name in &self.exports {
            writeln!(f, "  {name}")?;
        }
        if self.satisfied() {
            return write!(f, "it satisfies the world vk:provider/provider@0.1.0");
        }
        write!(f, "it does not satisfy the world vk:provider/provider@0.1.0:")?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
