//! How the containers of a group in a subnet resolve names.

use vk_sdk::manifest::DnsPolicy;

use super::{Context, Notes};
use crate::group::DnsConfig;

const MOST_SERVERS: usize = 3;
const MOST_SEARCHES: usize = 6;
const LONGEST_SEARCH: usize = 253;
const LONGEST_SEARCH_LINE: usize = 256;

/// What a kubelet would write into `/etc/resolv.conf`; without a name server of the cluster's or the pod's own, the
/// network's are used.
pub(super) fn config(context: &Context<'_>, notes: &mut Notes) -> Option<DnsConfig> {
    let spec = &context.manifest.spec;
    let own = spec.dns_config.clone().unwrap_or_default();
    let network = context.settings.network.as_ref().filter(|_| !context.windows());
    let cluster = network.filter(|network| {
        let policy = matches!(spec.dns_policy, DnsPolicy::ClusterFirst | DnsPolicy::ClusterFirstWithHostNet);
        policy && network.dns.is_some()
    });

    let mut servers: Vec<String> = cluster.and_then(|network| network.dns.clone()).into_iter().collect();
    extend(&mut servers, own.nameservers);
    if network.is_none() || servers.is_empty() {
        let why = if network.is_some() {
            "it needs a name server"
        } else {
            "ACI resolves names otherwise than by its own servers only for Linux in a subnet"
        };
        if !servers.is_empty() || !own.searches.is_empty() {
            notes.refuse("spec.dnsConfig", why);
        } else if !own.options.is_empty() {
            notes.ignore("spec.dnsConfig.options".to_owned(), why);
        }
        return None;
    }

    let mut searches = Vec::new();
    if let Some(network) = cluster {
        let (domain, namespace) = (&network.cluster_domain, &context.pod.id.namespace);
        searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    }
    extend(&mut searches, own.searches);
    limit_servers(&mut servers, notes);
    let search_domains = limit_searches(searches, notes);

    let mut options: Vec<(String, Option<String>)> = Vec::new();
    if cluster.is_some() {
        options.push(("ndots".to_owned(), Some("5".to_owned())));
    }
    for option in own.options {
        match options.iter_mut().find(|(name, _)| *name == option.name) {
            Some((_, value)) => *value = option.value,
            None => options.push((option.name, option.value)),
        }
    }
    let options: Vec<_> = options
        .into_iter()
        .map(|(name, value)| match value.filter(|value| !value.is_empty()) {
            Some(value) => format!("{name}:{value}"),
            None => name,
        })
        .collect();
    let line = |line: String| Some(line).filter(|line| !line.is_empty());
    Some(DnsConfig { name_servers: servers, search_domains: line(search_domains), options: line(options.join(" ")) })
}

/// Adds what is not there yet.
fn extend(list: &mut Vec<String>, more: Vec<String>) {
    for entry in more {
        if !list.contains(&entry) {
            list.push(entry);
        }
    }
}

fn limit_servers(servers: &mut Vec<String>, notes: &mut Notes) {
    if servers.len() > MOST_SERVERS {
        servers.truncate(MOST_SERVERS);
        let kept = servers.join(" ");
        exceeded("Nameserver", &format!("some nameservers have been omitted, the applied line is: {kept}"), notes);
    }
}

fn limit_searches(searches: Vec<String>, notes: &mut Notes) -> String {
    let count = searches.len();
    let mut kept: Vec<String> = Vec::new();
    let mut length = 0;
    for search in searches.into_iter().filter(|search| search.len() <= LONGEST_SEARCH).take(MOST_SEARCHES) {
        length += search.len() + usize::from(!kept.is_empty());
        if length > LONGEST_SEARCH_LINE {
            break;
        }
        kept.push(search);
    }
    let line = kept.join(" ");
    if kept.len() < count {
        exceeded("Search Line", &format!("some search paths have been omitted, the applied line is: {line}"), notes);
    }
    line
}

/// As the kubelet reports it.
fn exceeded(what: &str, then: &str, notes: &mut Notes) {
    notes.warn("DNSConfigForming", format!("{what} limits were exceeded, {then}"));
}
