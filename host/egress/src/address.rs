//! What kind of network an address belongs to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The networks that are not simply the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Internal networks: an exact name may lead there, a wildcard may not.
    Private,
    /// Only a grant that lies inside the same network leads there.
    Special,
}

/// A network of the IANA special-purpose registries, or an address that a cloud put to special use.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) net: IpNet,
    pub(crate) kind: Kind,
    /// What an address in it is, for messages.
    pub(crate) what: &'static str,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8, kind: Kind, what: &'static str) -> Network {
    Network { net: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)), kind, what }
}

const fn v6(segments: [u16; 8], prefix: u8, kind: Kind, what: &'static str) -> Network {
    let [a, b, c, d, e, f, g, h] = segments;
    Network { net: IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)), kind, what }
}

const METADATA: &str = "an address of cloud metadata";
const LOOPBACK: &str = "a loopback address";
const LINK_LOCAL: &str = "a link-local address";
const PRIVATE: &str = "a private address";
const UNSPECIFIED: &str = "an unspecified address";
const MULTICAST: &str = "a multicast address";
const DOCUMENTATION: &str = "an address for documentation";
const RESERVED: &str = "a reserved address";

/// The first network that contains an address counts.
static NETWORKS: &[Network] = &[
    // Alibaba, Azure (its wire server), Amazon, Google, Scaleway. 169.254.169.254 is link-local.
    v4(100, 100, 100, 200, 32, Kind::Special, METADATA),
    v4(168, 63, 129, 16, 32, Kind::Special, METADATA),
    v6([0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254], 128, Kind::Special, METADATA),
    v6([0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254], 128, Kind::Special, METADATA),
    v6([0xfd00, 0x0042, 0, 0, 0, 0, 0, 0x0042], 128, Kind::Special, METADATA),
    v4(0, 0, 0, 0, 8, Kind::Special, UNSPECIFIED),
    v4(10, 0, 0, 0, 8, Kind::Private, PRIVATE),
    v4(100, 64, 0, 0, 10, Kind::Private, PRIVATE),
    v4(127, 0, 0, 0, 8, Kind::Special, LOOPBACK),
    v4(169, 254, 0, 0, 16, Kind::Special, LINK_LOCAL),
    v4(172, 16, 0, 0, 12, Kind::Private, PRIVATE),
    v4(192, 0, 0, 0, 24, Kind::Special, RESERVED),
    v4(192, 0, 2, 0, 24, Kind::Special, DOCUMENTATION),
    v4(192, 88, 99, 0, 24, Kind::Special, RESERVED),
    v4(192, 168, 0, 0, 16, Kind::Private, PRIVATE),
    v4(198, 18, 0, 0, 15, Kind::Private, PRIVATE),
    v4(198, 51, 100, 0, 24, Kind::Special, DOCUMENTATION),
    v4(203, 0, 113, 0, 24, Kind::Special, DOCUMENTATION),
    v4(224, 0, 0, 0, 4, Kind::Special, MULTICAST),
    v4(240, 0, 0, 0, 4, Kind::Special, RESERVED),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, Kind::Special, UNSPECIFIED),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, Kind::Special, LOOPBACK),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, Kind::Special, LINK_LOCAL),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, Kind::Private, PRIVATE),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, Kind::Private, PRIVATE),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, Kind::Special, MULTICAST),
    v6([0x2001, 0x0db8, 0, 0, 0, 0, 0, 0], 32, Kind::Special, DOCUMENTATION),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, Kind::Special, DOCUMENTATION),
    // Teredo and the other protocol assignments: where their packets end cannot be told from the address.
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Kind::Special, RESERVED),
    v6([0x2620, 0x004f, 0x8000, 0, 0, 0, 0, 0], 48, Kind::Special, RESERVED),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, Kind::Special, RESERVED),
    // All that is not global unicast, 2000::/3: NAT64 with a prefix of one's own (64:ff9b:1::/48), discard, and the rest.
    v6([0, 0, 0, 0, 0, 0, 0, 0], 3, Kind::Special, RESERVED),
    v6([0x4000, 0, 0, 0, 0, 0, 0, 0], 3, Kind::Special, RESERVED),
    v6([0x6000, 0, 0, 0, 0, 0, 0, 0], 3, Kind::Special, RESERVED),
    v6([0x8000, 0, 0, 0, 0, 0, 0, 0], 3, Kind::Special, RESERVED),
    v6([0xa000, 0, 0, 0, 0, 0, 0, 0], 3, Kind::Special, RESERVED),
    v6([0xc000, 0, 0, 0, 0, 0, 0, 0], 3, Kind::Special, RESERVED),
    v6([0xe000, 0, 0, 0, 0, 0, 0, 0], 3, Kind::Special, RESERVED),
];

/// The network that an address, already [`canonical`], belongs to; none for a public address.
pub(crate) fn network(address: IpAddr) -> Option<&'static Network> {
    NETWORKS.iter().find(|network| network.net.contains(&address))
}

/// The address by which `address` is judged: the IPv4 address if it is one in the clothes of IPv6, else itself.
pub(crate) fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// The IPv4 address that an IPv6 address leads to.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        // Unspecified and loopback are IPv6's own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // Compatible ::a.b.c.d, mapped ::ffff:a.b.c.d, translated ::ffff:0:a.b.c.d, NAT64 64:ff9b::a.b.c.d.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        // 6to4.
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn describe(address: &str) -> &'static str {
        network(canonical(address.parse().unwrap())).map_or("public", |network| network.what)
    }

    #[test]
    fn addresses_are_told_apart() {
        for (what, addresses) in [
            (
                "public",
                "1.1.1.1 8.8.8.8 100.128.0.1 172.32.0.1 192.169.0.1 223.255.255.255 2606:4700::1111 2a00::1 2001:4860::8888",
            ),
            (PRIVATE, "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 198.18.0.1 fc00::1 fd12::1 fec0::1"),
            (LOOPBACK, "127.0.0.1 127.255.255.254 ::1"),
            (LINK_LOCAL, "169.254.169.254 169.254.0.1 fe80::1 febf::1"),
            (METADATA, "100.100.100.200 168.63.129.16 fd00:ec2::254 fd20:ce::254 fd00:42::42"),
            (UNSPECIFIED, "0.0.0.0 0.1.2.3 ::"),
            (MULTICAST, "224.0.0.1 239.255.255.255 ff02::1"),
            (DOCUMENTATION, "192.0.2.1 198.51.100.1 203.0.113.1 2001:db8::1 3fff::1"),
            (RESERVED, "240.0.0.1 255.255.255.255 192.0.0.192 2001::1 64:ff9b:1::1 100::1 4000::1 fe00::1 5f00::1"),
        ] {
            for address in addresses.split(' ') {
                assert_eq!(describe(address), what, "{address}");
            }
        }
    }

    /// Every way in which IPv6 spells an IPv4 address.
    pub(crate) fn spellings(address: Ipv4Addr) -> Vec<Ipv6Addr> {
        let [a, b, c, d] = address.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        vec![
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
            Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            Ipv6Addr::new(0x2002, high, low, 0xffff, 1, 2, 3, 4),
        ]
    }

    proptest! {
        #[test]
        fn an_ipv4_address_in_the_clothes_of_ipv6_is_judged_as_the_ipv4_address(bits in 2u32..) {
            let address = Ipv4Addr::from(bits);
            for spelling in spellings(address) {
                prop_assert_eq!(canonical(IpAddr::V6(spelling)), IpAddr::V4(address));
            }
        }

        #[test]
        fn every_address_outside_global_unicast_is_in_some_network(bits: u128) {
            let address = IpAddr::V6(Ipv6Addr::from(bits));
            let global = bits >> 125 == 1;
            prop_assert!(global || canonical(address) != address || network(address).is_some());
        }
    }
}
