//! The variables of a pod's containers: `env`, `envFrom` and the Services.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use k8s_openapi::api::core::v1::{ConfigMapKeySelector, EnvFromSource, EnvVarSource, Pod, SecretKeySelector};

use super::{
    NodeFacts, Notice, Unresolved,
    containers::{Container, containers},
    expansion::expand,
    fields::{self, Field, Reader},
    objects::{Key, Kind, Objects, missing_key},
    services,
};

/// Reason of the event when variables cannot be made.
const REASON: &str = "CreateContainerConfigError";

/// The variables of a pod's containers as at its creation. Holds secrets; cheap to clone.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Environment(Arc<BTreeMap<String, Vec<Variable>>>);

/// A variable of one container.
#[derive(Clone, PartialEq)]
pub(super) struct Variable {
    pub(super) name: Arc<str>,
    /// `None`: an address of the pod, which only the provider knows.
    pub(super) value: Option<Arc<str>>,
    /// Where the value comes from.
    pub(super) source: Option<Arc<EnvVarSource>>,
}

/// Values are secrets: only the names are shown.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names =
            |variables: &Vec<Variable>| variables.iter().map(|variable| variable.name.clone()).collect::<Vec<_>>();
        f.debug_map().entries(self.0.iter().map(|(container, variables)| (container, names(variables)))).finish()
    }
}

/// What the variables of a pod are made from.
pub(super) struct Ingredients<'a> {
    pub(super) pod: &'a Pod,
    pub(super) namespace: &'a str,
    pub(super) node: &'a NodeFacts,
    pub(super) objects: &'a Objects,
    pub(super) services: &'a [services::Variable],
}

impl Environment {
    /// The variables of a container, in order, each name once.
    pub(super) fn of(&self, container: &str) -> &[Variable] {
        self.0.get(container).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether the variables of every container are known.
    pub(super) fn covers(&self, pod: &Pod) -> bool {
        pod.spec.iter().flat_map(containers).all(|container| self.0.contains_key(container.name))
    }

    /// The objects that must be read to make the variables that are not known yet.
    pub(super) fn wanted(&self, pod: &Pod, namespace: &str) -> BTreeSet<Key> {
        let key = |kind, name: &str| Key { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        let mut keys = BTreeSet::new();
        for container in pod.spec.iter().flat_map(containers).filter(|container| !self.0.contains_key(container.name)) {
            for source in container.env_from {
                keys.extend(source.config_map_ref.as_ref().map(|map| key(Kind::ConfigMap, &map.name)));
                keys.extend(source.secret_ref.as_ref().map(|secret| key(Kind::Secret, &secret.name)));
            }
            for source in container.env.iter().filter_map(|variable| variable.value_from.as_ref()) {
                keys.extend(source.config_map_key_ref.as_ref().map(|map| key(Kind::ConfigMap, &map.name)));
                keys.extend(source.secret_key_ref.as_ref().map(|secret| key(Kind::Secret, &secret.name)));
            }
        }
        keys
    }

    /// With the variables of the containers that are not in it yet.
    pub(super) fn completed(
        &self,
        ingredients: &Ingredients<'_>,
        notices: &mut Vec<Notice>,
    ) -> Result<Environment, Unresolved> {
        let mut all = BTreeMap::new();
        for container in ingredients.pod.spec.iter().flat_map(containers) {
            let variables = match self.0.get(container.name) {
                Some(known) => known.clone(),
                None => Builder { ingredients, container: &container, known: Known::default() }.build(notices)?,
            };
            all.insert(container.name.to_owned(), variables);
        }
        Ok(Environment(Arc::new(all)))
    }
}

/// Variables in the order of their last definition.
#[derive(Default)]
struct Known {
    variables: Vec<Option<Variable>>,
    positions: HashMap<Arc<str>, usize>,
}

impl Known {
    fn set(&mut self, variable: Variable) {
        let position = self.variables.len();
        if let Some(earlier) = self.positions.insert(variable.name.clone(), position)
            && let Some(slot) = self.variables.get_mut(earlier)
        {
            *slot = None;
        }
        self.variables.push(Some(variable));
    }

    fn get(&self, name: &str) -> Option<&Variable> {
        self.variables.get(*self.positions.get(name)?)?.as_ref()
    }
}

struct Builder<'a> {
    ingredients: &'a Ingredients<'a>,
    container: &'a Container<'a>,
    known: Known,
}

impl Builder<'_> {
    fn build(mut self, notices: &mut Vec<Notice>) -> Result<Vec<Variable>, Unresolved> {
        for source in self.container.env_from {
            self.add_all(source, notices)?;
        }
        let services: HashMap<&str, &Arc<str>> =
            self.ingredients.services.iter().map(|(name, value)| (&**name, value)).collect();
        for variable in self.container.env {
            let stated = variable.value.as_deref().unwrap_or_default();
            let value = if stated.is_empty() && variable.value_from.is_some() {
                match self.referenced(&variable.name, variable.value_from.as_ref(), notices)? {
                    Some(value) => value,
                    // An earlier definition of the same name stays.
                    None => continue,
                }
            } else {
                Some(expand(stated, |name| match self.known.get(name) {
                    Some(known) => known.value.as_deref().map(Cow::Borrowed),
                    None => services.get(name).map(|value| Cow::Borrowed(&***value)),
                }))
            };
            let source = variable.value_from.clone().map(Arc::new);
            self.known.set(Variable { name: variable.name.as_str().into(), value: value.map(Into::into), source });
        }
        for (name, value) in self.ingredients.services {
            if self.known.get(name).is_none() {
                self.known.set(Variable { name: name.clone(), value: Some(value.clone()), source: None });
            }
        }
        Ok(self.known.variables.into_iter().flatten().collect())
    }

    /// Every key of an object.
    fn add_all(&mut self, source: &EnvFromSource, notices: &mut Vec<Notice>) -> Result<(), Unresolved> {
        let (kind, name, optional) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(map), _) => (Kind::ConfigMap, &map.name, map.optional),
            (None, Some(secret)) => (Kind::Secret, &secret.name, secret.optional),
            (None, None) => return Ok(()),
        };
        let user = format!("envFrom of container {:?}", self.container.name);
        let key = self.key(kind, name);
        let Some(object) = self.ingredients.objects.find(&key, optional == Some(true), &user, notices)? else {
            return Ok(());
        };
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let (mut invalid_names, mut invalid_values) = (Vec::new(), Vec::new());
        for (data_key, value) in &object.data {
            let variable = format!("{prefix}{data_key}");
            let value = variable_text(value);
            match value {
                _ if !is_variable_name(&variable) => invalid_names.push(variable),
                None => invalid_values.push(data_key.as_str()),
                Some(text) => {
                    let value = Some(text.into());
                    let source = Some(Arc::new(key_reference(kind, name, data_key, optional)));
                    self.known.set(Variable { name: variable.into(), value, source });
                }
            }
        }
        let place = format!("from {kind} {}/{name} were skipped since they are", self.ingredients.namespace);
        if !invalid_names.is_empty() {
            invalid_names.sort();
            let message = format!("keys [{}] {place} invalid as environment variable names", invalid_names.join(", "));
            notices.push(Notice { reason: "InvalidEnvironmentVariableNames", message });
        }
        if !invalid_values.is_empty() {
            let message = format!("keys [{}] {place} not text; mount them as files", invalid_values.join(", "));
            notices.push(Notice { reason: "InvalidEnvironmentVariableValues", message });
        }
        Ok(())
    }

    /// What a `valueFrom` yields. The outer `None`: an optional one that is missing.
    fn referenced(
        &self,
        name: &str,
        source: Option<&EnvVarSource>,
        notices: &mut Vec<Notice>,
    ) -> Result<Option<Option<String>>, Unresolved> {
        let Ingredients { pod, node, .. } = *self.ingredients;
        let wrong = |error| {
            Unresolved::held(REASON, format!("envvar {name:?} of container {:?}: {error}", self.container.name))
        };
        let value = match source {
            Some(EnvVarSource { field_ref: Some(selector), .. }) => {
                match fields::variable(pod, selector, node).map_err(wrong)? {
                    Field::Known(value) => Some(value),
                    Field::PodAddress => None,
                }
            }
            Some(EnvVarSource { resource_field_ref: Some(selector), .. }) => {
                Some(fields::resource(pod, Reader::Variable(self.container.resources), selector, node).map_err(wrong)?)
            }
            Some(EnvVarSource { config_map_key_ref: Some(selector), .. }) => {
                return self.keyed(name, Kind::ConfigMap, &selector.name, &selector.key, selector.optional, notices);
            }
            Some(EnvVarSource { secret_key_ref: Some(selector), .. }) => {
                return self.keyed(name, Kind::Secret, &selector.name, &selector.key, selector.optional, notices);
            }
            Some(EnvVarSource { file_key_ref: Some(_), .. }) => {
                return Err(wrong("fileKeyRef is not supported on this node".to_owned()));
            }
            _ => Some(String::new()),
        };
        Ok(Some(value))
    }

    fn keyed(
        &self,
        variable: &str,
        kind: Kind,
        name: &str,
        key: &str,
        optional: Option<bool>,
        notices: &mut Vec<Notice>,
    ) -> Result<Option<Option<String>>, Unresolved> {
        let optional = optional == Some(true);
        let user = format!("envvar {variable:?}");
        let object_key = self.key(kind, name);
        let Some(object) = self.ingredients.objects.find(&object_key, optional, &user, notices)? else {
            return Ok(None);
        };
        match object.data.get(key).map(|value| variable_text(value)) {
            Some(Some(text)) => Ok(Some(Some(text.to_owned()))),
            Some(None) => Err(Unresolved::held(
                REASON,
                format!("key {key:?} of {kind} {name:?} is not text and cannot be {user}; mount it as a file"),
            )),
            None => missing_key(&object_key, key, optional, &user, notices).map(|()| None),
        }
    }

    fn key(&self, kind: Kind, name: &str) -> Key {
        Key { kind, namespace: self.ingredients.namespace.to_owned(), name: name.to_owned() }
    }
}

/// The reference that would yield what `envFrom` yields for one key.
fn key_reference(kind: Kind, name: &str, key: &str, optional: Option<bool>) -> EnvVarSource {
    let (name, key) = (name.to_owned(), key.to_owned());
    match kind {
        Kind::ConfigMap => EnvVarSource {
            config_map_key_ref: Some(ConfigMapKeySelector { name, key, optional }),
            ..EnvVarSource::default()
        },
        Kind::Secret => {
            EnvVarSource { secret_key_ref: Some(SecretKeySelector { name, key, optional }), ..EnvVarSource::default() }
        }
    }
}

/// What can be the value of a variable: text without NUL.
fn variable_text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|text| !text.contains('\0'))
}

/// The rule of Kubernetes since 1.34: printable ASCII other than `=`.
fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::references::objects::State;

    fn object(kind: Kind, name: &str, data: &[(&str, &[u8])]) -> (Key, State) {
        let object = super::super::objects::Object {
            uid: format!("uid-{name}"),
            resource_version: "1".to_owned(),
            immutable: false,
            secret_type: String::new(),
            data: data.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect(),
            binary_data: [("binary".to_owned(), b"x".to_vec())].into(),
        };
        (Key { kind, namespace: "ns".to_owned(), name: name.to_owned() }, State::Found(Arc::new(object)))
    }

    fn missing(kind: Kind, name: &str) -> (Key, State) {
        (Key { kind, namespace: "ns".to_owned(), name: name.to_owned() }, State::Missing)
    }

    fn objects() -> Objects {
        [
            object(Kind::ConfigMap, "map", &[("COLOR", b"red"), ("SIZE", b"1"), ("with space.and-dash", b"y")]),
            object(Kind::ConfigMap, "other", &[("COLOR", b"blue")]),
            object(Kind::Secret, "secret", &[("PASSWORD", b"hunter2"), ("BLOB", &[0xff, 0xfe]), ("NUL", b"a\0b")]),
            missing(Kind::ConfigMap, "gone"),
            missing(Kind::Secret, "gone"),
            (Key { kind: Kind::Secret, namespace: "ns".to_owned(), name: "hidden".to_owned() }, State::Denied),
        ]
        .into_iter()
        .collect()
    }

    /// Name and value.
    type Pairs = Vec<(String, Option<String>)>;

    fn make(container: Value) -> (Result<Pairs, Unresolved>, Vec<Notice>) {
        let mut container = container;
        container["name"] = json!("c");
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"containers": [container], "serviceAccountName": "robot"},
        }))
        .unwrap();
        let services = [("DB_SERVICE_HOST".into(), "10.0.0.1".into()), ("COLOR".into(), "of a service".into())];
        let ingredients = Ingredients {
            pod: &pod,
            namespace: "ns",
            node: &NodeFacts::default(),
            objects: &objects(),
            services: &services,
        };
        let mut notices = Vec::new();
        let result = Environment::default().completed(&ingredients, &mut notices).map(|environment| {
            let pairs = environment.of("c").iter();
            pairs.map(|variable| (variable.name.to_string(), variable.value.as_deref().map(str::to_owned))).collect()
        });
        (result, notices)
    }

    fn values(container: Value) -> Pairs {
        make(container).0.unwrap()
    }

    fn pairs(expected: &[(&str, &str)]) -> Pairs {
        expected.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect()
    }

    #[test]
    fn env_overrides_env_from_which_overrides_services() {
        let made = values(json!({
            "envFrom": [{"configMapRef": {"name": "map"}}, {"configMapRef": {"name": "other"}}],
            "env": [{"name": "SIZE", "value": "2"}, {"name": "HOST", "value": "$(DB_SERVICE_HOST):$(SIZE)"}],
        }));
        let expected = [
            ("with space.and-dash", "y"),
            ("COLOR", "blue"),
            ("SIZE", "2"),
            ("HOST", "10.0.0.1:2"),
            ("DB_SERVICE_HOST", "10.0.0.1"),
        ];
        assert_eq!(made, pairs(&expected));
    }

    #[test]
    fn values_expand_what_is_defined_before_them() {
        let made = values(json!({"env": [
            {"name": "EARLY", "value": "$(LATE)"},
            {"name": "LATE", "value": "x"},
            {"name": "SELF", "value": "1"},
            {"name": "SELF", "value": "$(SELF)2"},
            {"name": "ESCAPED", "value": "$$(LATE)"},
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "PASSWORD"}}},
            {"name": "URL", "value": "db://$(PASSWORD)@$(COLOR)"},
            {"name": "EMPTY"},
        ]}));
        let expected = [
            ("EARLY", "$(LATE)"),
            ("LATE", "x"),
            ("SELF", "12"),
            ("ESCAPED", "$(LATE)"),
            ("PASSWORD", "hunter2"),
            ("URL", "db://hunter2@of a service"),
            ("EMPTY", ""),
            ("DB_SERVICE_HOST", "10.0.0.1"),
            ("COLOR", "of a service"),
        ];
        assert_eq!(made, pairs(&expected));
    }

    #[test]
    fn pod_addresses_are_left_to_the_provider_and_references_to_them_stay() {
        let made = values(json!({"env": [
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "URL", "value": "http://$(IP):80"},
        ]}));
        assert_eq!(made[0], ("IP".to_owned(), None));
        assert_eq!(made[1], ("URL".to_owned(), Some("http://$(IP):80".to_owned())));
    }

    #[test]
    fn optional_references_that_are_missing_are_skipped_with_a_notice() {
        let (made, notices) = make(json!({
            "envFrom": [{"secretRef": {"name": "gone", "optional": true}}, {"configMapRef": {"name": "other"}}],
            "env": [
                {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "gone", "key": "k", "optional": true}}},
                {"name": "X", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "none", "optional": true}}},
            ],
        }));
        assert_eq!(made.unwrap(), pairs(&[("COLOR", "blue"), ("DB_SERVICE_HOST", "10.0.0.1")]));
        let told: Vec<_> = notices.iter().map(|notice| (notice.reason, notice.message.as_str())).collect();
        assert_eq!(
            told,
            [
                ("OptionalSecretNotFound", "skipping optional envFrom of container \"c\": secret \"gone\" not found"),
                ("OptionalConfigMapNotFound", "skipping optional envvar \"COLOR\": configmap \"gone\" not found"),
                (
                    "OptionalSecretKeyNotFound",
                    "skipping optional envvar \"X\": key \"none\" does not exist in secret \"secret\""
                ),
            ]
        );
    }

    #[test]
    fn mandatory_references_hold_the_pod() {
        let key_ref = |kind: &str, name: &str, key: &str| json!({"env": [{"name": "E", "valueFrom": {kind: {"name": name, "key": key}}}]});
        for (container, reason) in [
            (key_ref("configMapKeyRef", "gone", "k"), "MandatoryConfigMapNotFound"),
            (key_ref("configMapKeyRef", "map", "none"), "MandatoryConfigMapKeyNotFound"),
            (key_ref("configMapKeyRef", "map", "binary"), "MandatoryConfigMapKeyNotFound"),
            (key_ref("secretKeyRef", "gone", "k"), "MandatorySecretNotFound"),
            (key_ref("secretKeyRef", "secret", "none"), "MandatorySecretKeyNotFound"),
            (key_ref("secretKeyRef", "hidden", "k"), "FailedToReadMandatorySecret"),
            (key_ref("secretKeyRef", "secret", "BLOB"), "CreateContainerConfigError"),
            (key_ref("secretKeyRef", "secret", "NUL"), "CreateContainerConfigError"),
            (json!({"envFrom": [{"secretRef": {"name": "gone"}}]}), "MandatorySecretNotFound"),
            (json!({"envFrom": [{"secretRef": {"name": "hidden", "optional": true}}]}), "FailedToReadOptionalSecret"),
            (
                json!({"env": [{"name": "E", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "p", "key": "k"}}}]}),
                "CreateContainerConfigError",
            ),
            (
                json!({"env": [{"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]}),
                "CreateContainerConfigError",
            ),
        ] {
            let error = make(container).0.unwrap_err();
            assert_eq!((error.reason, error.transient), (reason, false), "{error}");
        }
    }

    #[test]
    fn keys_that_cannot_be_variables_are_skipped_with_a_notice() {
        let (made, notices) = make(json!({"envFrom": [
            {"secretRef": {"name": "secret"}, "prefix": "S_"},
            {"configMapRef": {"name": "other"}, "prefix": "é"},
        ]}));
        assert_eq!(made.unwrap()[0], ("S_PASSWORD".to_owned(), Some("hunter2".to_owned())));
        assert_eq!(
            notices.iter().map(|notice| (notice.reason, notice.message.as_str())).collect::<Vec<_>>(),
            [
                (
                    "InvalidEnvironmentVariableValues",
                    "keys [BLOB, NUL] from secret ns/secret were skipped since they are not text; mount them as files"
                ),
                (
                    "InvalidEnvironmentVariableNames",
                    "keys [éCOLOR] from configmap ns/other were skipped since they are invalid as environment variable names"
                ),
            ]
        );
    }

    #[test]
    fn variables_of_env_from_say_where_they_come_from() {
        let pod: Pod = serde_json::from_value(json!({
            "spec": {"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "secret"}, "prefix": "S_"}]}]},
        }))
        .unwrap();
        let ingredients =
            Ingredients { pod: &pod, namespace: "ns", node: &NodeFacts::default(), objects: &objects(), services: &[] };
        let environment = Environment::default().completed(&ingredients, &mut Vec::new()).unwrap();
        let [variable] = environment.of("c") else { panic!("one variable") };
        let source = serde_json::to_value(variable.source.as_deref()).unwrap();
        assert_eq!(source, json!({"secretKeyRef": {"name": "secret", "key": "PASSWORD"}}));
        assert_eq!(format!("{environment:?}"), r#"{"c": ["S_PASSWORD"]}"#);
    }

    #[test]
    fn a_known_environment_is_kept_and_only_new_containers_are_added() {
        let pod = |value: &str, containers: &[&str]| -> Pod {
            let env = json!([{"name": "E", "value": value}]);
            let ephemeral: Vec<_> = containers.iter().map(|name| json!({"name": name, "env": env})).collect();
            serde_json::from_value(json!({
                "spec": {"containers": [{"name": "c", "env": env}], "ephemeralContainers": ephemeral},
            }))
            .unwrap()
        };
        let complete = |environment: &Environment, pod: &Pod| {
            let ingredients = Ingredients {
                pod,
                namespace: "ns",
                node: &NodeFacts::default(),
                objects: &Objects::default(),
                services: &[],
            };
            environment.completed(&ingredients, &mut Vec::new()).unwrap()
        };
        let first = complete(&Environment::default(), &pod("old", &[]));
        assert!(first.covers(&pod("new", &[])) && !first.covers(&pod("new", &["debug"])));
        let second = complete(&first, &pod("new", &["debug"]));
        assert!(second.of("c") == first.of("c"));
        assert_eq!(second.of("debug")[0].value.as_deref(), Some("new"));
    }

    proptest! {
        #[test]
        fn every_name_appears_once_with_its_last_value(names in proptest::collection::vec("[A-E]", 0..20)) {
            let env: Vec<_> =
                names.iter().enumerate().map(|(index, name)| json!({"name": name, "value": index.to_string()})).collect();
            let made = values(json!({"env": env}));
            let last: BTreeMap<_, _> = names.iter().enumerate().map(|(index, name)| (name.clone(), index)).collect();
            let declared: Vec<_> = made.iter().filter(|(name, _)| name.len() == 1).collect();
            prop_assert_eq!(declared.len(), last.len());
            for (name, value) in declared {
                prop_assert_eq!(value.clone(), Some(last[name].to_string()));
            }
        }
    }
}
