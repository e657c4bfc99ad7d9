//! What a pod asks for and the backend cannot do.

use std::{collections::HashMap, fmt::Write as _};

use super::Manifest;
use crate::{Error, Result};

/// The annotation with the names of fields that may be passed over, separated by commas or blanks.
pub const IGNORE: &str = "vk-host.dev/ignore";

/// How many bytes of reasons a message has, so that the host, which cuts it at 4 KiB, leaves the remedy.
const LONGEST: usize = 3_500;

/// Collects the fields that the backend cannot honour, so that a pod is refused once, with all of them named, and not
/// once for each.
///
/// A field is named by its path, with names in brackets where there are several: `spec.hostNetwork`,
/// `spec.containers[web].securityContext.privileged`. The annotation [`IGNORE`] lifts the refusal of the fields that it
/// lists, with the names in brackets or without: `spec.containers.securityContext` stands for the field in every
/// container, and for all that is below it.
///
/// ```
/// use vk_sdk::manifest::{Manifest, Refusals};
///
/// let manifest = Manifest::parse(r#"{"metadata": {"annotations": {"vk-host.dev/ignore": "spec.hostIPC"}}}"#).unwrap();
/// let mut refusals = Refusals::new(&manifest);
/// refusals.refuse("spec.hostIPC", "there is no node");
/// refusals.refuse("spec.hostNetwork", "there is no node");
/// let error = refusals.finish().unwrap_err();
/// assert!(error.message.starts_with("spec.hostNetwork: there is no node; "));
/// ```
#[derive(Debug, Default)]
pub struct Refusals {
    ignore: Vec<String>,
    refused: Vec<(String, String)>,
    passed_over: Vec<String>,
}

impl Refusals {
    /// Those of a pod: none yet.
    pub fn new(manifest: &Manifest) -> Self {
        let listed = manifest.annotation(IGNORE).unwrap_or_default();
        let ignore = listed.split(|char: char| char == ',' || char.is_whitespace()).filter(|name| !name.is_empty());
        Self { ignore: ignore.map(str::to_owned).collect(), ..Self::default() }
    }

    /// Adds a field that cannot be honoured, and why. The caller goes on as if it were not set: the pod is refused at
    /// the [end](Self::finish), or runs without it.
    pub fn refuse(&mut self, field: impl Into<String>, why: impl Into<String>) {
        let field = field.into();
        if self.ignore.iter().any(|name| covers(name, &field)) {
            self.passed_over.push(field);
        } else {
            self.refused.push((field, why.into()));
        }
    }

    /// The fields that are passed over as the pod's annotation has it.
    ///
    /// # Errors
    ///
    /// [`unsupported`](Error::unsupported), naming all fields that are not, and the remedy.
    pub fn finish(self) -> Result<Vec<String>> {
        if self.refused.is_empty() {
            return Ok(self.passed_over);
        }
        let mut message = String::new();
        let mut left = self.refused.len();
        for (why, fields) in by_reason(&self.refused) {
            let line = format!("{}: {why}; ", fields.join(", "));
            // The first is said in any case.
            if !message.is_empty() && message.len() + line.len() > LONGEST {
                break;
            }
            message.push_str(&line);
            left -= fields.len();
        }
        // Writing to a String cannot fail.
        _ = match left {
            0 => Ok(()),
            _ => write!(message, "and {left} more; "),
        };
        _ = write!(message, "to run the pod without a field, list its name in the annotation {IGNORE}");
        Err(Error::unsupported(message))
    }
}

/// The fields of each reason, in the order in which the reasons came first.
fn by_reason(refused: &[(String, String)]) -> Vec<(&str, Vec<&str>)> {
    let mut places = HashMap::new();
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for (field, why) in refused {
        let place = *places.entry(why.as_str()).or_insert(reasons.len());
        match reasons.get_mut(place) {
            Some((_, fields)) => fields.push(field),
            None => reasons.push((why, vec![field])),
        }
    }
    reasons
}

/// Whether a name is that of the field or of one that it is in. What the field has in brackets the name need not have.
fn covers(name: &str, field: &str) -> bool {
    let (mut name, mut field) = (name.chars(), field.chars());
    loop {
        let (named, found) = (name.as_str(), field.as_str());
        if named.is_empty() {
            return found.is_empty() || found.starts_with(['.', '[']);
        }
        if found.starts_with('[') && !named.starts_with('[') {
            // Up to and with the bracket that closes.
            if !field.any(|char| char == ']') {
                return false;
            }
        } else if name.next() != field.next() {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusals(ignore: &str) -> Refusals {
        let mut manifest = Manifest::default();
        manifest.metadata.annotations.insert(IGNORE.into(), ignore.into());
        Refusals::new(&manifest)
    }

    #[test]
    fn one_error_names_every_field_and_the_remedy() {
        let mut refusals = Refusals::new(&Manifest::default());
        refusals.refuse("spec.hostNetwork", "there is no node");
        refusals.refuse("spec.containers[web].workingDir", "the image decides");
        refusals.refuse("spec.hostIPC", "there is no node");
        let error = refusals.finish().unwrap_err();
        assert_eq!(error.kind, crate::ErrorKind::Unsupported);
        assert_eq!(
            error.message,
            "spec.hostNetwork, spec.hostIPC: there is no node; spec.containers[web].workingDir: the image decides; \
             to run the pod without a field, list its name in the annotation vk-host.dev/ignore"
        );
    }

    #[test]
    fn the_remedy_is_within_what_the_host_keeps_of_a_message() {
        let mut refusals = Refusals::new(&Manifest::default());
        for number in 0..500 {
            refusals.refuse(format!("spec.containers[c{number}].workingDir"), format!("the image decides ({number})"));
        }
        let message = refusals.finish().unwrap_err().message;
        assert!(message.len() < 4_096 && message.contains(" more; to run the pod without"), "{message}");
    }

    #[test]
    fn the_annotation_lifts_fields_by_path_by_kind_and_by_what_they_are_in() {
        let field = "spec.containers[web.1].ports[80].hostPort";
        for (ignore, lifted) in [
            (field, true),
            ("spec.hostIPC, spec.containers.ports.hostPort", true),
            ("spec.hostIPC\n\tspec.containers.ports", true),
            ("spec.containers[web.1].ports.hostPort", true),
            ("spec.containers.ports[80]", true),
            ("spec.containers.ports[8]", false),
            ("spec.containers[web.1]", true),
            ("spec.containers", true),
            ("spec.containers[web]", false),
            ("spec.containers[web.1].ports[80].host", false),
            ("spec.containers[web.1", false),
            ("spec.container", false),
            ("ports.hostPort", false),
            (" ,, ", false),
        ] {
            let mut refusals = refusals(ignore);
            refusals.refuse(field, "no");
            match refusals.finish() {
                Ok(passed_over) => assert!(lifted && passed_over == [field], "{ignore}"),
                Err(_) => assert!(!lifted, "{ignore}"),
            }
        }
    }
}
