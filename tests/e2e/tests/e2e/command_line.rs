//! What can be got wrong is told in one line that names the remedy: exit code 2 for usage, 1 for the rest.

use anyhow::{Context as _, Result, ensure};
use vk_e2e::{Bench, Env, Setup};

/// A component that exports nothing.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
/// A module, which is what a target other than wasm32-wasip2 makes.
const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";

pub(crate) async fn a_wrong_command_line_is_one_line_and_exit_code_two(bench: &Bench) -> Result<()> {
    let mock = bench.mock().display().to_string();
    for (arguments, parts) in [
        (&[][..], &["--provider-wasm", "--provider NAME"][..]),
        (&["--providr", "mock"], &["--providr", "--provider"]),
        (&["--provider", "mock", "--provider-wasm", &mock], &["--provider-wasm"]),
        (&["--provider", "../mock"], &["--provider-wasm"]),
        (&["--provider", "mock", "--os", "plan9"], &["plan9", "Linux or Windows"]),
        (&["--provider", "mock", "--nodename", "My_Node"], &["My_Node", "lower-case"]),
        (&["--provider", "mock", "--taint", "a=b:Sometimes"], &["Sometimes", "NoSchedule"]),
        (&["--provider", "mock", "--taint", "a", "--disable-taint"], &["--disable-taint"]),
        (&["--provider", "mock", "--metrics-addr", "here"], &["HOST:PORT"]),
        (&["--provider", "mock", "--allow-net", "example.com"], &["example.com", "https://"]),
        (&["--provider", "mock", "--allow-env", "*"], &["AZURE_*"]),
        (&["--provider", "mock", "--owner", "Me"], &["a-z"]),
        (&["--provider", "mock", "--not-ready-after", "soon"], &["soon"]),
        (&["--provider", "mock", "--log-format", "xml"], &["xml", "json"]),
        (&["--provider", "mock", "--log-level", "loud=="], &["loud=="]),
        (&["inspect"], &["FILE"]),
        (&["check"], &["FILE.wasm", "--provider"]),
        (&["launch"], &["launch"]),
    ] {
        let ended = bench.run(arguments).await?;
        ensure!(ended.code == Some(2), "{arguments:?}: exit code {:?}: {}", ended.code, ended.errors);
        let error = ended.error().with_context(|| format!("{arguments:?}"))?;
        ensure!(ended.errors.lines().count() == 1 && ended.output.is_empty(), "{arguments:?}: {}", ended.errors);
        for part in parts {
            ensure!(error.contains(part), "{arguments:?}: {part:?} is not in: {error}");
        }
    }
    Ok(())
}

/// Runs `vk-host check` and returns its one line, which must be an error's.
async fn check(bench: &Bench, arguments: &[&str]) -> Result<String> {
    let ended = bench.run(&[&["check"], arguments].concat()).await?;
    ensure!(ended.code == Some(1), "{arguments:?}: exit code {:?}: {} {}", ended.code, ended.errors, ended.output);
    ensure!(ended.output.is_empty(), "{arguments:?} printed {}", ended.output);
    ended.error().map(str::to_owned).with_context(|| format!("{arguments:?}"))
}

pub(crate) async fn a_wrong_configuration_is_one_line_with_the_remedy_and_exit_code_one(bench: &Bench) -> Result<()> {
    let mock = bench.mock().display().to_string();
    for (name, content, parts) in [
        ("malformed.toml", &b"pods = \n"[..], &["malformed.toml:1:"][..]),
        ("twice.toml", b"pods = 1\npods = 2\n", &["twice.toml:2:1", "duplicate key"]),
        ("binary.toml", b"pods = \"\xff\xfe\"", &["binary.toml", "UTF-8"]),
        ("key.toml", b"[sandbox]\nmemry = \"1MiB\"\n", &["key.toml:2:1", "memry", "memory"]),
        ("size.toml", b"[sandbox]\nmemory = \"256MB\"\n", &["size.toml:2:", "sandbox.memory", "MiB"]),
        ("net.toml", b"[sandbox]\nnet = [\"example.com\"]\n", &["net.toml:2:", "sandbox.net", "example.com"]),
        ("env.toml", b"[sandbox]\nenv = [\"*\"]\n", &["env.toml:2:", "sandbox.env"]),
        ("read.toml", b"[sandbox]\nread = [\"none\"]\n", &["sandbox.read", "none"]),
        ("proc.toml", b"[sandbox]\nread = [\"/\"]\n", &["sandbox.read", "grant a directory without it"]),
        ("ca.toml", b"[sandbox.tls.\"https://a.example\"]\nca = \"none.pem\"\n", &["sandbox.tls", "none.pem"]),
        ("setting.toml", b"colour = \"blue\"\n", &["mock.wasm", "configuration", "colour", "poll-after"]),
        ("value.toml", b"poll-after = \"soon\"\n", &["poll-after", "soon", "500ms"]),
        ("backend.toml", b"backend = \"localhost\"\n", &["backend", "localhost", "http://"]),
    ] {
        let file = bench.write(name, content)?.display().to_string();
        let error = check(bench, &[&mock, "--provider-config", &file]).await?;
        for part in parts {
            ensure!(error.contains(part), "{name}: {part:?} is not in: {error}");
        }
    }
    let (absent, folder) = (bench.path("absent.toml"), bench.folder().to_path_buf());
    for path in [absent, folder] {
        let path = path.display().to_string();
        let error = check(bench, &[&mock, "--provider-config", &path]).await?;
        ensure!(error.contains(&path), "{path} is not in: {error}");
    }
    Ok(())
}

pub(crate) async fn a_file_that_is_no_provider_is_told_apart_and_named(bench: &Bench) -> Result<()> {
    let whole = std::fs::read(bench.mock())?;
    let truncated = whole.get(..whole.len() / 2).context("the component is empty")?;
    for (name, content, parts) in [
        ("truncated.wasm", truncated, &["truncated.wasm", "truncated", "copy it again"][..]),
        ("script.wasm", b"#!/bin/sh\n", &["script.wasm", "not WebAssembly"]),
        ("empty.wasm", b"", &["empty.wasm", "not WebAssembly"]),
        ("module.wasm", EMPTY_MODULE, &["module.wasm", "module, not a component", "wasm32-wasip2"]),
        (
            "world.wasm",
            EMPTY_COMPONENT,
            &["world.wasm", "vk:provider/node@0.1.0", "vk:provider/pods@0.1.0", "it exports nothing"],
        ),
    ] {
        let file = bench.write(name, content)?.display().to_string();
        let error = check(bench, &[&file]).await?;
        for part in parts {
            ensure!(error.contains(part), "{name}: {part:?} is not in: {error}");
        }
    }
    let absent = bench.path("absent.wasm").display().to_string();
    ensure!(check(bench, &[&absent]).await?.contains(&absent), "the missing file is not named");

    let error = check(bench, &["--provider", "mock"]).await?;
    ensure!(error.contains("VK_HOST_PROVIDERS") && error.contains("--provider-wasm"), "{error}");
    let mut command = bench.vk_host();
    command.args(["check", "--provider", "hyper"]).env("VK_HOST_PROVIDERS", bench.folder());
    let ended = bench.run_command(command).await?;
    let error = ended.error()?;
    ensure!(ended.code == Some(1), "exit code {:?}", ended.code);
    ensure!(error.contains("\"hyper\" not found") && error.contains("world"), "what is there is not listed: {error}");
    Ok(())
}

pub(crate) async fn a_host_that_is_not_granted_is_named(bench: &Bench) -> Result<()> {
    let mock = bench.mock().display().to_string();
    let backend = vk_backend::Backend::start().await?;
    let url = backend.url();
    let file = bench.write("mock.toml", format!("backend = \"{url}\"\n"))?.display().to_string();
    let error = check(bench, &[&mock, "--provider-config", &file]).await?;
    ensure!(error.contains(&format!("sandbox.net does not grant {url}")), "{error}");
    ensure!(backend.counts().requests.is_empty(), "it was asked all the same");
    let ended = bench.run(&["check", &mock, "--provider-config", &file, "--allow-net", &url]).await?;
    ensure!(ended.code == Some(0), "granted by a flag: {}", ended.errors);
    Ok(())
}

pub(crate) async fn check_describes_the_node_without_a_cluster(bench: &Bench) -> Result<()> {
    let mock = bench.mock().display().to_string();
    let ended = bench.run(&["check", &mock]).await?;
    ensure!(ended.code == Some(0), "exit code {:?}: {}", ended.code, ended.errors);
    for part in ["mock 0.1.0", "linux/amd64", "cpu 20", "memory 100Gi", "pods 20"] {
        ensure!(ended.output.contains(part), "{part} is not in: {}", ended.output);
    }
    let ended = bench.run(&["check", &mock, "--os", "WINDOWS"]).await?;
    ensure!(ended.output.contains("windows/amd64"), "{} {}", ended.output, ended.errors);
    Ok(())
}

pub(crate) async fn inspect_tells_what_a_component_has_and_lacks(bench: &Bench) -> Result<()> {
    let mock = bench.mock().display().to_string();
    let ended = bench.run(&["inspect", &mock]).await?;
    ensure!(ended.code == Some(0), "exit code {:?}: {}", ended.code, ended.errors);
    for part in ["vk:provider/node@0.1.0", "vk:provider/pods@0.1.0", "vk:provider/http@0.1.0", "it satisfies the world"]
    {
        ensure!(ended.output.contains(part), "{part} is not in: {}", ended.output);
    }
    let other = bench.write("world.wasm", EMPTY_COMPONENT)?.display().to_string();
    let ended = bench.run(&["inspect", &other]).await?;
    ensure!(ended.code == Some(1), "exit code {:?}: {}", ended.code, ended.errors);
    ensure!(
        ended.output.contains("does not satisfy") && ended.output.contains("vk:provider/node@0.1.0"),
        "{}",
        ended.output
    );
    Ok(())
}

pub(crate) async fn version_and_help_are_on_standard_output(bench: &Bench) -> Result<()> {
    for (arguments, part) in [
        (&["version"][..], "Version: 0.1.0"),
        (&["--version"], "0.1.0"),
        (&["help"], "--provider-config"),
        (&["--help"], "--provider-config"),
        (&["help", "check"], "--allow-net"),
    ] {
        let ended = bench.run(arguments).await?;
        ensure!(ended.code == Some(0), "{arguments:?}: exit code {:?}: {}", ended.code, ended.errors);
        ensure!(ended.output.contains(part), "{arguments:?}: {part} is not in: {}", ended.output);
        ensure!(ended.errors.is_empty(), "{arguments:?}: {}", ended.errors);
    }
    Ok(())
}

pub(crate) async fn a_component_that_cannot_run_is_refused_before_the_node_is_made(env: &mut Env) -> Result<()> {
    env.prepare(Setup::default())?;
    let configuration = std::fs::read_to_string(env.bench.path("mock.toml"))?;
    for (file, content, told) in [
        ("mock.wasm", EMPTY_COMPONENT.to_vec(), "does not export vk:provider/node@0.1.0"),
        ("mock.toml", b"pods = \n".to_vec(), "mock.toml:1:"),
        ("mock.toml", format!("colour = 1\n{configuration}").into_bytes(), "unknown setting `colour`"),
    ] {
        env.prepare(Setup::default())?;
        std::fs::copy(env.bench.mock(), env.component())?;
        env.replace(file, content)?;
        let ended = env.bench.run_command(env.command()).await?;
        ensure!(ended.code == Some(1), "exit code {:?}: {}", ended.code, ended.errors);
        let error = ended.error()?;
        ensure!(error.contains(told), "{told:?} is not in: {error}");
    }
    ensure!(env.nodes().get_opt(&env.node).await?.is_none(), "there is a node all the same");
    Ok(())
}

pub(crate) async fn a_grant_that_is_missing_is_told_in_the_log_and_giving_it_mends_it(env: &mut Env) -> Result<()> {
    env.launch(Setup::default().without_grant())?;
    env.line(0, &["WARN", &format!("sandbox.net does not grant {}", env.backend.url())]).await?;
    ensure!(env.backend.counts().requests.is_empty(), "the backend was asked all the same");
    env.configure(&Setup::default())?;
    env.registered().await?;
    env.create(env.pod("granted")).await?;
    env.pod_ready("granted").await?;
    Ok(())
}

pub(crate) async fn a_kubeconfig_that_cannot_be_used_is_named(env: &mut Env) -> Result<()> {
    let malformed = env.bench.write("malformed", "clusters: [")?;
    let context = env.bench.write("context", "apiVersion: v1\nkind: Config\ncurrent-context: none\n")?;
    for file in [env.bench.path("absent"), malformed, context] {
        env.prepare(Setup::default().kubeconfig(file.clone()))?;
        let ended = env.bench.run_command(env.command()).await?;
        ensure!(ended.code == Some(1), "exit code {:?}: {}", ended.code, ended.errors);
        let error = ended.error()?;
        ensure!(error.contains(&file.display().to_string()), "{} is not in: {error}", file.display());
    }
    Ok(())
}
