//! Leads what a guest fetches through the host's keeper while a job works in it, and takes every trace of that back.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::Host;
use super::as_root;
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::kept::{GATEWAY, Keeper, MIRROR_PORT, NOWHERE, Route};
use crate::ssh::{Exec, Session};

const SCRIPT: &str = include_str!("../../provision/debian/lead.sh");

/// How long, in seconds on a real machine, the guest may take for it.
const LIMIT: u64 = 120;

/// What the user types in a guest that is led to a keeper that is gone.
const TAKE_BACK: &str = "in the machine, `sudo nft delete table inet provision_keeper`, and \
                         `sudo mv /etc/docker/daemon.json.provision /etc/docker/daemon.json && sudo systemctl reload \
                         docker` where that file is, take it back";

/// How many of what was missed are named.
const NAMED: usize = 12;

/// Whether the guest's Docker is led as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// It is there and will fetch images.
    Fetches,
    /// There is none yet, or it fetches nothing.
    None,
}

/// Runs `job`; what the guest fetches meanwhile is kept on the host, or comes from there. A guest that cannot be led
/// goes on by itself, unless there is to be no network.
///
/// # Errors
/// The job's own; those of an interruption; without a network [`Cause::Network`] with what was missed, and when the
/// guest cannot be led.
pub fn around<T>(
    host: &Host,
    stage: Stage,
    session: &mut Session,
    engine: Engine,
    job: impl FnOnce(&mut Session) -> Result<T>,
) -> Result<T> {
    let Some(keeper) = &host.keeper else {
        return job(session);
    };
    let clock = keeper.enter(stage);
    if let Err(error) = begin(host, keeper, session, engine, clock) {
        host.cancel.check()?;
        let is_guests = Fault::of(&error).is_some_and(|fault| fault.cause == Cause::Guest);
        if keeper.is_offline() || !is_guests {
            return Err(error.context("leading the guest to what the host keeps"));
        }
        host.events.warn(format!(
            "{stage}: what the guest fetches is not kept, and `--offline` will miss it: {error:#}"
        ));
        return job(session);
    }
    let result = job(session);
    // The disk of an interrupted stage is thrown away, and its user does not want to wait.
    host.cancel.check()?;
    let job = Exec::new(as_root::SHELL).limit(host.patience(LIMIT));
    let ended = run(&job, session, "end", &[]).context("taking back how the guest was led");
    match result {
        Ok(value) => ended.map(|()| value),
        Err(error) => {
            // The user may be left with this machine.
            if let Err(ended) = ended {
                host.events.warn(format!("{stage}: {ended:#}; {TAKE_BACK}"));
            }
            Err(explained(keeper, error))
        }
    }
}

fn begin(host: &Host, keeper: &Keeper, session: &mut Session, engine: Engine, clock: Option<i64>) -> Result<()> {
    let json = match engine {
        Engine::None => None,
        Engine::Fetches => {
            let job = Exec::new("cat /etc/docker/daemon.json")
                .limit(host.patience(LIMIT))
                .cancel(&host.cancel);
            let text = session.read(&job).context("reading the engine's configuration")?;
            Some(with_mirror(&text)?)
        }
    };
    let job = Exec::new(as_root::SHELL)
        .limit(host.patience(LIMIT))
        .cancel(&host.cancel);
    run(&job, session, "begin", &arguments(keeper.route(), clock, json))
}

fn arguments(route: &Route, clock: Option<i64>, engine: Option<String>) -> Vec<String> {
    let mut args = Vec::new();
    let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
    option("--gateway", GATEWAY.to_string());
    option("--port", route.port.to_string());
    for port in &route.ports {
        option("--lead", port.to_string());
    }
    if let Some(names) = route.names {
        option("--names", names.to_string());
    }
    option("--probe", NOWHERE.to_string());
    if let Some(clock) = clock {
        option("--clock", clock.to_string());
    }
    if let Some(engine) = engine {
        option("--mirror", MIRROR_PORT.to_string());
        option("--engine", engine);
    }
    args
}

/// The engine's configuration with the keeper as the first mirror of Docker Hub. Others follow: `BuildKit` may know these when
/// the keeper is gone.
fn with_mirror(text: &str) -> Result<String> {
    let mut config: Value = serde_json::from_str(text).context("reading the engine's configuration")?;
    let place = format!("{GATEWAY}:{MIRROR_PORT}");
    let fields = config
        .as_object_mut()
        .context("the engine's configuration is no object")?;
    let mirrors = fields.entry("registry-mirrors").or_insert_with(|| json!([]));
    let mirrors = mirrors.as_array_mut().context("registry-mirrors is no list")?;
    mirrors.insert(0, json!(format!("http://{place}")));
    let insecure = fields.entry("insecure-registries").or_insert_with(|| json!([]));
    let insecure = insecure.as_array_mut().context("insecure-registries is no list")?;
    insecure.push(json!(place));
    Ok(config.to_string())
}

fn run(job: &Exec<'_>, session: &mut Session, action: &str, args: &[String]) -> Result<()> {
    let words: Vec<String> = std::iter::once(action.to_owned()).chain(args.iter().cloned()).collect();
    let ran = as_root::run(job, session, "lead", SCRIPT, &words)?;
    if ran.status != 0 {
        bail!(Fault::new(Cause::Guest, ran.errors));
    }
    Ok(())
}

/// Why a job failed without a network.
fn explained(keeper: &Keeper, error: anyhow::Error) -> anyhow::Error {
    let missed = keeper.take_missed();
    let is_interrupted = Fault::is_stop(&error);
    if !keeper.is_offline() || missed.is_empty() || is_interrupted {
        return error;
    }
    error.context(not_kept(&missed))
}

/// The fault of what is not kept.
pub fn not_kept(missed: &[String]) -> Fault {
    let named = missed.iter().take(NAMED).cloned();
    let more = missed.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("and {more} more"));
    let first = "without a network this is missing on this host:".to_owned();
    let text = std::iter::once(first)
        .chain(named)
        .chain(more)
        .collect::<Vec<_>>()
        .join("\n  ");
    Fault::new(Cause::Network, text).hint("`provision fetch`, or `provision create` without `--offline`, gets it")
}

#[cfg(test)]
mod script;

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: Route = Route {
        port: 4000,
        ports: Vec::new(),
        names: None,
    };

    #[test]
    fn a_route_becomes_arguments() {
        let route = Route {
            ports: vec![3128, 8080],
            names: Some(5353),
            ..ROUTE
        };
        let table = [
            (ROUTE, None, None, "--gateway 10.0.2.2 --port 4000 --probe 192.0.2.80"),
            (
                route,
                Some(1_795_000_000),
                Some("{}".to_owned()),
                "--gateway 10.0.2.2 --port 4000 --lead 3128 --lead 8080 --names 5353 --probe 192.0.2.80 \
                 --clock 1795000000 --mirror 1 --engine {}",
            ),
        ];
        for (route, clock, engine, line) in table {
            assert_eq!(arguments(&route, clock, engine).join(" "), line);
        }
    }

    #[test]
    fn the_engine_asks_the_keeper_first_and_keeps_the_rest() {
        let text = r#"{"registry-mirrors": ["http://10.0.2.2:5000"], "insecure-registries": ["10.0.2.2:5000"], "log-driver": "json-file"}"#;
        let config: Value = serde_json::from_str(&with_mirror(text).unwrap()).unwrap();
        assert_eq!(
            config,
            json!({
                "registry-mirrors": ["http://10.0.2.2:1", "http://10.0.2.2:5000"],
                "insecure-registries": ["10.0.2.2:5000", "10.0.2.2:1"],
                "log-driver": "json-file",
            })
        );
        assert!(with_mirror("[]").is_err());
        let without: Value = serde_json::from_str(&with_mirror("{}").unwrap()).unwrap();
        assert_eq!(without["registry-mirrors"], json!(["http://10.0.2.2:1"]));
    }

    #[test]
    fn what_is_missing_is_named_up_to_a_number() {
        let many: Vec<_> = (0..20).map(|number| format!("thing {number}")).collect();
        let fault = not_kept(&many);
        assert_eq!(fault.cause.exit_code(), 6);
        assert!(fault.message.contains("thing 11\n  and 8 more"), "{}", fault.message);
        assert!(fault.hint.unwrap().contains("provision fetch"));
    }
}
