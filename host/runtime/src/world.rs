//! Compares a component with the world `vk:provider/provider`, in words that its author can act on.

use wasmtime::{
    Engine,
    component::{
        Component,
        types::{self as component_types, ComponentInstance, ComponentItem},
    },
};

use crate::{
    bindings::{
        exports::vk::provider::{logs, node, pods, sessions, stats},
        vk::provider::types::{self, PodIdParam},
    },
    inspect::{Import, Inspection},
};

/// The contract's package, and the version that this host was built with.
const PACKAGE: &str = "vk:provider";
const VERSION: &str = "0.1.0";
const REQUIRED: [&str; 2] = ["node", "pods"];
const OPTIONAL: [&str; 3] = ["logs", "sessions", "stats"];

/// What [`host::link`](crate::host::link) defines, by package and version track.
const OFFERED: &[(&str, &str, &[&str])] = &[
    (PACKAGE, "0.1", &["types", "http", "cache", "events", "log"]),
    (
        "wasi:cli",
        "0.2",
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
        ],
    ),
    ("wasi:clocks", "0.2", &["monotonic-clock", "wall-clock"]),
    ("wasi:filesystem", "0.2", &["preopens", "types"]),
    ("wasi:http", "0.2", &["outgoing-handler", "types"]),
    ("wasi:io", "0.2", &["error", "poll", "streams"]),
    ("wasi:random", "0.2", &["insecure", "insecure-seed", "random"]),
    (
        "wasi:sockets",
        "0.2",
        &["instance-network", "ip-name-lookup", "network", "tcp", "tcp-create-socket", "udp", "udp-create-socket"],
    ),
];

/// A name such as `wasi:http/types@0.2.6`.
struct Name<'a> {
    package: &'a str,
    interface: &'a str,
    version: &'a str,
}

impl<'a> Name<'a> {
    /// None for what is not an interface of a package: a plain function, for example.
    fn parse(name: &'a str) -> Option<Self> {
        let (package, rest) = name.split_once('/')?;
        let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
        Some(Self { package, interface, version })
    }

    /// Versions of one track are compatible: `0.1` of `0.1.3`, `1` of `1.2.3`. A pre-release is a track of its own.
    fn track(&self) -> &'a str {
        if self.version.contains('-') {
            return self.version;
        }
        let mut dots = self.version.match_indices('.').map(|(at, _)| at);
        let end = if self.version.starts_with("0.") { dots.nth(1) } else { dots.next() };
        end.and_then(|end| self.version.get(..end)).unwrap_or(self.version)
    }
}

/// Looks at all names and at the types of the exports; those of the imports are compared when the component is linked.
pub(crate) fn look(component: &Component, wasm_bytes: usize) -> Inspection {
    let engine = component.engine();
    let ty = component.component_type();
    // What a component asks for beside interfaces, such as types, gives it nothing that the host would have to define.
    let needs = |item: &ComponentItem| !matches!(item, ComponentItem::Type(_));
    let mut imports: Vec<_> = ty
        .imports(engine)
        .filter(|(_, import)| needs(&import.ty))
        .map(|(name, _)| Import { name: name.to_owned(), offered: offered(name) })
        .collect();
    imports.sort_by(|a, b| a.name.cmp(&b.name));
    let mut exports: Vec<_> = ty.exports(engine).map(|(name, _)| name.to_owned()).collect();
    exports.sort();
    let mut inspection = judge(imports, exports, wasm_bytes);
    if inspection.missing.is_empty() {
        inspection.problems.extend(other_exports(component));
    }
    inspection
}

/// An import that is offered has another type.
pub(crate) fn other_import(error: &wasmtime::Error) -> String {
    format!(
        "an import differs from what the host offers under its name ({error:#}): build it with the provider.wit of \
         {PACKAGE}@{VERSION} and with WASI 0.2"
    )
}

/// An interface's name in the contract.
pub(crate) fn interface(name: &str) -> String {
    format!("{PACKAGE}/{name}@{VERSION}")
}

/// Compares the types of the contract's functions, and describes the first of each interface that differs.
fn other_exports(component: &Component) -> Vec<String> {
    let ty = component.component_type();
    let engine = component.engine();
    ty.exports(engine)
        .filter_map(|(name, export)| {
            let interface = Name::parse(name).filter(|name| name.package == PACKAGE && name.track() == spoken())?;
            let ComponentItem::ComponentInstance(instance) = export.ty else { return None };
            let (function, reason) = other_function(engine, &ty, interface.interface, &instance)?;
            Some(format!(
                "the function {function} of {name} differs from the contract ({reason}): build it with the provider.wit \
                 of {PACKAGE}@{VERSION}"
            ))
        })
        .collect()
}

/// The first function of an interface that differs from the contract, and why.
fn other_function(
    engine: &Engine,
    component: &component_types::Component,
    interface: &str,
    instance: &ComponentInstance,
) -> Option<(&'static str, String)> {
    type Answer<T> = Result<T, types::Error>;
    macro_rules! check {
        ($($function:literal ($($param:ty),*) -> $answer:ty),* $(,)?) => {{$(
            let reason = match instance.get_export(engine, $function).map(|export| export.ty) {
                Some(ComponentItem::ComponentFunc(function)) => {
                    let fits = function.typecheck::<($($param,)*), ($answer,)>(&component.instance_type());
                    fits.err().map(|error| format!("{error:#}"))
                }
                _ => Some("it is missing".to_owned()),
            };
            if let Some(reason) = reason {
                return Some(($function, reason));
            }
        )*}};
    }
    match interface {
        "node" => check!(
            "configure"(node::Startup<'_>) -> Answer<node::Info>,
            "describe"() -> Answer<node::Description>,
        ),
        "pods" => check!(
            "create"(pods::Pod<'_>) -> Answer<pods::Observation>,
            "update"(pods::Pod<'_>, pods::Aspects) -> Answer<pods::Observation>,
            "delete"(PodIdParam<'_>, u32) -> Answer<pods::Deletion>,
            "get"(PodIdParam<'_>) -> Answer<pods::Observation>,
            "poll"(Option<&[u8]>) -> Answer<pods::Changes>,
        ),
        "logs" => check!("read"(logs::Query<'_>, Option<&[u8]>) -> Answer<logs::Chunk>),
        "sessions" => check!(
            "open"(PodIdParam<'_>, sessions::Request<'_>) -> Answer<sessions::Opened>,
            "step"(PodIdParam<'_>, &[u8], &[sessions::Event<'_>]) -> sessions::Progress,
        ),
        "stats" => check!("read"(&[PodIdParam<'_>]) -> Answer<Vec<stats::PodUsage>>),
        _ => {}
    }
    None
}

fn offered(name: &str) -> bool {
    Name::parse(name).is_some_and(|name| {
        OFFERED.iter().any(|(package, track, interfaces)| {
            name.package == *package && name.track() == *track && interfaces.contains(&name.interface)
        })
    })
}

fn judge(imports: Vec<Import>, exports: Vec<String>, wasm_bytes: usize) -> Inspection {
    let ours: Vec<_> =
        exports.iter().filter_map(|name| Name::parse(name)).filter(|name| name.package == PACKAGE).collect();
    let has = |interface: &str| ours.iter().any(|name| name.interface == interface && name.track() == spoken());
    let missing: Vec<_> = REQUIRED.into_iter().filter(|interface| !has(interface)).collect();
    let optional: Vec<_> = OPTIONAL.into_iter().filter(|interface| has(interface)).collect();
    let others: Vec<_> = ours.iter().filter(|name| name.track() != spoken()).collect();
    let imported = imports.iter().filter_map(|import| Name::parse(&import.name)).find(|name| name.package == PACKAGE);
    let track = ours.first().or(imported.as_ref()).map(|name| name.track().to_owned());

    let mut problems = Vec::new();
    if let Some(other) = others.first().filter(|_| !missing.is_empty()) {
        problems.push(format!(
            "it implements {PACKAGE}/{}@{}, but this host speaks {PACKAGE}@{VERSION}: build it with the provider.wit of \
             that version, or use a host that speaks {}",
            other.interface,
            other.version,
            other.track()
        ));
    } else if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|interface| format!("{PACKAGE}/{interface}@{VERSION}")).collect();
        let exported = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
        problems.push(format!(
            "it does not export {} (it exports {exported}): implement the world {PACKAGE}/provider@{VERSION}",
            names.join(" and ")
        ));
    }
    for import in imports.iter().filter(|import| !import.offered) {
        problems.push(not_offered(&import.name));
    }
    Inspection { wasm_bytes, track, imports, exports, missing, optional, problems }
}

/// The track of the contract that this host speaks.
fn spoken() -> &'static str {
    OFFERED.iter().find(|(package, _, _)| *package == PACKAGE).map_or("", |(_, track, _)| track)
}

fn not_offered(import: &str) -> String {
    let name = Name::parse(import);
    let other_version = name.as_ref().and_then(|name| {
        OFFERED
            .iter()
            .find(|(package, track, interfaces)| {
                name.package == *package && name.track() != *track && interfaces.contains(&name.interface)
            })
            .map(|(_, track, _)| track)
    });
    match (name, other_version) {
        (_, Some(track)) => format!("it imports {import}, which the host offers in version {track}: build it for that"),
        (Some(name), None) if name.package == PACKAGE => {
            format!(
                "it imports {import}, which is not part of {PACKAGE}@{VERSION}: use the provider.wit of that version"
            )
        }
        _ => format!("it imports {import}, which the host does not offer: leave it out, or stub it when composing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(imports: &[&str], exports: &[&str]) -> Inspection {
        let imports = imports.iter().map(|name| Import { name: (*name).to_owned(), offered: offered(name) }).collect();
        judge(imports, exports.iter().map(|name| (*name).to_owned()).collect(), 1000)
    }

    const WHOLE: [&str; 2] = ["vk:provider/node@0.1.0", "vk:provider/pods@0.1.0"];

    #[test]
    fn versions_of_one_track_are_compatible() {
        for (name, track) in [
            ("a:b/c@0.1.0", "0.1"),
            ("a:b/c@0.1.17", "0.1"),
            ("a:b/c@1.2.3", "1"),
            ("a:b/c@12.0.0", "12"),
            ("a:b/c@0.2.0-draft", "0.2.0-draft"),
            ("a:b/c", ""),
        ] {
            assert_eq!(Name::parse(name).unwrap().track(), track, "{name}");
        }
    }

    #[test]
    fn a_complete_component_has_no_problems() {
        let whole = judged(&["wasi:http/types@0.2.6", "vk:provider/log@0.1.0"], &WHOLE);
        assert!(whole.satisfied(), "{:?}", whole.problems);
        assert_eq!(whole.track.as_deref(), Some("0.1"));
        let more = judged(&[], &[WHOLE[0], "vk:provider/pods@0.1.9", "vk:provider/logs@0.1.0", "init"]);
        assert!(more.satisfied(), "exports that the host does not know are ignored: {:?}", more.problems);
        assert_eq!(more.optional, ["logs"]);
    }

    #[test]
    fn what_is_missing_is_named_beside_what_is_there() {
        let half = judged(&[], &["vk:provider/node@0.1.0"]);
        assert_eq!(
            half.problems,
            ["it does not export vk:provider/pods@0.1.0 (it exports vk:provider/node@0.1.0): \
              implement the world vk:provider/provider@0.1.0"]
        );
        assert_eq!(half.missing, ["pods"]);
        assert!(judged(&[], &[]).problems[0].contains("(it exports nothing)"));
    }

    #[test]
    fn another_version_of_the_contract_is_named() {
        let newer = judged(&[], &["vk:provider/node@0.2.0", "vk:provider/pods@0.2.0"]);
        assert_eq!(newer.track.as_deref(), Some("0.2"));
        assert!(newer.problems[0].contains("vk:provider/node@0.2.0, but this host speaks vk:provider@0.1.0"));
        let both = judged(&[], &[WHOLE[0], WHOLE[1], "vk:provider/node@0.2.0"]);
        assert!(both.satisfied(), "a component may serve older hosts beside newer ones");
    }

    #[test]
    fn imports_that_are_not_offered_are_listed_with_a_remedy() {
        let foreign = judged(
            &[
                "wasi:keyvalue/store@0.2.0-draft",
                "wasi:http/types@0.3.0",
                "wasi:cli/environment@0.2.12",
                "vk:provider/secrets@0.1.0",
                "env",
            ],
            &WHOLE,
        );
        let problems = foreign.problems.join("\n");
        assert_eq!(foreign.problems.len(), 4, "{problems}");
        assert!(problems.contains("wasi:keyvalue/store@0.2.0-draft, which the host does not offer"));
        assert!(problems.contains("wasi:http/types@0.3.0, which the host offers in version 0.2"));
        assert!(problems.contains("vk:provider/secrets@0.1.0, which is not part of vk:provider@0.1.0"));
        assert!(problems.contains("it imports env, which the host does not offer"));
    }
}
