//! The taint that keeps pods off the node unless they tolerate it.

use crate::environment::Environment;

/// The key where none is given.
const DEFAULT_KEY: &str = "virtual-kubelet.io/provider";
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// What the operator says of the taint; what is not said has a default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TaintChoice {
    key: Option<String>,
    value: Option<String>,
    effect: Option<String>,
}

impl TaintChoice {
    /// The variables `VKUBELET_TAINT_KEY`, `VKUBELET_TAINT_VALUE` and `VKUBELET_TAINT_EFFECT`.
    ///
    /// # Errors
    ///
    /// If one is not what Kubernetes accepts; the message names it.
    pub(crate) fn from_environment(environment: &Environment) -> Result<Self, String> {
        let read = |name: &str, check: fn(&str) -> Result<(), String>| match environment.text(name) {
            Some(text) => check(&text).map(|()| Some(text)).map_err(|reason| format!("{name}: {reason}")),
            None => Ok(None),
        };
        Ok(Self {
            key: read("VKUBELET_TAINT_KEY", check_key)?,
            value: read("VKUBELET_TAINT_VALUE", check_value)?,
            effect: read("VKUBELET_TAINT_EFFECT", check_effect)?,
        })
    }

    /// This choice, and `other` where it says nothing.
    pub(crate) fn or(self, other: Self) -> Self {
        Self { key: self.key.or(other.key), value: self.value.or(other.value), effect: self.effect.or(other.effect) }
    }

    /// The taint, on a node of this provider.
    pub(crate) fn taint(&self, provider: &str) -> vk_provider::Taint {
        vk_provider::Taint {
            key: self.key.clone().unwrap_or_else(|| DEFAULT_KEY.into()),
            value: self.value.clone().unwrap_or_else(|| provider.into()),
            effect: self.effect.clone().unwrap_or_else(|| "NoSchedule".into()),
        }
    }
}

impl std::str::FromStr for TaintChoice {
    type Err = String;

    /// `KEY`, `KEY=VALUE:EFFECT`, `KEY:EFFECT` or `KEY=VALUE`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (text, effect) = text.rsplit_once(':').map_or((text, None), |(rest, effect)| (rest, Some(effect)));
        let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
        check_key(key)?;
        value.map(check_value).transpose()?;
        effect.map(check_effect).transpose()?;
        Ok(Self { key: Some(key.into()), value: value.map(str::to_owned), effect: effect.map(str::to_owned) })
    }
}

fn check_effect(effect: &str) -> Result<(), String> {
    if EFFECTS.contains(&effect) {
        return Ok(());
    }
    Err(format!("`{effect}` is not a taint effect: use {}", EFFECTS.join(", ")))
}

/// A qualified name: an optional DNS prefix and `/`, then a name as in [`is_label`].
fn check_key(key: &str) -> Result<(), String> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if prefix.is_none_or(is_dns_name) && !name.is_empty() && is_label(name) {
        return Ok(());
    }
    Err(format!("`{key}` is not a taint key: write NAME or DOMAIN/NAME, as in {DEFAULT_KEY}"))
}

fn check_value(value: &str) -> Result<(), String> {
    if is_label(value) {
        return Ok(());
    }
    Err(format!("`{value}` is not a taint value: use up to 63 letters, digits, -, _ and ."))
}

/// What Kubernetes accepts as a label's value.
fn is_label(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_alphanumeric();
    text.len() <= 63
        && text.bytes().all(|byte| alphanumeric(&byte) || b"-_.".contains(&byte))
        && text.as_bytes().first().is_none_or(alphanumeric)
        && text.as_bytes().last().is_none_or(alphanumeric)
}

/// What Kubernetes accepts as an object's name: DNS labels of lower-case letters, digits and hyphens, joined by dots.
pub(crate) fn is_dns_name(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: &str) -> vk_provider::Taint {
        vk_provider::Taint { key: key.into(), value: value.into(), effect: effect.into() }
    }

    #[test]
    fn a_taint_is_read_in_every_form() {
        for (text, wanted) in [
            ("dedicated", taint("dedicated", "aci", "NoSchedule")),
            ("dedicated=burst:NoExecute", taint("dedicated", "burst", "NoExecute")),
            ("dedicated:PreferNoSchedule", taint("dedicated", "aci", "PreferNoSchedule")),
            ("dedicated=:NoSchedule", taint("dedicated", "", "NoSchedule")),
            ("example.com/dedicated=burst", taint("example.com/dedicated", "burst", "NoSchedule")),
        ] {
            assert_eq!(text.parse::<TaintChoice>().unwrap().taint("aci"), wanted, "{text}");
        }
    }

    #[test]
    fn a_bad_taint_is_refused_with_a_remedy() {
        let long = "k".repeat(64);
        for (text, wanted) in [
            ("", "is not a taint key"),
            ("=v:NoSchedule", "is not a taint key"),
            ("a b", "is not a taint key"),
            ("-a", "is not a taint key"),
            ("a/", "is not a taint key"),
            ("/a", "is not a taint key"),
            ("Upper.com/a", "is not a taint key"),
            ("a/b/c", "is not a taint key"),
            (&long, "is not a taint key"),
            ("k=v w", "is not a taint value"),
            ("k=v=w", "is not a taint value"),
            ("k=v:", "NoSchedule, PreferNoSchedule, NoExecute"),
            ("k=v:noschedule", "NoSchedule, PreferNoSchedule, NoExecute"),
            ("k:Never", "NoSchedule, PreferNoSchedule, NoExecute"),
        ] {
            let refusal = text.parse::<TaintChoice>().unwrap_err();
            assert!(refusal.contains(wanted), "{text}: {refusal}");
        }
    }

    #[test]
    fn the_flag_goes_before_the_environment_and_that_before_the_defaults() {
        let environment: Environment =
            [("VKUBELET_TAINT_KEY", "env"), ("VKUBELET_TAINT_VALUE", "burst")].into_iter().collect();
        let from_environment = TaintChoice::from_environment(&environment).unwrap();
        assert_eq!(from_environment.taint("aci"), taint("env", "burst", "NoSchedule"));
        let flag: TaintChoice = "flag:NoExecute".parse().unwrap();
        assert_eq!(flag.or(from_environment).taint("aci"), taint("flag", "burst", "NoExecute"));
        assert_eq!(TaintChoice::default().taint("aci"), taint("virtual-kubelet.io/provider", "aci", "NoSchedule"));
    }

    #[test]
    fn a_bad_variable_is_named() {
        let environment: Environment = [("VKUBELET_TAINT_EFFECT", "Never")].into_iter().collect();
        let refusal = TaintChoice::from_environment(&environment).unwrap_err();
        assert!(refusal.starts_with("VKUBELET_TAINT_EFFECT: `Never`"), "{refusal}");
    }
}
