//! `vk-backend`: the backend of the mock provider as a program.

use std::net::SocketAddr;

use clap::Parser;
use vk_backend::Backend;

/// Keeps the mock provider's pods, counts what it is asked, and fails on demand (see /control).
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen: a loopback address; port 0 takes a free one. The URL is printed.
    #[arg(long, default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let backend = Backend::listen(Arguments::parse().listen).await?;
    println!("{}", backend.url());
    tokio::signal::ctrl_c().await?;
    Ok(())
}
