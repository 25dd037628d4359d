//! The project's containers, whichever compose file made them.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Context, Verdict};
use crate::fault::{Cause, Fault};
use crate::ssh;

/// A project as `docker compose ls --format json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Project {
    name: String,
    /// The compose files, separated by commas.
    #[serde(default)]
    config_files: String,
}

/// What is known of one project.
#[derive(Debug, Default)]
struct Known {
    containers: Vec<Container>,
    /// The services that its compose files demand; nothing if that cannot be told.
    services: Option<BTreeSet<String>>,
}

/// A container as `docker compose ps --format json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    service: String,
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    state: String,
    /// `healthy`, `unhealthy`, `starting`, or empty where nothing checks it.
    #[serde(default)]
    health: String,
    #[serde(default)]
    exit_code: i32,
}

/// Whether every service of every compose project runs: those that the compose files name, unless they belong to a
/// profile that is not enabled, and those of which there is a container.
///
/// # Errors
/// When the guest cannot be asked or its answer cannot be read.
pub(super) fn check(context: &mut Context<'_>) -> Result<Verdict> {
    let projects: Vec<Project> = parse(&context.ask("docker compose ls --all --format json")?)?;
    let mut known = Vec::new();
    for project in projects {
        let name = ssh::quote(&[&project.name])?;
        let answer = context.ask(&format!("docker compose -p {name} ps --all --format json"))?;
        known.push(Known {
            containers: parse(&answer)?,
            services: services(context, &project)?,
        });
    }
    Ok(judge(&known))
}

/// The services that the project's files demand. They may not be readable on their own (variables that only the
/// Makefile sets, a file that is gone): then the containers alone tell.
fn services(context: &mut Context<'_>, project: &Project) -> Result<Option<BTreeSet<String>>> {
    let Some(words) = project.services_command() else {
        return Ok(None);
    };
    match context.ask(&ssh::quote(&words)?) {
        Ok(answer) => Ok(Some(lines(&answer))),
        Err(error) if Fault::of(&error).is_some_and(|f| f.cause == Cause::Interrupted) => Err(error),
        Err(_) => Ok(None),
    }
}

fn lines(answer: &str) -> BTreeSet<String> {
    let lines = answer.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

impl Project {
    /// The command that lists the services of its files.
    fn services_command(&self) -> Option<Vec<&str>> {
        let mut files = self.config_files.split(',').map(str::trim).filter(|f| !f.is_empty());
        let mut words = vec!["docker", "compose", "-p", &self.name, "-f", files.next()?];
        words.extend(files.flat_map(|file| ["-f", file]));
        words.extend(["config", "--services"]);
        Some(words)
    }
}

/// Objects in an array, as compose printed them before 2.21, or one a line, as it does since.
pub(super) fn parse<T: DeserializeOwned>(answer: &str) -> Result<Vec<T>> {
    let answer = answer.trim();
    let parsed = if answer.starts_with('[') {
        serde_json::from_str(answer)
    } else {
        serde_json::Deserializer::from_str(answer).into_iter().collect()
    };
    parsed.with_context(|| {
        let shown: String = answer.chars().take(200).collect();
        format!("reading what Docker answered: {shown}")
    })
}

fn judge(projects: &[Known]) -> Verdict {
    let containers = || projects.iter().flat_map(|project| &project.containers);
    if containers().next().is_none() {
        return Verdict::Broken("compose has made no container".into());
    }
    let failing = containers().filter_map(Container::failing);
    let missing = projects.iter().flat_map(Known::missing);
    let failing: Vec<String> = failing.chain(missing).collect();
    if !failing.is_empty() {
        return Verdict::Broken(failing.join(", "));
    }
    let names: BTreeSet<&str> = containers().map(|container| container.service.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let mut seen = names.join(", ");
    if projects.iter().any(|project| project.services.is_none()) {
        seen += " (told by their containers: the compose file cannot be read on its own)";
    }
    Verdict::Holds(seen)
}

impl Known {
    /// What is wrong with the services that have no container.
    fn missing(&self) -> Vec<String> {
        let has = |service: &str| self.containers.iter().any(|container| container.service == service);
        let services = self.services.iter().flatten().filter(|service| !has(service));
        services.map(|service| format!("{service} has no container")).collect()
    }
}

impl Container {
    fn failing(&self) -> Option<String> {
        let Self {
            service,
            state,
            health,
            exit_code,
        } = self;
        match (state.as_str(), health.as_str()) {
            ("running", "unhealthy") => Some(format!("{service} is unhealthy")),
            ("running", _) => None,
            ("exited" | "restarting", _) => Some(format!("{service} is {state} (exit code {exit_code})")),
            _ => Some(format!("{service} is {state}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compose 2.26.
    const LINES: &str = r#"{"Command":"\"nginx -g 'daemon of…\"","CreatedAt":"2025-11-20 12:21:53 +0000 UTC","ExitCode":0,"Health":"","ID":"d2763e024a10","Image":"nginx:inception","Labels":"com.docker.compose.service=nginx","LocalVolumes":"1","Mounts":"srcs_wordpress","Name":"nginx","Names":"nginx","Networks":"srcs_inception","Ports":"0.0.0.0:443-\u003e443/tcp, :::443-\u003e443/tcp","Project":"srcs","Publishers":[{"URL":"0.0.0.0","TargetPort":443,"PublishedPort":443,"Protocol":"tcp"}],"RunningFor":"2 minutes ago","Service":"nginx","Size":"0B","State":"running","Status":"Up 2 minutes"}
{"Command":"\"mariadbd\"","ExitCode":0,"Health":"healthy","ID":"0a2763e024a1","Name":"mariadb","Project":"srcs","Publishers":null,"Service":"mariadb","State":"running","Status":"Up 2 minutes (healthy)"}
"#;

    /// Compose 2.20 and before.
    const ARRAY: &str = r#"[{"ID":"aba85f638641","Name":"srcs-db-1","Command":"mysqld","Project":"srcs","Service":"db","State":"exited","Health":"","ExitCode":137,"Publishers":null},{"ID":"001f54b33d9b","Name":"srcs-web-1","Command":"nginx","Project":"srcs","Service":"web","State":"running","Health":"unhealthy","ExitCode":0,"Publishers":[]}]"#;

    const LS: &str =
        r#"[{"Name":"srcs","Status":"running(2)","ConfigFiles":"/home/alice/inception/srcs/docker-compose.yml"}]"#;

    fn verdict(answer: &str) -> Verdict {
        judged(answer, None)
    }

    /// The verdict on a project with these containers and these services in its file.
    fn judged(answer: &str, services: Option<&str>) -> Verdict {
        let known = Known {
            containers: parse(answer).unwrap(),
            services: Some(services.map_or_else(BTreeSet::new, lines)),
        };
        judge(&[known])
    }

    #[test]
    fn both_forms_are_read() {
        assert_eq!(verdict(LINES), Verdict::Holds("mariadb, nginx".into()));
        assert_eq!(
            verdict(ARRAY),
            Verdict::Broken("db is exited (exit code 137), web is unhealthy".into())
        );
        let [project] = parse::<Project>(LS).unwrap().try_into().unwrap();
        assert_eq!(
            project.services_command().unwrap().join(" "),
            "docker compose -p srcs -f /home/alice/inception/srcs/docker-compose.yml config --services"
        );
    }

    #[test]
    fn a_service_without_a_container_fails() {
        // `docker compose config --services`: in no order, without those of profiles that are not enabled.
        assert_eq!(
            judged(LINES, Some("nginx\nmariadb\nwordpress\n")),
            Verdict::Broken("wordpress has no container".into())
        );
        // A service of a profile is not in the list; one that was started all the same has a container.
        assert_eq!(judged(LINES, Some("nginx\n")), Verdict::Holds("mariadb, nginx".into()));
    }

    #[test]
    fn a_file_that_cannot_be_read_leaves_the_containers() {
        let containers = parse(LINES).unwrap();
        let services = None;
        let verdict = judge(&[Known { containers, services }]);
        assert!(matches!(&verdict, Verdict::Holds(seen) if seen.starts_with("mariadb, nginx (told by")));
    }

    #[test]
    fn all_files_of_a_project_are_read_together() {
        let several = r#"[{"Name":"a b","Status":"running(1)","ConfigFiles":"/p/compose.yml,/p/bonus.yml"},{"Name":"old","Status":"exited(1)"}]"#;
        let projects: Vec<Project> = parse(several).unwrap();
        let command = projects[0].services_command().unwrap();
        assert_eq!(
            ssh::quote(&command).unwrap(),
            "docker compose -p 'a b' -f /p/compose.yml -f /p/bonus.yml config --services"
        );
        assert_eq!(projects[1].services_command(), None);
    }

    #[test]
    fn no_container_is_no_success() {
        for answer in ["", "\n", "[]\n"] {
            assert_eq!(verdict(answer), Verdict::Broken("compose has made no container".into()));
        }
    }

    #[test]
    fn every_state_but_running_fails() {
        for state in ["created", "paused", "restarting", "removing", "exited", "dead"] {
            let line = format!(r#"{{"Service":"db","State":"{state}"}}"#);
            let verdict = verdict(&line);
            assert!(
                matches!(&verdict, Verdict::Broken(seen) if seen.contains(state)),
                "{verdict:?}"
            );
        }
    }

    #[test]
    fn another_answer_is_quoted() {
        let error = parse::<Container>("permission denied").unwrap_err();
        assert!(format!("{error:#}").contains("permission denied"));
    }
}
