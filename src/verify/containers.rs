//! The project's containers, whichever compose file made them.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Context, Verdict};
use crate::ssh;

/// A project as `docker compose ls --format json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Project {
    #[serde(rename = "Name")]
    name: String,
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

/// Whether every service of every compose project runs.
///
/// # Errors
/// When the guest cannot be asked or its answer cannot be read.
pub(super) fn check(context: &mut Context<'_>) -> Result<Verdict> {
    let projects: Vec<Project> = parse(&context.ask("docker compose ls --all --format json")?)?;
    let mut containers = Vec::new();
    for project in projects {
        let name = ssh::quote(&[project.name])?;
        let answer = context.ask(&format!("docker compose -p {name} ps --all --format json"))?;
        containers.extend(parse::<Container>(&answer)?);
    }
    Ok(judge(&containers))
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

fn judge(containers: &[Container]) -> Verdict {
    if containers.is_empty() {
        return Verdict::Broken("compose has made no container".into());
    }
    let failing: Vec<String> = containers.iter().filter_map(Container::failing).collect();
    if !failing.is_empty() {
        return Verdict::Broken(failing.join(", "));
    }
    let mut names: Vec<&str> = containers.iter().map(|container| container.service.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    Verdict::Holds(names.join(", "))
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
        judge(&parse(answer).unwrap())
    }

    #[test]
    fn both_forms_are_read() {
        assert_eq!(verdict(LINES), Verdict::Holds("mariadb, nginx".into()));
        assert_eq!(
            verdict(ARRAY),
            Verdict::Broken("db is exited (exit code 137), web is unhealthy".into())
        );
        let project = Project { name: "srcs".into() };
        assert_eq!(parse::<Project>(LS).unwrap(), [project]);
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
