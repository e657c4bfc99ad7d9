//! One entry of `sandbox.net`.
//!
//! ```text
//! scheme "://" host [":" port]     scheme: http, https, ws, wss, tcp
//!                                  host:   a name, *.suffix, an IP address (IPv6 in brackets), a CIDR
//!                                  port:   absent, the scheme's; for tcp, any
//! "unix://" absolute-path          asked for as http+unix://%2Fabsolute%2Fpath/...
//! ```

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::IpNet;

use crate::{
    address,
    host::{DomainName, Host},
    origin::{Origin, Scheme, SocketPath},
};

/// One entry of `sandbox.net`, read with [`str::parse`] and displayed in its shortest form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NetGrant(Grant);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Grant {
    /// No port: any.
    Network {
        scheme: Scheme,
        hosts: Hosts,
        port: Option<u16>,
    },
    Socket(SocketPath),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Hosts {
    Name(DomainName),
    Below(DomainName),
    /// Canonical: IPv4 is never spelled as IPv6.
    Addresses(IpNet),
}

/// Why an entry of `sandbox.net` cannot be read: one sentence that names the entry and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the grant `{text}` cannot be read: {reason}")]
pub struct GrantError {
    text: String,
    reason: String,
}

/// How a grant covers a name. An exact one says more than a wildcard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Coverage {
    Wildcard,
    Exact,
}

impl NetGrant {
    /// Whether, and how, this grants the name of an origin. What the name resolves to is judged besides.
    pub(crate) fn covers_name(&self, origin: &Origin) -> Option<Coverage> {
        let (hosts, Host::Name(name)) = (self.hosts_for(origin)?, &origin.host) else { return None };
        match hosts {
            Hosts::Name(granted) => (name == granted).then_some(Coverage::Exact),
            Hosts::Below(suffix) => name.is_below(suffix).then_some(Coverage::Wildcard),
            Hosts::Addresses(_) => None,
        }
    }

    /// The granted network that contains `address` (canonical), with the scheme and port of `origin`.
    pub(crate) fn covering_network(&self, origin: &Origin, address: IpAddr) -> Option<IpNet> {
        match self.hosts_for(origin)? {
            Hosts::Addresses(net) if net.contains(&address) => Some(*net),
            _ => None,
        }
    }

    /// The socket that this grants.
    pub(crate) fn socket(&self) -> Option<&SocketPath> {
        match &self.0 {
            Grant::Socket(path) => Some(path),
            Grant::Network { .. } => None,
        }
    }

    /// Whether this can lead to TLS.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(&self.0, Grant::Network { scheme, .. } if scheme.is_tls())
    }

    fn hosts_for(&self, origin: &Origin) -> Option<&Hosts> {
        match &self.0 {
            Grant::Network { scheme, hosts, port }
                if *scheme == origin.scheme && port.is_none_or(|port| port == origin.port) =>
            {
                Some(hosts)
            }
            _ => None,
        }
    }
}

impl FromStr for NetGrant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        parse(text).map(Self).map_err(|reason| GrantError { text: text.escape_debug().to_string(), reason })
    }
}

fn parse(text: &str) -> Result<Grant, String> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("remove the white space".into());
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("begin it with http://, https://, ws://, wss://, tcp:// or unix://".into());
    };
    if scheme.eq_ignore_ascii_case("unix") {
        return SocketPath::parse(rest).map(Grant::Socket);
    }
    let scheme = Scheme::parse(scheme)
        .ok_or_else(|| format!("its scheme is `{scheme}`, not http, https, ws, wss, tcp or unix"))?;
    for (mark, part) in [('@', "user"), ('?', "query"), ('#', "fragment"), ('\\', "path")] {
        if rest.contains(mark) {
            return Err(format!("a grant has no {part}: write scheme://host:port"));
        }
    }
    let (hosts, port) = split_port(rest)?;
    let port = match port {
        Some(port) => Some(parse_port(port)?),
        None => scheme.default_port(),
    };
    Ok(Grant::Network { scheme, hosts: parse_hosts(hosts)?, port })
}

/// Splits at the colon that stands outside of brackets.
fn split_port(rest: &str) -> Result<(&str, Option<&str>), String> {
    let after_brackets = rest.rfind(']').map_or(0, |end| end + 1);
    let (inside, outside) = rest.split_at_checked(after_brackets).unwrap_or((rest, ""));
    let Some((before, port)) = outside.split_once(':') else { return Ok((rest, None)) };
    if port.contains(':') {
        return Err("write an IPv6 address in brackets".into());
    }
    let hosts = rest.get(..inside.len() + before.len()).unwrap_or(rest);
    Ok((hosts, Some(port)))
}

fn parse_port(text: &str) -> Result<u16, String> {
    if text.contains('/') {
        return Err("a grant has no path: write scheme://host:port".into());
    }
    match text.parse() {
        Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(format!("its port `{text}` is not a number from 1 to 65535; without one it is the scheme's")),
    }
}

fn parse_hosts(text: &str) -> Result<Hosts, String> {
    if text.is_empty() {
        return Err("it has no host".into());
    }
    if let Some(suffix) = text.strip_prefix("*.") {
        return match Host::parse(suffix)? {
            Host::Name(suffix) if suffix.has_two_labels() => Ok(Hosts::Below(suffix)),
            Host::Name(suffix) => Err(format!(
                "`*.{}` is too wide: what stands after `*.` needs two labels at least, as in *.example.com",
                suffix.as_str()
            )),
            Host::Address(_) => Err("a wildcard stands before a name; for addresses write a CIDR".into()),
        };
    }
    if text.contains('*') {
        return Err("`*` can only be the first label, as in *.example.com".into());
    }
    if text.contains('/') {
        return parse_network(text).map(Hosts::Addresses);
    }
    match Host::parse(text)? {
        Host::Name(name) => Ok(Hosts::Name(name)),
        Host::Address(address) => plain(IpNet::from(address)).map(Hosts::Addresses),
    }
}

/// `10.0.0.0/8`, `[fd00::/8]` or `[fd00::]/8`.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let is_bracketed = text.starts_with('[');
    let bare = text.replace(['[', ']'], "");
    let (address, length) = bare.split_once('/').unwrap_or((&bare, ""));
    let is_address = if is_bracketed {
        address.parse::<Ipv6Addr>().is_ok() && (text == format!("[{bare}]") || text == format!("[{address}]/{length}"))
    } else {
        address.parse::<Ipv4Addr>().is_ok() && text == bare
    };
    if !is_address {
        return Err("a grant has no path: write scheme://host:port".into());
    }
    let net: IpNet = bare.parse().map_err(|_| format!("`/{length}` is not the length of a network's prefix"))?;
    if net.trunc() != net {
        return Err(format!("{net} has bits beyond its prefix: write {}", bracketed(net.trunc())));
    }
    plain(net)
}

/// Refuses IPv4 that is spelled as IPv6: such addresses are judged as IPv4, so only an IPv4 grant can cover them.
fn plain(net: IpNet) -> Result<IpNet, String> {
    match address::canonical(net.addr()) {
        v4 @ IpAddr::V4(_) if v4 != net.addr() => {
            Err(format!("{net} is a spelling of IPv4 addresses: grant those, such as {v4}"))
        }
        _ => Ok(net),
    }
}

fn bracketed(net: IpNet) -> String {
    let is_one = net.prefix_len() == net.max_prefix_len();
    match net {
        IpNet::V4(net) if is_one => net.addr().to_string(),
        IpNet::V4(net) => net.to_string(),
        IpNet::V6(net) if is_one => format!("[{}]", net.addr()),
        IpNet::V6(net) => format!("[{net}]"),
    }
}

impl fmt::Display for NetGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, hosts, port) = match &self.0 {
            Grant::Socket(path) => return write!(f, "{path}"),
            Grant::Network { scheme, hosts, port } => (scheme, hosts, port),
        };
        write!(f, "{}://", scheme.as_str())?;
        match hosts {
            Hosts::Name(name) => f.write_str(name.as_str())?,
            Hosts::Below(suffix) => write!(f, "*.{}", suffix.as_str())?,
            Hosts::Addresses(net) => f.write_str(&bracketed(*net))?,
        }
        match port {
            Some(port) if Some(*port) != scheme.default_port() => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_grant_is_displayed_in_its_shortest_form() {
        for (text, shortest) in [
            ("https://management.azure.com", "https://management.azure.com"),
            ("HTTPS://Management.Azure.com.:443", "https://management.azure.com"),
            ("wss://*.atlas.cloudapp.azure.com:19390", "wss://*.atlas.cloudapp.azure.com:19390"),
            ("http://bücher.example:8080", "http://xn--bcher-kva.example:8080"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://10.0.0.0/8", "http://10.0.0.0/8"),
            ("tcp://10.0.0.0/8", "tcp://10.0.0.0/8"),
            ("tcp://10.1.2.3/32:5432", "tcp://10.1.2.3:5432"),
            ("tcp://[fd00::/8]:5432", "tcp://[fd00::/8]:5432"),
            ("tcp://[fd00::]/8:5432", "tcp://[fd00::/8]:5432"),
            ("tcp://redis", "tcp://redis"),
            ("https://0.0.0.0/0", "https://0.0.0.0/0"),
            ("unix:///run/docker.sock", "unix:///run/docker.sock"),
        ] {
            let grant: NetGrant = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(grant.to_string(), shortest);
            assert_eq!(grant.to_string().parse(), Ok(grant));
        }
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        for (text, says) in [
            ("", "begin it with"),
            ("example.com", "begin it with"),
            ("ftp://example.com", "`ftp`"),
            ("*://example.com", "`*`"),
            ("https://", "no host"),
            ("https://:443", "no host"),
            ("https://example.com/", "no path"),
            ("https://example.com/a", "no path"),
            ("https://example.com:443/", "no path"),
            ("https://10.0.0.1/", "prefix"),
            ("https://10.0.0.0/33", "prefix"),
            ("https://10.1.0.0/8", "write 10.0.0.0/8"),
            ("https://[fd00::1/8]", "write [fd00::/8]"),
            ("https://[fd00::/8]/8", "no path"),
            ("https://[10.0.0.0/8]", "no path"),
            ("https://fd00::/8", "brackets"),
            ("https://::1", "brackets"),
            ("https://[::1", "brackets"),
            ("https://example.com?x", "no query"),
            ("https://example.com#x", "no fragment"),
            ("https://user@example.com", "no user"),
            ("https://example.com\\x", "no path"),
            ("https://*", "first label"),
            ("https://*.com", "two labels"),
            ("https://*.com.", "two labels"),
            ("https://*.0.0.1", "another spelling"),
            ("https://*.10.0.0.1", "CIDR"),
            ("https://*example.com", "first label"),
            ("https://a.*.example.com", "first label"),
            ("https://*.*.example.com", "not a host"),
            ("https://example.com:*", "not a number"),
            ("https://example.com:", "not a number"),
            ("https://example.com:0", "not a number"),
            ("https://example.com:+80", "not a number"),
            ("https://example.com:65536", "not a number"),
            (" https://example.com", "white space"),
            ("https://example.com\n", "white space"),
            ("https://exa%6dple.com", "not a host"),
            ("https://a..b", "not a host"),
            ("http://0x7f.1", "write 127.0.0.1"),
            ("http://2130706433", "write 127.0.0.1"),
            ("http://[::ffff:10.0.0.1]", "IPv4"),
            ("http://[::ffff:10.0.0.0/104]", "IPv4"),
            ("http://[64:ff9b::/96]", "IPv4"),
            ("unix://run/docker.sock", "not absolute"),
            ("unix:///run/../docker.sock", "shortest"),
            ("unix:///run/docker.sock?x", "characters"),
        ] {
            let error = text.parse::<NetGrant>().expect_err(text).to_string();
            assert!(error.contains(says), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text: String, scheme in "(http|tcp|unix)://", rest in "[\\[\\]:/*.a-f0-9é]{0,24}") {
            let _ = text.parse::<NetGrant>();
            let _ = format!("{scheme}{text}").parse::<NetGrant>();
            let _ = format!("{scheme}{rest}").parse::<NetGrant>();
        }
    }
}
