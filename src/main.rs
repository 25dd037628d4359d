//! `provision`: one command from a Debian ISO and a project folder to a running, verified virtual machine.

mod archive;
mod cancel;
mod changes;
mod checkpoint;
mod cli;
mod config;
mod event;
mod export;
mod facts;
mod fault;
mod gc;
mod guest;
mod host;
mod identity;
mod import;
mod instance;
mod kept;
mod key;
mod lock;
mod machine;
mod media;
mod moments;
mod operate;
mod paths;
mod pins;
mod pipeline;
mod plan;
mod process;
mod project;
mod report;
mod ssh;
mod stage;
mod text;
mod timing;
mod verify;
mod wait;

use std::process::ExitCode;

use anyhow::{Context as _, Result};

fn main() -> ExitCode {
    let cli = cli::parse();
    let reporter = match &cli {
        Ok(cli) => report::Reporter::new(&cli.global, cli.command.records()),
        Err(_) => report::Reporter::for_program(),
    };
    let result = cli.and_then(|cli| run(&cli, &reporter));
    reporter.finish(result)
}

fn run(cli: &cli::Cli, reporter: &report::Reporter) -> Result<ExitCode> {
    let app = app(reporter)?;
    let limit = cli.command.limit(cli.global.timeout);
    let _deadline = limit.map(|limit| {
        let reporter = reporter.clone();
        app.cancel.end_after(limit, move || reporter.place())
    });
    reporter.begin()?;
    cli.command.run(&app)
}

fn app(reporter: &report::Reporter) -> Result<cli::App> {
    Ok(cli::App {
        paths: paths::Paths::of_user()?,
        cwd: std::env::current_dir().context("finding the current folder")?,
        cancel: cancel::Cancel::on_signals()?,
        events: reporter.events(),
        reporter: reporter.clone(),
    })
}
