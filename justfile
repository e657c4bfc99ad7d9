# Everything one types while working on vk-host. `./just` runs it without an installed just.

set shell := ["bash", "-euo", "pipefail", "-c"]

target := env("CARGO_TARGET_DIR", justfile_directory() / "target")
guests := "--manifest-path guests/Cargo.toml"

# Without -p, so that dependencies get the same features, and are built only once, for every recipe.
cluster := "cargo run --quiet --bin vk-cluster --"

# What can be done here.
default:
    @{{ just_executable() }} --list --unsorted

# Build vk-host.
build:
    cargo build --bin vk-host

# Build every provider in guests/ to target/guests/NAME.wasm, with NAME.toml where it has one.
build-guests:
    #!/usr/bin/env bash
    set -euo pipefail
    # A provider is a package whose library is a cdylib; NAME is the package's. Those in guests/tests are not for use.
    manifests=$(find guests -path guests/tests -prune -o -name Cargo.toml -print0 | xargs -0 grep -l '"cdylib"')
    name_in() { sed -n 's/^name = "\(.*\)"/\1/p' "$1" | head -n 1; }
    packages=()
    for manifest in $manifests; do packages+=(--package "$(name_in "$manifest")"); done
    cargo build {{ guests }} --release --target wasm32-wasip2 --target-dir target/guests-build "${packages[@]}"
    mkdir -p target/guests
    for manifest in $manifests; do
        name=$(name_in "$manifest")
        cp -p "target/guests-build/wasm32-wasip2/release/${name//-/_}.wasm" "target/guests/$name.wasm"
        settings=$(dirname "$manifest")/$name.toml
        if [ -f "$settings" ]; then cp -p "$settings" target/guests/; fi
        echo "target/guests/$name.wasm"
    done

# Build the control plane's programs: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl.
control-plane:
    cargo build --bin vk-cluster
    {{ cluster }} build

# Start a control plane on loopback and print how to use it.
cluster: control-plane
    @{{ cluster }} up

# Stop the control plane that `cluster` or `demo` started.
cluster-down:
    @{{ cluster }} down

# Simulate Azure Container Instances on loopback, and print how to use it.
azure *flags:
    cargo run --quiet --bin vk-azure -- --state-dir '{{ target }}/azure' {{ flags }}

# Show three pods of a Deployment on a vk-host node: control plane, vk-host with the mock provider, kubectl.
demo: control-plane build build-guests
    @CARGO_TARGET_DIR='{{ target }}' tests/demo.sh up

# Stop what `demo` started.
demo-down:
    @CARGO_TARGET_DIR='{{ target }}' tests/demo.sh down

# Run all tests: unit, runtime with real guests, end to end on a real control plane.
test: control-plane build-guests build
    cargo test {{ guests }} --target-dir target/guests-test --workspace --no-fail-fast
    cargo test --workspace --doc --no-fail-fast
    cargo test --workspace --lib --bins --tests --no-fail-fast

# Break everything at random for ten minutes, or as long as said; VK_CHAOS_SEED repeats the steps of an earlier run.
chaos seconds="600": control-plane build-guests build
    VK_CHAOS_SECONDS={{ seconds }} cargo test --test e2e -- chaos::

# Run each fuzz target in fuzz/ for a minute, or as long as said. Needs a nightly toolchain and a C++ compiler.
fuzz seconds="60": cargo-fuzz
    #!/usr/bin/env bash
    set -euo pipefail
    export PATH="$PWD/target/tools/bin:$PATH"
    cargo +nightly fuzz build --target-dir target/fuzz
    # The limits are what a target may take for one input: megabytes and seconds.
    for name in $(cargo +nightly fuzz list); do
        echo "fuzzing $name for {{ seconds }} seconds"
        cargo +nightly fuzz run --target-dir target/fuzz "$name" -- \
            -max_total_time={{ seconds }} -rss_limit_mb=1024 -timeout=10 -print_final_stats=1
    done

# Measure pods beside the least possible kubelet and kwok, or with `just bench streams` exec, logs and port-forward (docs/benchmark.md).
bench *flags: control-plane build-guests
    cargo build --release --bin vk-host --bin vk-bench
    '{{ target }}/release/vk-bench' {{ flags }}

# Check formatting, clippy, documentation, licences and dependencies.
lint: deny
    cargo fmt --all --check
    cargo fmt {{ guests }} --all --check
    cargo fmt --manifest-path fuzz/Cargo.toml --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy {{ guests }} --target-dir target/guests-test --workspace --all-targets -- -D warnings
    # Libraries only: doc comments of the programs' flags are their help texts, which are not Markdown.
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --lib --no-deps
    RUSTDOCFLAGS='-D warnings' cargo doc {{ guests }} --target-dir target/guests-test --workspace --no-deps

# Check licences, banned crates and sources. Needs no network, unlike `audit`.
deny: cargo-deny
    target/tools/bin/cargo-deny check bans licenses sources
    target/tools/bin/cargo-deny {{ guests }} --config deny.toml check bans licenses sources
    target/tools/bin/cargo-deny --manifest-path fuzz/Cargo.toml --config deny.toml check bans licenses sources

# Check for known vulnerabilities, against a database that is fetched.
audit: cargo-deny
    target/tools/bin/cargo-deny check advisories
    target/tools/bin/cargo-deny {{ guests }} --config deny.toml check advisories
    target/tools/bin/cargo-deny --manifest-path fuzz/Cargo.toml --config deny.toml check advisories

# Install the pinned cargo-deny below target/tools, once.
[private]
cargo-deny version="0.20.2":
    #!/usr/bin/env bash
    set -euo pipefail
    if [ "$(target/tools/bin/cargo-deny --version 2>/dev/null)" = "cargo-deny {{ version }}" ]; then exit 0; fi
    echo "installing cargo-deny {{ version }} below target/tools (once, about four minutes: it contains a git client)"
    # Unoptimised, because it runs for a second and would build for many minutes more.
    cargo install cargo-deny --version {{ version }} --locked --quiet --debug --root target/tools

# Install the pinned cargo-fuzz below target/tools, once.
[private]
cargo-fuzz version="0.13.2":
    #!/usr/bin/env bash
    set -euo pipefail
    if [ "$(target/tools/bin/cargo-fuzz --version 2>/dev/null)" = "cargo-fuzz {{ version }}" ]; then exit 0; fi
    echo "installing cargo-fuzz {{ version }} below target/tools (once)"
    cargo install cargo-fuzz --version {{ version }} --locked --quiet --debug --root target/tools
