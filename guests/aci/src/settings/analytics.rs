//! The workspace that containers' output is sent to.

use std::collections::BTreeMap;

use serde_json::Value;
use vk_sdk::{Error, Result};

use super::{credentials::decode, file::File, given, surroundings::Surroundings};
use crate::group::{LogAnalytics, Secret};

const INCOMPLETE: &str = "log analytics needs both the workspace's id and its key: set LOG_ANALYTICS_ID and \
                          LOG_ANALYTICS_KEY, or workspaceId and workspaceKey in the file of LOG_ANALYTICS_AUTH_LOCATION";

pub(super) fn read(file: &File, surroundings: &dyn Surroundings, node_name: &str) -> Result<Option<LogAnalytics>> {
    let variable = |name| surroundings.variable(name);
    let (location, path) = match (variable("LOG_ANALYTICS_AUTH_LOCATION"), &file.log_analytics_auth_location) {
        (Some(path), _) => ("LOG_ANALYTICS_AUTH_LOCATION", Some(path)),
        (None, path) => ("LogAnalyticsAuthLocation", given(path)),
    };
    let mut analytics = match path {
        Some(path) => Some(from_file(location, &path, &surroundings.file(&path, location)?)?),
        None => None,
    };
    match (variable("LOG_ANALYTICS_ID"), variable("LOG_ANALYTICS_KEY")) {
        (Some(id), Some(key)) => {
            let analytics = analytics.get_or_insert_default();
            analytics.workspace_id = id;
            analytics.workspace_key = Some(Secret(key));
        }
        (None, None) => {}
        _ if analytics.is_some() => {}
        _ => return Err(Error::invalid(INCOMPLETE)),
    }
    let Some(mut analytics) = analytics else { return Ok(None) };
    if analytics.workspace_id.is_empty() || analytics.workspace_key.as_ref().is_none_or(|key| key.0.is_empty()) {
        return Err(Error::invalid(INCOMPLETE));
    }
    if let Some(cluster) = variable("CLUSTER_RESOURCE_ID").or_else(|| given(&file.cluster_resource_id)) {
        analytics.log_type = Some("ContainerInsights".to_owned());
        let entries = [("cluster-resource-id", cluster.as_str()), ("node-name", node_name)];
        analytics.metadata.extend(entries.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    Ok(Some(analytics))
}

/// Keys are found in any case: charts have written `workspaceID`.
fn from_file(location: &str, path: &str, content: &[u8]) -> Result<LogAnalytics> {
    let text = decode(content);
    let refused = |problem: &str| Error::invalid(format!("{location}: {path:?} {problem}"));
    if text.trim().is_empty() {
        return Err(refused("is empty: write workspaceId and workspaceKey into it, as JSON"));
    }
    let members: BTreeMap<String, Value> =
        serde_json::from_str(&text).map_err(|_| refused("is not a JSON object with workspaceId and workspaceKey"))?;
    let find = |name: &str| members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let text = |name: &str| find(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let metadata = find("metadata").and_then(Value::as_object).into_iter().flatten();
    Ok(LogAnalytics {
        workspace_id: text("workspaceId").unwrap_or_default(),
        workspace_key: text("workspaceKey").map(Secret),
        log_type: text("logType"),
        metadata: metadata.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect(),
        workspace_resource_id: text("workspaceResourceId"),
    })
}
