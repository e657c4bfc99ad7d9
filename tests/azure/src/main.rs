//! `vk-azure`: the simulator as a program.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Parser;
use vk_azure::{Options, Quotas, Simulator};

/// Simulates Azure Container Instances on this machine, checks what it is sent, and runs containers' commands as processes.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where the directory and the resource manager listen, with TLS: a loopback address; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7443")]
    listen: SocketAddr,
    /// Where the metadata service and /control listen, without TLS: a loopback address; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7080")]
    listen_plain: SocketAddr,
    /// The folder for credentials.json, ca.pem, aci.toml and the containers' files. It is made.
    #[arg(long, default_value = "target/azure")]
    state_dir: PathBuf,
    /// Counts requests as Azure does, and refuses what is over its quotas.
    #[arg(long)]
    quotas: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let state = std::path::absolute(&arguments.state_dir)?;
    let options = Options {
        listen: arguments.listen,
        listen_plain: arguments.listen_plain,
        folder: Some(state.join("groups")),
        quotas: arguments.quotas.then(Quotas::default),
        ..Options::default()
    };
    let simulator = Simulator::start(options).await?;
    let credentials = state.join("credentials.json");
    let authority = state.join("ca.pem");
    let settings = state.join("aci.toml");
    // The folder is there since the simulator has started: it is above that of the groups.
    let files = [
        (&credentials, format!("{:#}\n", simulator.credentials())),
        (&authority, simulator.authority_pem().to_owned()),
        (&settings, toml(&simulator, &state)),
    ];
    for (path, contents) in files {
        tokio::fs::write(path, contents).await.with_context(|| path.display().to_string())?;
    }
    println!("resource manager and directory: {}", simulator.arm_url());
    println!("metadata service and control:   {}", simulator.metadata_url());
    println!("credentials:                    {}", credentials.display());
    println!("certificate to trust:           {}", authority.display());
    println!("settings of the provider:       {}", settings.display());
    tokio::signal::ctrl_c().await?;
    Ok(())
}

/// The provider's settings for this simulator, whose files are in the same folder.
fn toml(simulator: &Simulator, folder: &Path) -> String {
    let options = simulator.options();
    let group = options.resource_groups.first().map_or("", String::as_str);
    let region = options.regions.first().map_or("", String::as_str);
    let secure = simulator.arm_url();
    let streams = secure.replacen("https:", "wss:", 1);
    let plain = simulator.metadata_url();
    let realtime = simulator.realtime_url_template();
    let credentials = folder.join("credentials.json");
    format!(
        "Region = {region:?}\n\
         ResourceGroup = {group:?}\n\
         AuthLocation = {credentials:?}\n\
         MetadataEndpoint = {plain:?}\n\
         RealtimeEndpoint = {realtime:?}\n\
         \n\
         [sandbox]\n\
         net = [{secure:?}, {streams:?}, {plain:?}]\n\
         read = [{folder:?}]\n\
         \n\
         [sandbox.tls.{secure:?}]\n\
         ca = \"ca.pem\"\n\
         \n\
         [sandbox.tls.{streams:?}]\n\
         ca = \"ca.pem\"\n"
    )
}
