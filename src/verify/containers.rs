//! The project's containers, whichever compose file made them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::docker::{self, Container};
use super::{Context, Verdict};
use crate::fault::Fault;
use crate::ssh;

/// What is known of one project.
#[derive(Debug, Default)]
struct Known {
    containers: Vec<Container>,
    /// The services that its compose files demand; nothing if that cannot be told.
    services: Option<BTreeSet<String>>,
}

/// Whether every service of every compose project runs: those that the compose files name, unless they belong to a
/// profile that is not enabled, and those of which there is a container.
///
/// # Errors
/// When the guest cannot be asked or its answer cannot be read.
pub(super) fn check(context: &mut Context<'_>) -> Result<Verdict> {
    let containers = docker::containers(context)?;
    let mut projects: BTreeMap<String, Known> = BTreeMap::new();
    for container in containers {
        let project = projects.entry(container.labels.project.clone()).or_default();
        project.containers.push(container);
    }
    for (name, project) in &mut projects {
        project.services = services(context, name, &project.containers)?;
    }
    let projects: Vec<Known> = projects.into_values().collect();
    Ok(judge(&projects))
}

/// The services that the project's files demand. They may not be readable on their own (variables that only the
/// Makefile sets, a file that is gone): then the containers alone tell.
fn services(context: &mut Context<'_>, project: &str, containers: &[Container]) -> Result<Option<BTreeSet<String>>> {
    let Some(words) = services_command(project, containers) else {
        return Ok(None);
    };
    match context.ask(&ssh::quote(&words)?) {
        Ok(answer) => Ok(Some(lines(&answer))),
        Err(error) if Fault::is_stop(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// The command that lists the services of a project's files.
fn services_command<'a>(project: &'a str, containers: &'a [Container]) -> Option<Vec<&'a str>> {
    let files = containers
        .iter()
        .map(|container| container.labels.config_files.as_str());
    let files = files.max_by_key(|files| files.len())?;
    let mut files = files.split(',').map(str::trim).filter(|file| !file.is_empty());
    let mut words = vec!["docker", "compose", "-p", project, "-f", files.next()?];
    words.extend(files.flat_map(|file| ["-f", file]));
    words.extend(["config", "--services"]);
    Some(words)
}

fn lines(answer: &str) -> BTreeSet<String> {
    let lines = answer.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
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
    let names: BTreeSet<&str> = containers()
        .map(|container| container.labels.service.as_str())
        .collect();
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
        let has = |service: &str| {
            self.containers
                .iter()
                .any(|container| container.labels.service == service)
        };
        let services = self.services.iter().flatten().filter(|service| !has(service));
        services.map(|service| format!("{service} has no container")).collect()
    }
}

impl Container {
    fn failing(&self) -> Option<String> {
        let service = &self.labels.service;
        match self.state.as_str() {
            "running" if self.status.ends_with("(unhealthy)") => Some(format!("{service} is unhealthy")),
            "running" => None,
            state if self.status.is_empty() => Some(format!("{service} is {state}")),
            state => Some(format!("{service} is {state} ({})", self.status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(service: &str, state: &str, status: &str) -> Container {
        let text = format!(
            r#"{{"Labels":{{"com.docker.compose.project":"srcs","com.docker.compose.service":"{service}",
                "com.docker.compose.project.config_files":"/p/compose.yml,/p/bonus.yml"}},
                "State":"{state}","Status":"{status}","Mounts":[]}}"#
        );
        docker::parse(&text).unwrap()
    }

    fn two() -> Vec<Container> {
        vec![
            container("nginx", "running", "Up 2 minutes"),
            container("mariadb", "running", "Up 2 minutes (healthy)"),
        ]
    }

    /// The verdict on a project with these containers and these services in its file.
    fn judged(containers: Vec<Container>, services: Option<&str>) -> Verdict {
        let services = services.map(lines);
        judge(&[Known { containers, services }])
    }

    #[test]
    fn what_does_not_run_or_is_unhealthy_fails() {
        assert_eq!(judged(two(), Some("")), Verdict::Holds("mariadb, nginx".into()));
        let broken = vec![
            container("db", "exited", "Exited (137) 3 hours ago"),
            container("web", "running", "Up 2 minutes (unhealthy)"),
        ];
        assert_eq!(
            judged(broken, Some("")),
            Verdict::Broken("db is exited (Exited (137) 3 hours ago), web is unhealthy".into())
        );
    }

    #[test]
    fn a_service_without_a_container_fails() {
        // `docker compose config --services`: in no order, without those of profiles that are not enabled.
        assert_eq!(
            judged(two(), Some("nginx\nmariadb\nwordpress\n")),
            Verdict::Broken("wordpress has no container".into())
        );
        // A service of a profile is not in the list; one that was started all the same has a container.
        assert_eq!(judged(two(), Some("nginx\n")), Verdict::Holds("mariadb, nginx".into()));
    }

    #[test]
    fn a_file_that_cannot_be_read_leaves_the_containers() {
        let verdict = judged(two(), None);
        assert!(matches!(&verdict, Verdict::Holds(seen) if seen.starts_with("mariadb, nginx (told by")));
    }

    #[test]
    fn all_files_of_a_project_are_read_together() {
        let containers = two();
        let command = services_command("a b", &containers).unwrap().join("|");
        assert_eq!(
            command,
            "docker|compose|-p|a b|-f|/p/compose.yml|-f|/p/bonus.yml|config|--services"
        );
        assert_eq!(services_command("a", &[]), None);
    }

    #[test]
    fn no_container_is_no_success() {
        let none = Verdict::Broken("compose has made no container".into());
        assert_eq!(judged(Vec::new(), Some("nginx")), none);
        assert_eq!(judge(&[]), none);
    }

    #[test]
    fn every_state_but_running_fails() {
        for state in ["created", "paused", "restarting", "removing", "exited", "dead"] {
            let verdict = judged(vec![container("db", state, "")], Some(""));
            assert!(
                matches!(&verdict, Verdict::Broken(seen) if seen.contains(state)),
                "{verdict:?}"
            );
        }
    }
}
