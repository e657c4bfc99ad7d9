//! Where a request goes: scheme, host and port, read so that no two parsers can disagree about them.

use std::{fmt, path::Path};

use http::Uri;
use url::Url;

use crate::host::Host;

/// The schemes that grants know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
    Ws,
    Wss,
    Tcp,
}

impl Scheme {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Https, Self::Ws, Self::Wss, Self::Tcp]
            .into_iter()
            .find(|scheme| scheme.as_str().eq_ignore_ascii_case(text))
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Tcp => "tcp",
        }
    }

    /// None for tcp, which has none.
    pub(crate) fn default_port(self) -> Option<u16> {
        match self {
            Self::Http | Self::Ws => Some(80),
            Self::Https | Self::Wss => Some(443),
            Self::Tcp => None,
        }
    }

    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Wss)
    }
}

/// Scheme, host and port. Displayed as a grant for it is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

impl Origin {
    /// The origin of an absolute URL.
    ///
    /// `http` is what the request is sent with and keeps the URL's bytes; `url` is what the rest of the world parses
    /// with, and normalises. A URL of which they do not read the same host and port is refused.
    pub(crate) fn of(uri: &Uri) -> Result<Self, String> {
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err("the URL is not absolute: it needs a scheme and a host".into());
        };
        let scheme = Scheme::parse(scheme).ok_or_else(|| format!("the URL's scheme `{scheme}` is unknown"))?;
        if authority.as_str().contains('@') {
            return Err("the URL has a user name or password in it: send an Authorization header".into());
        }
        let host = Host::parse(authority.host())?;
        let url = Url::parse(&uri.to_string()).map_err(|error| format!("the URL cannot be read: {error}"))?;
        let port = match authority.as_str().strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':')) {
            Some(port) => port.parse().map_err(|_| format!("the URL's port `{port}` is not a number up to 65535"))?,
            None => scheme.default_port().ok_or("the URL has no port")?,
        };
        let same_host = match (&host, url.host()) {
            (Host::Name(name), Some(url::Host::Domain(other))) => {
                name.as_str() == other.strip_suffix('.').unwrap_or(other)
            }
            (Host::Address(address), Some(url::Host::Ipv4(other))) => *address == other,
            (Host::Address(address), Some(url::Host::Ipv6(other))) => *address == other,
            _ => false,
        };
        if !same_host || url.port_or_known_default().is_some_and(|other| other != port) {
            return Err(format!("the URL is ambiguous: it can be read as one to {host}:{port} and as one elsewhere"));
        }
        Ok(Self { scheme, host, port })
    }

    /// An origin alone, as a key of `sandbox.tls`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
        let origin = Self::of(&uri)?;
        if !matches!(uri.path_and_query().map(|path| path.as_str()), None | Some("" | "/")) || text.contains('#') {
            return Err("it has a path or query".into());
        }
        Ok(origin)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        if self.scheme.default_port() == Some(self.port) { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// The absolute path of a unix socket, in its shortest form, of at most 107 bytes (the kernel's limit).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SocketPath(String);

impl SocketPath {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(relative) = text.strip_prefix('/') else {
            return Err(format!("the socket's path `{text}` is not absolute: write unix:///run/some.sock"));
        };
        if text.len() > 107 {
            return Err("the socket's path is longer than 107 bytes".into());
        }
        if text.contains(['%', '?', '#']) || text.contains(char::is_control) {
            return Err(format!("the socket's path {text:?} has characters that cannot stand in a grant"));
        }
        if relative.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(format!(
                "the socket's path `{text}` is not in its shortest form (no `//`, `.`, `..`, end `/`)"
            ));
        }
        Ok(Self(text.into()))
    }

    pub(crate) fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Result<String, String> {
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
        Origin::of(&uri).map(|origin| origin.to_string())
    }

    #[test]
    fn an_origin_is_read_from_a_url() {
        for (url, expected) in [
            ("http://example.com", "http://example.com"),
            ("HTTP://Example.com:80/a/../b", "http://example.com"),
            ("https://example.com.:443/?q=http://x@y", "https://example.com"),
            ("https://example.com:8443/@x", "https://example.com:8443"),
            ("http://127.0.0.1:0080/", "http://127.0.0.1"),
            ("http://[::FFFF:127.0.0.1]:81/", "http://[::ffff:127.0.0.1]:81"),
            ("http://example.com/#@evil.test", "http://example.com"),
        ] {
            assert_eq!(origin(url).as_deref(), Ok(expected), "{url}");
        }
    }

    #[test]
    fn a_url_that_could_be_read_in_two_ways_is_refused() {
        for url in [
            "/relative",
            "example.com",
            "//example.com/",
            "ftp://example.com/",
            "http://user@example.com/",
            "http://user:secret@example.com/",
            "http://example.com\\@evil.test/",
            "http://exa%6dple.com/",
            "http://a b/",
            "http://example.com:/",
            "http://example.com:99999/",
            "http://example.com:80a/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://bücher.example/",
            "http://exa\tmple.com/",
            " http://example.com/",
            "http://a,b/",
            "tcp://example.com/",
            "http:///path",
            "http://[::1]x/",
        ] {
            assert!(origin(url).is_err(), "{url}: {:?}", origin(url));
        }
    }

    #[test]
    fn a_refusal_does_not_repeat_the_secrets_of_a_url() {
        for url in
            ["http://user:hunter2@example.com/", "http://2130706433/?key=hunter2", "ftp://example.com/?key=hunter2"]
        {
            assert!(!origin(url).unwrap_err().contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn a_socket_path_has_one_spelling() {
        assert_eq!(SocketPath::parse("/run/docker.sock").unwrap().to_string(), "unix:///run/docker.sock");
        let long = format!("/{}", "a".repeat(107));
        for path in
            ["", "/", "run/docker.sock", "/run//x", "/run/../x", "/run/./x", "/run/", "/a%2fb", "/a?b", "/a\0b", &long]
        {
            assert!(SocketPath::parse(path).is_err(), "{path}");
        }
    }
}
