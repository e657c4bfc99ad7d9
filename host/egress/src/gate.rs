//! What is allowed: pure decisions, before and after a name is resolved.

use std::net::IpAddr;

use crate::{
    Failure, NetGrant, PolicyError,
    address::{Kind, canonical, network},
    grant::Coverage,
    host::Host,
    origin::{Origin, SocketPath},
};

/// The operator's grants and what they never open.
#[derive(Debug)]
pub(crate) struct Gate {
    grants: Vec<NetGrant>,
    denied: Vec<(Host, u16)>,
}

impl Gate {
    pub(crate) fn new(grants: Vec<NetGrant>, denied: Vec<(String, u16)>) -> Result<Self, PolicyError> {
        let read = |(host, port): (String, u16)| match host.parse::<IpAddr>() {
            Ok(address) => Ok((Host::Address(address), port)),
            Err(_) => Host::parse(&host)
                .map(|read| (read, port))
                .map_err(|reason| PolicyError::Denied { host: host.clone(), reason }),
        };
        Ok(Self { grants, denied: denied.into_iter().map(read).collect::<Result<_, _>>()? })
    }

    /// Whether an origin may be asked for at all. What its name resolves to is for [`Gate::vet`].
    pub(crate) fn admit(&self, origin: &Origin) -> Result<(), Failure> {
        match &origin.host {
            Host::Address(address) => self.judge(origin, *address, &[]).map_err(Failure::Denied),
            Host::Name(name) => {
                if self.coverage(origin).is_none() {
                    return Err(Failure::Denied(format!("sandbox.net does not grant {origin}")));
                }
                if self.denied_on(origin.port).any(|host| matches!(host, Host::Name(denied) if denied == name)) {
                    return Err(Failure::Denied(never(&format!("{}:{}", name.as_str(), origin.port))));
                }
                Ok(())
            }
        }
    }

    /// The addresses of an admitted origin that may be dialled. `denied` are the addresses of the denied names.
    ///
    /// # Errors
    ///
    /// If there is none: why the first one is not.
    pub(crate) fn vet(&self, origin: &Origin, found: &[IpAddr], denied: &[IpAddr]) -> Result<Vec<IpAddr>, Failure> {
        let mut refusal = None;
        let mut allowed = Vec::new();
        for address in found {
            match self.judge(origin, *address, denied) {
                Ok(()) => allowed.push(*address),
                Err(reason) => refusal = refusal.or(Some(reason)),
            }
        }
        match refusal {
            Some(reason) if allowed.is_empty() => Err(Failure::Denied(reason)),
            None if allowed.is_empty() => Err(Failure::Connect(format!("{} has no addresses", origin.host))),
            _ => Ok(allowed),
        }
    }

    /// The hosts that are denied on a port.
    pub(crate) fn denied_on(&self, port: u16) -> impl Iterator<Item = &Host> {
        self.denied.iter().filter(move |(_, denied)| *denied == port).map(|(host, _)| host)
    }

    /// Whether nothing of this machine may be reached on a port: something that is denied listens there on loopback, and so
    /// perhaps on every address that the machine has.
    pub(crate) fn denies_machine(&self, port: u16) -> bool {
        let is_loopback = |host: &Host| matches!(host, Host::Address(address) if canonical(*address).is_loopback());
        self.denied_on(port).any(is_loopback)
    }

    /// The granted socket at a path, by its number among the sockets.
    pub(crate) fn admit_socket(&self, path: &SocketPath) -> Result<usize, Failure> {
        self.sockets()
            .position(|granted| granted == path)
            .ok_or_else(|| Failure::Denied(format!("sandbox.net does not grant {path}")))
    }

    pub(crate) fn sockets(&self) -> impl Iterator<Item = &SocketPath> {
        self.grants.iter().filter_map(NetGrant::socket)
    }

    fn coverage(&self, origin: &Origin) -> Option<Coverage> {
        self.grants.iter().filter_map(|grant| grant.covers_name(origin)).max()
    }

    /// Whether one address may be dialled for an origin; if not, the sentence that says why.
    fn judge(&self, origin: &Origin, address: IpAddr, denied: &[IpAddr]) -> Result<(), String> {
        let judged = canonical(address);
        let coverage = self.coverage(origin);
        let host = &origin.host;
        let literal = Origin { host: Host::Address(judged), ..origin.clone() };
        if self.is_denied(origin.port, judged, denied) {
            let place = format!("{}:{}", literal.host, origin.port);
            let leads = if coverage.is_some() { format!("{host} resolves to {judged}, but ") } else { String::new() };
            return Err(format!("{leads}{}", never(&place)));
        }
        let network = network(judged);
        let special = network.filter(|network| network.kind == Kind::Special);
        // A wide range, such as 0.0.0.0/0, does not open the special networks inside it.
        let mut granted = self.grants.iter().filter_map(|grant| grant.covering_network(origin, judged));
        if granted.any(|net| special.is_none_or(|special| special.net.contains(&net))) {
            return Ok(());
        }
        match (coverage, network) {
            (Some(Coverage::Exact), Some(network)) if network.kind == Kind::Private => Ok(()),
            (Some(_), None) => Ok(()),
            (Some(_), Some(network)) if network.kind == Kind::Special => Err(format!(
                "{host} resolves to {judged}, {}, which no name opens: grant {literal} in sandbox.net as well",
                network.what
            )),
            (Some(_), Some(network)) => Err(format!(
                "{host} resolves to {judged}, {}, which a wildcard does not open: grant {origin} in sandbox.net",
                network.what
            )),
            (None, _) => Err(format!("sandbox.net does not grant {literal}")),
        }
    }

    fn is_denied(&self, port: u16, judged: IpAddr, resolved: &[IpAddr]) -> bool {
        // Whatever listens on one loopback address may listen on all, and to dial 0.0.0.0 is to dial this machine.
        let is_local = |address: IpAddr| address.is_loopback() || address.is_unspecified();
        let listed = self.denied_on(port).filter_map(|host| match host {
            Host::Address(address) => Some(*address),
            Host::Name(_) => None,
        });
        listed
            .chain(resolved.iter().copied())
            .map(canonical)
            .any(|denied| denied == judged || (is_local(denied) && is_local(judged)))
    }
}

pub(crate) fn never(place: &str) -> String {
    format!("{place} belongs to the control plane or to this node, which no grant opens to a provider")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::{address::tests::spellings, origin::Scheme};

    fn gate(grants: &str) -> Gate {
        let denied = vec![("10.0.0.1".into(), 6443), ("api.corp.test".into(), 443), ("::1".into(), 10250)];
        Gate::new(grants.split_whitespace().map(|grant| grant.parse().unwrap()).collect(), denied).unwrap()
    }

    /// Both decisions for a URL whose name, if it has one, resolves to `addresses`.
    fn decide(grants: &str, url: &str, addresses: &str) -> Result<Vec<IpAddr>, String> {
        let gate = gate(grants);
        let origin = Origin::parse(url).unwrap();
        gate.admit(&origin).map_err(|failure| failure.to_string())?;
        let found: Vec<IpAddr> = match &origin.host {
            Host::Address(address) => vec![*address],
            Host::Name(_) => addresses.split_whitespace().map(|address| address.parse().unwrap()).collect(),
        };
        let denied = ["10.9.9.9".parse().unwrap()];
        let denied = if origin.port == 443 { denied.as_slice() } else { &[] };
        gate.vet(&origin, &found, denied).map_err(|failure| failure.to_string())
    }

    #[test]
    fn what_is_granted_is_allowed() {
        for (grants, url, addresses) in [
            ("https://a.test", "https://a.test", "1.1.1.1"),
            ("https://a.test", "https://A.TEST.:443", "1.1.1.1 2606:4700::1"),
            ("https://a.test:8443", "https://a.test:8443", "1.1.1.1"),
            ("https://a.test", "https://a.test", "10.1.2.3"),
            ("https://a.test", "https://a.test", "100.64.1.1"),
            ("https://a.test", "https://a.test", "fd00::1"),
            ("https://*.a.test", "https://x.y.a.test", "1.1.1.1"),
            ("https://*.a.test https://x.a.test", "https://x.a.test", "10.1.2.3"),
            ("https://*.a.test https://10.0.0.0/8", "https://x.a.test", "10.1.2.3"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", ""),
            ("http://127.0.0.0/8:8080", "http://127.1.2.3:8080", ""),
            ("http://127.0.0.1", "http://[::ffff:127.0.0.1]", ""),
            ("http://[::1]", "http://[::1]", ""),
            ("http://169.254.169.254", "http://169.254.169.254", ""),
            ("http://localhost http://127.0.0.1", "http://localhost", "127.0.0.1"),
            ("http://0.0.0.0/0", "http://1.2.3.4", ""),
            ("http://0.0.0.0/0", "http://10.2.3.4", ""),
            ("tcp://db.test", "tcp://db.test:5432", "10.1.1.1"),
            ("http://127.0.0.1:10250 http://127.0.0.1:10251", "http://127.0.0.1:10251", ""),
        ] {
            assert!(decide(grants, url, addresses).is_ok(), "{grants}: {:?}", decide(grants, url, addresses));
        }
    }

    #[test]
    fn what_is_not_granted_is_refused_and_the_missing_grant_is_named() {
        for (grants, url, addresses, says) in [
            ("", "https://login.example.com", "1.1.1.1", "sandbox.net does not grant https://login.example.com"),
            ("http://a.test", "https://a.test", "1.1.1.1", "sandbox.net does not grant https://a.test"),
            ("ws://a.test", "http://a.test", "1.1.1.1", "sandbox.net does not grant http://a.test"),
            ("https://a.test", "https://a.test:8443", "1.1.1.1", "does not grant https://a.test:8443"),
            ("https://a.test", "https://b.a.test", "1.1.1.1", "does not grant https://b.a.test"),
            ("https://*.a.test", "https://a.test", "1.1.1.1", "does not grant https://a.test"),
            ("https://*.a.test", "https://xa.test", "1.1.1.1", "does not grant https://xa.test"),
            ("https://*.a.test", "https://x.a.test.evil.test", "1.1.1.1", "does not grant"),
            (
                "https://*.a.test",
                "https://x.a.test",
                "10.1.2.3",
                "10.1.2.3, a private address, which a wildcard does not open: grant https://x.a.test",
            ),
            (
                "https://*.a.test",
                "https://x.a.test",
                "127.0.0.1",
                "a loopback address, which no name opens: grant https://127.0.0.1",
            ),
            ("http://localhost:81", "http://localhost:81", "::1", "grant http://[::1]:81 in sandbox.net as well"),
            ("http://localhost http://127.0.0.1:81", "http://localhost", "127.0.0.1", "grant http://127.0.0.1 "),
            ("http://m.test", "http://m.test", "169.254.169.254", "a link-local address"),
            ("http://m.test", "http://m.test", "fd00:ec2::254", "cloud metadata"),
            ("http://m.test", "http://m.test", "100.100.100.200", "cloud metadata"),
            ("http://m.test", "http://m.test", "::ffff:169.254.169.254", "169.254.169.254, a link-local address"),
            ("http://m.test", "http://m.test", "64:ff9b::a9fe:a9fe", "169.254.169.254, a link-local address"),
            ("http://m.test", "http://m.test", "2002:7f00:1::", "127.0.0.1, a loopback address"),
            ("http://m.test", "http://m.test", "0.0.0.0", "an unspecified address"),
            ("http://m.test", "http://m.test", "224.0.0.1", "a multicast address"),
            ("http://m.test", "http://m.test", "203.0.113.1", "an address for documentation"),
            ("http://m.test", "http://m.test", "240.0.0.1", "a reserved address"),
            ("http://m.test", "http://m.test", "", "has no addresses"),
            ("http://10.0.0.0/8", "http://m.test", "10.1.1.1", "does not grant http://m.test"),
            ("http://10.0.0.0/8", "http://11.0.0.1", "", "does not grant http://11.0.0.1"),
            ("http://0.0.0.0/0", "http://127.0.0.1", "", "does not grant http://127.0.0.1"),
            ("http://0.0.0.0/0", "http://169.254.169.254", "", "does not grant http://169.254.169.254"),
            ("http://0.0.0.0/0", "http://[2606:4700::1]", "", "does not grant http://[2606:4700::1]"),
            ("http://[::/0]", "http://[::ffff:10.0.0.1]", "", "does not grant http://10.0.0.1"),
        ] {
            let refusal = decide(grants, url, addresses).expect_err(url);
            assert!(refusal.contains(says), "{grants} {url}: {refusal}");
        }
    }

    #[test]
    fn the_control_plane_and_the_kubelet_port_are_denied_whatever_is_granted() {
        for (grants, url, addresses) in [
            ("https://10.0.0.1:6443", "https://10.0.0.1:6443", ""),
            ("https://10.0.0.0/8:6443", "https://10.0.0.1:6443", ""),
            ("https://10.0.0.1:6443", "https://[::ffff:10.0.0.1]:6443", ""),
            ("https://a.test:6443", "https://a.test:6443", "10.0.0.1"),
            ("https://a.test:6443", "https://a.test:6443", "64:ff9b::10.0.0.1"),
            ("https://api.corp.test", "https://API.corp.test.", "10.1.1.1"),
            ("https://*.corp.test", "https://api.corp.test", "1.1.1.1"),
            ("https://a.test", "https://a.test", "10.9.9.9"),
            ("https://127.0.0.1:10250", "https://127.0.0.1:10250", ""),
            ("https://127.0.0.0/8:10250", "https://127.9.9.9:10250", ""),
            ("https://0.0.0.0:10250", "https://0.0.0.0:10250", ""),
            ("https://[::1]:10250", "https://[::1]:10250", ""),
        ] {
            let refusal = decide(grants, url, addresses).expect_err(url);
            assert!(refusal.contains("which no grant opens"), "{grants} {url}: {refusal}");
        }
    }

    #[test]
    fn allowed_addresses_are_kept_in_order_when_others_are_not() {
        let found = decide("https://*.a.test", "https://x.a.test", "10.0.0.2 1.1.1.1 127.0.0.1 2606:4700::1");
        assert_eq!(found, Ok(vec!["1.1.1.1".parse().unwrap(), "2606:4700::1".parse().unwrap()]));
    }

    #[test]
    fn an_ungranted_socket_is_refused() {
        let gate = gate("unix:///run/a.sock https://a.test unix:///run/b.sock");
        let socket = |path| gate.admit_socket(&SocketPath::parse(path).unwrap());
        assert_eq!(socket("/run/b.sock"), Ok(1));
        assert_eq!(socket("/run/c.sock"), Err(Failure::Denied("sandbox.net does not grant unix:///run/c.sock".into())));
    }

    fn origin(host: Host) -> Origin {
        Origin { scheme: Scheme::Http, host, port: 80 }
    }

    proptest! {
        #[test]
        fn every_spelling_of_an_ipv4_address_is_decided_like_the_address(bits in 2u32.., wide in 0u8..=32) {
            let address = Ipv4Addr::from(bits);
            let net = ipnet::Ipv4Net::new(address, wide).unwrap().trunc();
            for grants in [format!("http://{net}"), "http://10.0.0.0/8 http://127.0.0.0/8 http://a.test".into(), String::new()] {
                let gate = gate(&grants);
                let plain = gate.admit(&origin(Host::Address(address.into())));
                let name = origin(Host::parse("a.test").unwrap());
                let named = gate.vet(&name, &[address.into()], &[]).map(|_| ());
                for spelling in spellings(address) {
                    prop_assert_eq!(&gate.admit(&origin(Host::Address(spelling.into()))), &plain);
                    prop_assert_eq!(&gate.vet(&name, &[spelling.into()], &[]).map(|_| ()), &named);
                }
            }
        }

        #[test]
        fn a_grant_never_admits_another_name(
            granted in "[a-c]{1,2}(\\.[a-c]{1,2}){0,2}", asked in "[a-c]{1,2}(\\.[a-c]{1,2}){0,3}"
        ) {
            let asked_for = origin(Host::parse(&asked).unwrap());
            let exact = gate(&format!("http://{granted}"));
            prop_assert_eq!(exact.admit(&asked_for).is_ok(), granted == asked);
            if granted.contains('.') {
                let wildcard = gate(&format!("http://*.{granted}"));
                prop_assert_eq!(wildcard.admit(&asked_for).is_ok(), asked.ends_with(&format!(".{granted}")));
            }
        }

        #[test]
        fn a_range_never_admits_an_address_outside_it(net: u32, wide in 0u8..=32, bits: u32) {
            let (net, address) = (ipnet::Ipv4Net::new(net.into(), wide).unwrap().trunc(), Ipv4Addr::from(bits));
            if gate(&format!("http://{net}")).admit(&origin(Host::Address(address.into()))).is_ok() {
                prop_assert!(net.contains(&address));
            }
        }
    }
}
