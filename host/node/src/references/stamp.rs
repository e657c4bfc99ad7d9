//! What of a pod was handed to the provider, told by its parts.
//!
//! While the process lives, contents are compared by keyed hashes ([`Fingerprint`]), so that a change of an object's
//! labels is no change of a volume. After a restart only the pod's condition remains, which more people may read than
//! secrets: its [`Stamp`] is made of public data and the versions of objects, from which nothing can be guessed.

use std::{
    fmt,
    str::FromStr,
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use k8s_openapi::api::core::v1::Pod;
use sha2::{Digest as _, Sha256};
use vk_provider::{Aspects, Login, Volume};

use super::volumes::Draft;

/// Begins every stamp; another one means that what the parts cover changed.
const VERSION: &str = "1";

/// Enough that two different pods never look the same by chance.
type Part = [u8; 12];

/// By content, for comparison within the life of this process. Never leaves it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint(Parts);

/// By version of the objects, as short text that may be public: it tells nothing about contents of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    parts: Parts,
    /// Seconds since 1970.
    renew_at: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parts {
    metadata: Part,
    spec: Part,
    volumes: Part,
    logins: Part,
}

impl Parts {
    fn changed_since(&self, earlier: &Parts) -> Aspects {
        Aspects {
            metadata: self.metadata != earlier.metadata,
            spec: self.spec != earlier.spec,
            volumes: self.volumes != earlier.volumes,
            logins: self.logins != earlier.logins,
        }
    }
}

impl Fingerprint {
    /// `refreshed` says of each volume whether containers see its changes.
    pub(super) fn new(stamp: &Stamp, volumes: &[Volume], refreshed: &[bool], logins: &[Login]) -> Fingerprint {
        let mut of_volumes = Hash::keyed();
        for (volume, _) in volumes.iter().zip(refreshed).filter(|(_, refreshed)| **refreshed) {
            of_volumes.text(&volume.name).number(volume.files.len());
            for file in &volume.files {
                of_volumes.text(&file.path).number(file.mode as usize).bytes(&file.data);
            }
        }
        let mut of_logins = Hash::keyed();
        for login in logins {
            of_logins.text(&login.server).text(&login.username).text(&login.password);
            of_logins.text(login.identity_token.as_deref().unwrap_or_default());
        }
        Fingerprint(Parts { volumes: of_volumes.part(), logins: of_logins.part(), ..stamp.parts })
    }

    /// What differs between what was handed over earlier and this.
    pub(crate) fn changed_since(&self, earlier: &Fingerprint) -> Aspects {
        self.0.changed_since(&earlier.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fingerprint").finish_non_exhaustive()
    }
}

impl Stamp {
    pub(super) fn new(pod: &Pod, drafts: &[Draft], logins: &str) -> Result<Stamp, serde_json::Error> {
        let mut metadata = Hash::public();
        for map in [&pod.metadata.labels, &pod.metadata.annotations] {
            metadata.number(map.as_ref().map_or(0, |map| map.len()));
            for (key, value) in map.iter().flatten() {
                metadata.text(key).text(value);
            }
        }
        let mut spec = Hash::public();
        spec.bytes(&serde_json::to_vec(&pod.spec)?);
        let mut volumes = Hash::public();
        for draft in drafts.iter().filter(|draft| draft.refreshed) {
            volumes.text(&draft.name).text(&draft.versions);
        }
        let mut of_logins = Hash::public();
        of_logins.text(logins);
        let parts =
            Parts { metadata: metadata.part(), spec: spec.part(), volumes: volumes.part(), logins: of_logins.part() };
        Ok(Stamp { parts, renew_at: None })
    }

    /// With the time when the pod's tokens are to be renewed.
    pub(super) fn renewed_after(self, after: Option<Duration>) -> Stamp {
        let renew_at = after.and_then(|after| (SystemTime::now() + after).duration_since(SystemTime::UNIX_EPOCH).ok());
        Stamp { renew_at: renew_at.map(|since| since.as_secs()), ..self }
    }

    /// What differs between what was handed over earlier and this; tokens never count.
    pub(crate) fn changed_since(&self, earlier: &Stamp) -> Aspects {
        self.parts.changed_since(&earlier.parts)
    }

    /// When the tokens that were handed over are to be renewed: the pod must be resolved and handed over again by then,
    /// also by a later process.
    pub(crate) fn renew_at(&self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.renew_at?))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { metadata, spec, volumes, logins } = &self.parts;
        f.write_str(VERSION)?;
        for part in [metadata, spec, volumes, logins] {
            write!(f, ".{}", URL_SAFE_NO_PAD.encode(part))?;
        }
        self.renew_at.map_or(Ok(()), |seconds| write!(f, ".{seconds}"))
    }
}

/// The text is not a stamp, or one of another version of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a stamp of this version")]
pub(crate) struct StampError;

impl FromStr for Stamp {
    type Err = StampError;

    fn from_str(text: &str) -> Result<Stamp, StampError> {
        let mut words = text.split('.');
        if words.next() != Some(VERSION) {
            return Err(StampError);
        }
        let mut part = || -> Result<Part, StampError> {
            let bytes = URL_SAFE_NO_PAD.decode(words.next().ok_or(StampError)?).map_err(|_| StampError)?;
            bytes.try_into().map_err(|_| StampError)
        };
        let parts = Parts { metadata: part()?, spec: part()?, volumes: part()?, logins: part()? };
        let renew_at = words.next().map(str::parse).transpose().map_err(|_| StampError)?;
        if words.next().is_some() {
            return Err(StampError);
        }
        Ok(Stamp { parts, renew_at })
    }
}

/// A hash of a sequence of values, each with its length, so that their borders count.
struct Hash(Sha256);

impl Hash {
    fn public() -> Hash {
        Hash(Sha256::new())
    }

    /// Means something to this process only.
    fn keyed() -> Hash {
        static KEY: LazyLock<[u8; 32]> = LazyLock::new(rand::random);
        Hash(Sha256::new_with_prefix(*KEY))
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Hash {
        self.number(bytes.len());
        self.0.update(bytes);
        self
    }

    fn text(&mut self, text: &str) -> &mut Hash {
        self.bytes(text.as_bytes())
    }

    fn number(&mut self, number: usize) -> &mut Hash {
        self.0.update((number as u64).to_le_bytes());
        self
    }

    fn part(self) -> Part {
        let mut part = Part::default();
        for (target, byte) in part.iter_mut().zip(self.0.finalize()) {
            *target = byte;
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts() -> impl Strategy<Value = Parts> {
        any::<[Part; 4]>().prop_map(|[metadata, spec, volumes, logins]| Parts { metadata, spec, volumes, logins })
    }

    proptest! {
        #[test]
        fn a_stamp_survives_its_text(parts in parts(), renew_at: Option<u64>) {
            let stamp = Stamp { parts, renew_at };
            let text = stamp.to_string();
            prop_assert!(text.len() < 100);
            prop_assert_eq!(text.parse::<Stamp>(), Ok(stamp));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,100}") {
            let _ = text.parse::<Stamp>();
        }
    }

    #[test]
    fn what_is_not_a_stamp_is_refused() {
        let stamp = Stamp::new(&Pod::default(), &[], "").unwrap().to_string();
        for text in ["", "1", "2.a.b.c.d", &stamp[1..], &format!("{stamp}.x"), &format!("{stamp}.1.2")] {
            assert_eq!(text.parse::<Stamp>(), Err(StampError), "{text}");
        }
    }

    #[test]
    fn borders_of_values_count() {
        let hash = |words: &[&str]| {
            let mut hash = Hash::public();
            for word in words {
                hash.text(word);
            }
            hash.part()
        };
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_ne!(hash(&["a"]), hash(&["a", ""]));
    }
}
