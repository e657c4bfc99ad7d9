//! A host, as grants and URLs name it: one spelling for each.

use std::{fmt, net::IpAddr};

/// A DNS name: ASCII (IDNA applied), lower case, no trailing dot, every label 1 to 63 of `[a-z0-9_-]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DomainName(String);

impl DomainName {
    /// From a name that the URL parser has normalised.
    fn new(text: &str) -> Result<Self, String> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.len() > 253 {
            return Err("the host name is longer than 253 characters".into());
        }
        for label in name.split('.') {
            if label.is_empty() || label.len() > 63 {
                return Err(format!("`{name}` is not a host name: its labels must have 1 to 63 characters"));
            }
            if let Some(odd) = label.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '_')) {
                return Err(format!("`{name}` is not a host name: it contains {odd:?}"));
            }
        }
        Ok(Self(name.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is a dot, so that a wildcard for what is below does not cover a whole top-level domain.
    pub(crate) fn has_two_labels(&self) -> bool {
        self.0.contains('.')
    }

    /// Whether this is a name at any depth below `suffix`, which is not below itself.
    pub(crate) fn is_below(&self, suffix: &Self) -> bool {
        self.0.strip_suffix(&suffix.0).is_some_and(|rest| rest.ends_with('.'))
    }
}

/// A name or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Name(DomainName),
    Address(IpAddr),
}

impl Host {
    /// Reads the host of a URL: a name, an IPv4 address, or an IPv6 address in brackets. The decimal, octal and
    /// hexadecimal spellings that URLs allow for IPv4 are refused, so that a host looks like what it is.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        // The URL parser would decode escapes; then the same host had many spellings.
        if text.is_empty() || text.contains(['%', '*']) {
            return Err(format!("`{text}` is not a host"));
        }
        match url::Host::parse(text).map_err(|error| format!("`{text}` is not a host: {error}"))? {
            url::Host::Domain(name) => DomainName::new(&name).map(Self::Name),
            url::Host::Ipv4(address) if address.to_string() != text => {
                Err(format!("`{text}` is another spelling of {address}: write {address}"))
            }
            url::Host::Ipv4(address) => Ok(Self::Address(address.into())),
            url::Host::Ipv6(address) => Ok(Self::Address(address.into())),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name.as_str()),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        for (text, name) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("_sip.example.com", "_sip.example.com"),
            ("redis", "redis"),
        ] {
            assert_eq!(Host::parse(text).unwrap().to_string(), name, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_plain_host_is_refused() {
        let long = format!("{}.example", "a".repeat(64));
        for text in [
            "",
            ".",
            "a..b",
            "a..",
            "*.example.com",
            "ex%61mple.com",
            "a b",
            "a,b",
            "user@host",
            "host:80",
            "a/b",
            "[::1",
            "fe80::1",
            "[fe80::1%25eth0]",
            "0x7f.1",
            "2130706433",
            "0177.0.0.1",
            "127.1",
            "127.0.0.1.",
            "1.2.3.4.5",
            &long,
        ] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_suffix_is_above_names_at_any_depth_but_not_above_itself_or_lookalikes() {
        let name = |text: &str| DomainName::new(text).unwrap();
        let suffix = name("example.com");
        assert!(name("a.example.com").is_below(&suffix));
        assert!(name("a.b.example.com").is_below(&suffix));
        assert!(!name("example.com").is_below(&suffix));
        assert!(!name("badexample.com").is_below(&suffix));
        assert!(!name("example.com.evil.test").is_below(&suffix));
    }
}
