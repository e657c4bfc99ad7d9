//! What must hold at the end of every test.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::Value;
use vk_azure::Request;

use super::{Azure, HIDDEN, tag};
use crate::{Env, PATIENCE, eventually, phase};

/// How tokens of the directory begin, as far as a header shows them.
const BEARER: &str = "Bearer ey";

impl Azure {
    /// Checks what must hold whatever a test did: API and Azure agree, no rule was broken, nothing was told.
    pub(crate) async fn check(&self, env: &Env) -> Result<()> {
        eventually("the API server and Azure to agree", PATIENCE, async || {
            let pods = env.pods().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            disagreement(&pods.items, &self.ours()).map_or(Ok(()), Err)
        })
        .await?;
        self.strangers_are_untouched()?;
        let violations = self.simulator.violations();
        ensure!(violations.is_empty(), "rules were broken: {violations:?}");
        let told = self.told(env).await?;
        ensure!(told.is_empty(), "hidden values are told:\n{}", told.join("\n"));
        Ok(())
    }

    /// The groups that the provider has made.
    fn ours(&self) -> Vec<Value> {
        let strangers = self.strangers();
        self.groups()
            .into_iter()
            .filter(|group| !strangers.contains(group["name"].as_str().unwrap_or_default()))
            .collect()
    }

    fn strangers_are_untouched(&self) -> Result<()> {
        let requests = self.simulator.requests();
        for name in self.strangers() {
            let of = |request: &&Request| request.group.as_deref() == Some(name.as_str());
            let changes = requests.iter().filter(of).filter(|request| request.method != "GET").count();
            // The one that made it.
            ensure!(changes == 1, "somebody else's group {name} was touched {} times", changes.saturating_sub(1));
            ensure!(self.simulator.group(&name).is_some(), "somebody else's group {name} is gone");
        }
        Ok(())
    }

    /// Where hidden values are found that nobody should be told.
    async fn told(&self, env: &Env) -> Result<Vec<String>> {
        let events = Api::<Event>::namespaced(env.client.clone(), &env.namespace).list(&ListParams::default()).await?;
        let pods = env.pods().list(&ListParams::default()).await?;
        let statuses: Vec<_> = pods.items.iter().map(|pod| (pod.name_any(), &pod.status, pod.annotations())).collect();
        let texts = [
            ("vk-host's log", env.log()),
            ("events", serde_json::to_string(&events.items)?),
            ("statuses of pods", serde_json::to_string(&statuses)?),
            ("groups", serde_json::to_string(&self.groups())?),
        ];
        let mut told = Vec::new();
        for (place, text) in texts {
            for form in forms() {
                told.extend(text.lines().filter(|line| line.contains(&form)).map(|line| format!("{place}: {line}")));
            }
        }
        Ok(told)
    }

    /// What helps to understand a failure: how often was asked for what, and what was refused.
    pub(crate) fn report(&self) -> String {
        let mut counts: BTreeMap<(String, Option<u16>), usize> = BTreeMap::new();
        for request in self.simulator.requests() {
            *counts.entry((format!("{:?}", request.route), request.status)).or_default() += 1;
        }
        let lines = counts.iter().map(|((route, status), count)| match status {
            Some(status) => format!("{count} x {route}: {status}"),
            None => format!("{count} x {route}: no answer"),
        });
        let violations = self.simulator.violations();
        format!("{} groups; {}; violations: {violations:?}", self.groups().len(), lines.collect::<Vec<_>>().join(", "))
    }
}

/// How hidden values look: as they are, and within text in base64.
fn forms() -> Vec<String> {
    let encoded = [(0, 0), (1, 2), (2, 3)].into_iter().filter_map(|(shift, cut)| {
        let text = BASE64_STANDARD.encode([&vec![0; shift], HIDDEN.as_bytes()].concat());
        // The first and the last characters depend on what is beside the value.
        text.get(cut..text.len() - 4).map(str::to_owned)
    });
    encoded.chain([HIDDEN.to_owned(), BEARER.to_owned()]).collect()
}

/// In what the API server and Azure disagree, if they do.
fn disagreement(pods: &[Pod], groups: &[Value]) -> Option<String> {
    let uids: BTreeSet<String> = pods.iter().filter_map(|pod| pod.uid()).collect();
    let mut of: BTreeMap<&str, usize> = BTreeMap::new();
    for group in groups {
        *of.entry(tag(group, "UID")).or_default() += 1;
        if !uids.contains(tag(group, "UID")) {
            return Some(format!("group {} is of a pod that is no more", group["name"]));
        }
    }
    for pod in pods {
        let uid = pod.uid().unwrap_or_default();
        let count = of.get(uid.as_str()).copied().unwrap_or_default();
        if count > 1 {
            return Some(format!("pod {} has {count} groups", pod.name_any()));
        }
        if pod.metadata.deletion_timestamp.is_some() {
            return Some(format!("pod {} is still on its way out", pod.name_any()));
        }
        if phase(pod) == "Running" && count == 0 {
            return Some(format!("pod {} is Running and has no group", pod.name_any()));
        }
    }
    None
}
