//! Runs one of the fakes on a real port: `cargo run -p fakes -- model --port 8123`.

use std::{io, net::IpAddr, sync::Arc};

use clap::{Parser, Subcommand};
use fakes::{model::FakeModel, telegram::FakeTelegram};
use openclaw_platform::{
    MemoryStorage, NoProbe, Platform,
    os::{OsClock, OsEntropy, OsProcesses, OsSpawner, OsTransport},
};
use tokio_util::sync::CancellationToken;

/// Fakes of the services that the gateway talks to.
#[derive(Parser)]
#[command(name = "fakes")]
struct Args {
    #[command(subcommand)]
    fake: Fake,
}

#[derive(Subcommand)]
enum Fake {
    /// A model server: OpenAI chat completions and Anthropic messages.
    Model(Where),
    /// The Telegram Bot API; takes any bot token.
    Telegram(Where),
}

#[derive(clap::Args)]
struct Where {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 takes any.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let stop = CancellationToken::new();
    let platform = Platform {
        transport: Arc::new(OsTransport),
        clock: Arc::new(OsClock),
        entropy: Arc::new(OsEntropy),
        storage: Arc::new(MemoryStorage::new()),
        tasks: Arc::new(OsSpawner),
        processes: Arc::new(OsProcesses),
        probe: Arc::new(NoProbe),
    };
    match Args::parse().fake {
        Fake::Model(at) => {
            let bound = FakeModel::new().serve(&platform, (at.host, at.port).into(), stop.clone()).await?;
            println!("fake model server on http://{bound}");
            println!("point the gateway at it:");
            println!(
                "  models.providers.mock: {{ baseUrl: \"http://{bound}/v1\", apiKey: \"any\", \
                 api: \"openai-completions\", models: [{{ id: \"mock-1\", name: \"mock-1\" }}] }}"
            );
            println!("  agents.defaults.model.primary: \"mock/mock-1\"");
            println!("directives in a message: [[say:TEXT]] [[slow:N:MS]] [[error:CODE]] [[hang]] [[cut:N]] ...");
        }
        Fake::Telegram(at) => {
            let bound = FakeTelegram::new().serve(&platform, (at.host, at.port).into(), stop.clone()).await?;
            println!("fake Telegram Bot API on http://{bound}");
            println!("point the gateway at it:");
            println!(
                "  channels.telegram: {{ apiRoot: \"http://{bound}\", botToken: \"111111:any\", dmPolicy: \"open\", \
                 allowFrom: [\"*\"] }}"
            );
            println!("let somebody write to the bot, and see what it did:");
            let message =
                r#"{"chat":{"id":42,"type":"private"},"from":{"id":42,"is_bot":false,"first_name":"Ann"},"text":"hi"}"#;
            println!("  curl http://{bound}/_push -d '{{\"message\":{message}}}'");
            println!("  curl http://{bound}/_log");
        }
    }
    tokio::signal::ctrl_c().await?;
    stop.cancel();
    Ok(())
}
