//! Fields of the pod and its containers that variables and files may name: `fieldRef` and `resourceFieldRef`.

use std::{collections::BTreeMap, fmt::Write as _};

use k8s_openapi::{
    api::core::v1::{ObjectFieldSelector, Pod, ResourceFieldSelector, ResourceRequirements},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{NodeFacts, containers::containers};
use crate::quantity::Quantity;

/// What a variable's `fieldRef` yields.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Field {
    Known(String),
    /// An address of the pod, known only to what runs it.
    PodAddress,
}

/// The field that a variable names. An error says what is wrong with the name.
pub(super) fn variable(pod: &Pod, selector: &ObjectFieldSelector, node: &NodeFacts) -> Result<Field, String> {
    let version = selector.api_version.as_deref().unwrap_or("v1");
    if version != "v1" {
        return Err(format!("fieldRef has the unknown apiVersion {version:?}"));
    }
    let spec = pod.spec.as_ref();
    let known = match selector.field_path.as_str() {
        "status.podIP" | "status.podIPs" => return Ok(Field::PodAddress),
        // The second is the name that early versions of the API used.
        "spec.nodeName" | "spec.host" => spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default(),
        "status.hostIP" => node.host_ips.first().ok_or("the node has no address")?.to_string(),
        "status.hostIPs" => node.host_ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        path => metadata(&pod.metadata, path)?,
    };
    Ok(Field::Known(known))
}

/// The field of the metadata that a path names: all that a file may name.
pub(super) fn metadata(metadata: &ObjectMeta, path: &str) -> Result<String, String> {
    let value = |entries: &Option<BTreeMap<String, String>>, key| {
        entries.as_ref().and_then(|entries| entries.get(key)).cloned().unwrap_or_default()
    };
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        return match map {
            "metadata.labels" => Ok(value(&metadata.labels, key)),
            "metadata.annotations" => Ok(value(&metadata.annotations, key)),
            _ => Err(format!("fieldPath {path:?} does not support a subscript")),
        };
    }
    match path {
        "metadata.name" => Ok(metadata.name.clone().unwrap_or_default()),
        "metadata.namespace" => Ok(metadata.namespace.clone().unwrap_or_default()),
        "metadata.uid" => Ok(metadata.uid.clone().unwrap_or_default()),
        "metadata.labels" => Ok(lines(&metadata.labels)),
        "metadata.annotations" => Ok(lines(&metadata.annotations)),
        _ => Err(format!("unsupported fieldPath {path:?}")),
    }
}

/// One `key="value"` a line, sorted by key, without a newline at the end.
fn lines(entries: &Option<BTreeMap<String, String>>) -> String {
    let mut text = String::new();
    for (key, value) in entries.iter().flatten() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(key);
        text.push('=');
        quote(value, &mut text);
    }
    text
}

/// A string literal of the Go language, which is what readers of these files parse.
fn quote(value: &str, text: &mut String) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{07}' => text.push_str("\\a"),
            '\u{08}' => text.push_str("\\b"),
            '\u{0c}' => text.push_str("\\f"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{0b}' => text.push_str("\\v"),
            c if is_printable(c) => text.push(c),
            // Writing to a String cannot fail.
            c if c < ' ' || c == '\u{7f}' => _ = write!(text, "\\x{:02x}", u32::from(c)),
            c if c <= '\u{ffff}' => _ = write!(text, "\\u{:04x}", u32::from(c)),
            c => _ = write!(text, "\\U{:08x}", u32::from(c)),
        }
    }
    text.push('"');
}

/// Letters, marks, numbers, punctuation, symbols and the space. The standard library knows them for its own escapes,
/// where only the first character of a string must not be a combining mark.
fn is_printable(c: char) -> bool {
    matches!(c, '\'') || {
        let mut buffer = [b'a'; 5];
        let length = c.encode_utf8(buffer.get_mut(1..).unwrap_or_default()).len();
        let text = buffer.get(..=length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
        text.escape_debug().count() == 2
    }
}

/// Which limits hold for a container that sets none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reader<'a> {
    /// A variable of this container, which has these resources.
    Variable(Option<&'a ResourceRequirements>),
    /// A file of a volume.
    File,
}

/// The resource of a container that a selector names, in units of its divisor, rounded up.
pub(super) fn resource(
    pod: &Pod,
    reader: Reader<'_>,
    selector: &ResourceFieldSelector,
    node: &NodeFacts,
) -> Result<String, String> {
    let spec = pod.spec.as_ref().ok_or("the pod has no spec")?;
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let (resources, defaulted) = match (named, reader) {
        (None, Reader::Variable(own)) => (own, true),
        (None, Reader::File) => return Err("resourceFieldRef needs a containerName in a volume".to_owned()),
        (Some(name), _) => {
            let container = containers(spec)
                .filter(|container| !container.ephemeral)
                .find(|container| container.name == name)
                .ok_or_else(|| format!("resourceFieldRef names the container {name:?}, which does not exist"))?;
            // The kubelet gives variables no default for an init container that they name.
            (container.resources, reader == Reader::File || !container.init)
        }
    };

    let unsupported = || format!("unsupported resource {:?}", selector.resource);
    let (side, resource) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let in_thousandths = resource == "cpu";
    let has_default = matches!(resource, "cpu" | "memory" | "ephemeral-storage");
    if !has_default && !resource.starts_with("hugepages-") {
        return Err(unsupported());
    }
    let stated = match side {
        "limits" => resources.and_then(|resources| resources.limits.as_ref()),
        "requests" => resources.and_then(|resources| resources.requests.as_ref()),
        _ => return Err(unsupported()),
    };
    let read =
        |text: Option<&_>| text.map_or(Ok(Quantity::ZERO), Quantity::try_from).map_err(|error| error.to_string());
    let mut value = read(stated.and_then(|stated| stated.get(resource)))?;
    if value.is_zero() && defaulted && side == "limits" && has_default {
        // A pod's own limit counts before the node's size, for variables only and only where the node has one.
        let allocatable = node.allocatable.get(resource);
        let of_pod =
            spec.resources.as_ref().and_then(|pod| pod.limits.as_ref()).and_then(|limits| limits.get(resource));
        let of_pod = read(
            of_pod.filter(|_| reader != Reader::File && allocatable.is_some() && resource != "ephemeral-storage"),
        )?;
        value = if of_pod.is_zero() { read(allocatable)? } else { of_pod };
    }

    let divisor = match read(selector.divisor.as_ref())? {
        zero if zero.is_zero() => "1".parse().map_err(|_| unsupported())?,
        divisor => divisor,
    };
    let (value, divisor) =
        if in_thousandths { (value.millis(), divisor.millis()) } else { (value.units(), divisor.units()) };
    let (value, divisor) = (i128::from(value), i128::from(divisor));
    Ok((value.div_euclid(divisor) + i128::from(value.rem_euclid(divisor) != 0)).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "p", "namespace": "ns", "uid": "u-1",
                "labels": {"app": "web", "a/b.c": "x"},
                "annotations": {"note": "say \"hi\"\n\tto é \u{200b}\u{1}", "empty": ""},
            },
            "spec": {
                "nodeName": "vk", "serviceAccountName": "robot",
                "initContainers": [{"name": "init"}],
                "containers": [
                    {"name": "main", "resources": {
                        "limits": {"cpu": "1500m", "memory": "1Gi", "hugepages-2Mi": "4Mi"},
                        "requests": {"cpu": "250m", "memory": "100M", "ephemeral-storage": "1"},
                    }},
                    {"name": "bare"},
                ],
                "ephemeralContainers": [{"name": "debug"}],
            },
        }))
        .unwrap()
    }

    fn node() -> NodeFacts {
        let quantities = [("cpu", "4"), ("memory", "8Gi"), ("ephemeral-storage", "10G"), ("hugepages-2Mi", "1Gi")];
        NodeFacts {
            host_ips: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            allocatable: quantities
                .map(|(name, value)| (name.to_owned(), serde_json::from_value(json!(value)).unwrap()))
                .into(),
            ..NodeFacts::default()
        }
    }

    fn field(path: &str) -> Result<Field, String> {
        let selector = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: path.to_owned() };
        variable(&pod(), &selector, &node())
    }

    #[test]
    fn fields_have_the_values_that_the_kubelet_gives_them() {
        for (path, value) in [
            ("metadata.name", "p"),
            ("metadata.namespace", "ns"),
            ("metadata.uid", "u-1"),
            ("metadata.labels['app']", "web"),
            ("metadata.labels['a/b.c']", "x"),
            ("metadata.labels['none']", ""),
            ("metadata.annotations['empty']", ""),
            ("metadata.labels", "a/b.c=\"x\"\napp=\"web\""),
            ("metadata.annotations", "empty=\"\"\nnote=\"say \\\"hi\\\"\\n\\tto é \\u200b\\x01\""),
            ("spec.nodeName", "vk"),
            ("spec.host", "vk"),
            ("spec.serviceAccountName", "robot"),
            ("status.hostIP", "10.0.0.1"),
            ("status.hostIPs", "10.0.0.1,fd00::1"),
        ] {
            assert_eq!(field(path), Ok(Field::Known(value.to_owned())), "{path}");
        }
        assert_eq!(field("status.podIP"), Ok(Field::PodAddress));
        assert_eq!(field("status.podIPs"), Ok(Field::PodAddress));
    }

    #[test]
    fn unknown_fields_are_errors() {
        for path in ["", "metadata", "metadata.name['x']", "spec.nodeName['x']", "status.phase", "['x']"] {
            assert!(field(path).is_err(), "{path}");
        }
    }

    #[test]
    fn quoting_escapes_what_go_escapes() {
        for (value, quoted) in [
            ("plain 'text'", "\"plain 'text'\""),
            ("\u{7}\u{8}\u{c}\n\r\t\u{b}", "\"\\a\\b\\f\\n\\r\\t\\v\""),
            ("\u{0}\u{1f}\u{7f}", "\"\\x00\\x1f\\x7f\""),
            ("e\u{301} 漢 🎉", "\"e\u{301} 漢 🎉\""),
            ("\u{a0}\u{2028}\u{feff}\u{e000}", "\"\\u00a0\\u2028\\ufeff\\ue000\""),
            ("\u{10ffff}", "\"\\U0010ffff\""),
            ("\\", "\"\\\\\""),
        ] {
            let mut text = String::new();
            quote(value, &mut text);
            assert_eq!(text, quoted);
        }
    }

    fn read(pod: &Pod, reader: Reader<'_>, container: &str, name: &str, divisor: &str) -> Result<String, String> {
        let selector =
            serde_json::from_value(json!({"containerName": container, "resource": name, "divisor": divisor}));
        resource(pod, reader, &selector.unwrap(), &node())
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let pod = pod();
        for (container, name, divisor, value) in [
            ("main", "limits.cpu", "0", "2"),
            ("main", "limits.cpu", "1", "2"),
            ("main", "limits.cpu", "1m", "1500"),
            ("main", "requests.cpu", "100m", "3"),
            ("main", "limits.memory", "0", "1073741824"),
            ("main", "limits.memory", "1Mi", "1024"),
            ("main", "limits.memory", "1M", "1074"),
            ("main", "requests.memory", "1Mi", "96"),
            ("main", "requests.ephemeral-storage", "1k", "1"),
            ("main", "limits.hugepages-2Mi", "1Mi", "4"),
            ("bare", "limits.hugepages-2Mi", "1", "0"),
            ("bare", "requests.memory", "1", "0"),
            ("bare", "limits.cpu", "1", "4"),
            ("bare", "limits.ephemeral-storage", "1G", "10"),
        ] {
            for reader in [Reader::File, Reader::Variable(None)] {
                assert_eq!(
                    read(&pod, reader, container, name, divisor).as_deref(),
                    Ok(value),
                    "{container} {name} {divisor}"
                );
            }
        }
    }

    #[test]
    fn defaults_depend_on_the_reader_as_in_the_kubelet() {
        let mut pod = pod();
        pod.spec.as_mut().unwrap().resources =
            Some(serde_json::from_value(json!({"limits": {"cpu": "3", "memory": "2Gi"}})).unwrap());
        let variable = Reader::Variable(None);
        for (reader, container, name, value) in [
            (variable, "", "limits.cpu", "3"),
            (variable, "bare", "limits.cpu", "3"),
            (variable, "main", "limits.cpu", "2"),
            (variable, "init", "limits.cpu", "0"),
            (Reader::File, "init", "limits.cpu", "4"),
            (Reader::File, "bare", "limits.cpu", "4"),
        ] {
            assert_eq!(read(&pod, reader, container, name, "1").as_deref(), Ok(value), "{reader:?} {container} {name}");
        }
    }

    #[test]
    fn unknown_resources_and_containers_are_errors() {
        let pod = pod();
        for (container, name, divisor) in [
            ("main", "limits.pods", "1"),
            ("main", "cpu", "1"),
            ("main", "used.cpu", "1"),
            ("nobody", "limits.cpu", "1"),
            ("debug", "limits.cpu", "1"),
            ("", "limits.cpu", "1"),
            ("main", "limits.cpu", "one"),
        ] {
            assert!(read(&pod, Reader::File, container, name, divisor).is_err(), "{container} {name} {divisor}");
        }
    }
}
