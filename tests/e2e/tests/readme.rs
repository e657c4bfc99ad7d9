//! What the README shows is what the repository has.

#![allow(clippy::panic, reason = "a test fails by it")]

use std::{fs, path::Path};

/// Documents whose recipes and links are checked.
const DOCUMENTS: [&str; 8] = [
    "README.md",
    "docs/architecture.md",
    "docs/benchmark.md",
    "docs/configuration.md",
    "docs/kubelet-api.md",
    "docs/metrics.md",
    "docs/providers/azure.md",
    "docs/write-a-provider.md",
];

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_first_provider_of_the_readme_is_the_one_that_is_built() {
    let source = read("guests/examples/hello/src/lib.rs");
    assert!(read("README.md").contains(source.trim()), "copy guests/examples/hello/src/lib.rs into the README");
}

#[test]
fn every_recipe_that_a_document_names_exists() {
    let recipes = read("justfile");
    for document in DOCUMENTS {
        for named in read(document).split("./just ").skip(1) {
            let name: String = named.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            let is_there =
                |line: &str| line.strip_prefix(&name).is_some_and(|parameters| parameters.starts_with([':', ' ']));
            assert!(
                name.is_empty() || recipes.lines().any(is_there),
                "{document} names ./just {name}, which the justfile does not have"
            );
        }
    }
}

#[test]
fn every_file_that_a_document_links_to_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for document in DOCUMENTS {
        let folder = root.join(document).parent().map(Path::to_path_buf).unwrap_or_default();
        for link in read(document).split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap_or_default();
            assert!(
                target.is_empty() || target.starts_with("http") || folder.join(target).exists(),
                "{document} links to {target}, which does not exist"
            );
        }
    }
}
