//! The subnet that pods are in.

use std::net::IpAddr;

use vk_sdk::{Error, Result};

use super::{Network, credentials::Credentials, file::File, given, surroundings::Surroundings};

pub(super) fn read(
    file: &File,
    credentials: &Credentials,
    surroundings: &dyn Surroundings,
    subscription: &str,
    resource_group: &str,
) -> Result<Option<Network>> {
    let set = |variable: &str, key: &Option<String>| surroundings.variable(variable).or_else(|| given(key));
    let cidr = set("ACI_SUBNET_CIDR", &file.subnet_cidr);
    let Some(subnet) = set("ACI_SUBNET_NAME", &file.subnet_name) else {
        return match cidr {
            Some(_) => Err(Error::invalid(
                "a range of addresses is set, but no subnet that has it: set ACI_SUBNET_NAME or SubnetName, or leave out \
                 ACI_SUBNET_CIDR and SubnetCIDR",
            )),
            None => Ok(None),
        };
    };
    if let Some(cidr) = &cidr {
        check_cidr(cidr)?;
    }
    let vnet = surroundings
        .variable("ACI_VNET_NAME")
        .or(credentials.vnet.clone())
        .or_else(|| given(&file.vnet_name))
        .ok_or_else(|| {
        Error::invalid(format!(
            "the subnet {subnet:?} is set, but not the virtual network that it is in: set ACI_VNET_NAME or VNetName"
        ))
    })?;
    let dns = set("KUBE_DNS_IP", &file.kube_dns_ip);
    if let Some(dns) = dns.as_deref().filter(|dns| dns.parse::<IpAddr>().is_err()) {
        return Err(Error::invalid(format!("KUBE_DNS_IP or KubeDNSIP: {dns:?} is no IP address")));
    }
    Ok(Some(Network {
        subscription: set("ACI_VNET_SUBSCRIPTION_ID", &file.vnet_subscription_id)
            .unwrap_or_else(|| subscription.to_owned()),
        resource_group: surroundings
            .variable("ACI_VNET_RESOURCE_GROUP")
            .or(credentials.vnet_resource_group.clone())
            .or_else(|| given(&file.vnet_resource_group))
            .or(credentials.resource_group.clone())
            .unwrap_or_else(|| resource_group.to_owned()),
        vnet,
        subnet,
        cidr,
        dns,
        cluster_domain: given(&file.cluster_domain).unwrap_or_else(|| "cluster.local".to_owned()),
    }))
}

fn check_cidr(cidr: &str) -> Result<()> {
    let valid = cidr.split_once('/').is_some_and(|(address, bits)| {
        let most = match address.parse() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        bits.parse::<u8>().is_ok_and(|bits| bits <= most)
    });
    if valid {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "ACI_SUBNET_CIDR or SubnetCIDR: {cidr:?} is no range of addresses such as 10.241.0.0/16"
    )))
}
