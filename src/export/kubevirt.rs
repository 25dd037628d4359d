//! The manifest with which a Kubernetes cluster with KubeVirt runs a containerdisk.

use anyhow::{Context as _, Result};
use minijinja::{Environment, UndefinedBehavior, context};

const TEMPLATE: &str = include_str!("kubevirt.yaml.j2");

/// The label of the disk on which a sealed machine looks for keys (`provision-first-boot.sh`).
const KEYS_LABEL: &str = "PROVISION";

/// A machine on a cluster.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'a> {
    /// Its name: letters, digits and dashes, as Kubernetes wants it.
    pub name: &'a str,
    /// Where the cluster finds the containerdisk.
    pub image: Option<&'a str>,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Whether it takes keys from outside.
    pub is_sealed: bool,
}

/// A `VirtualMachine` and a `Service` that leads to it (KubeVirt's API `kubevirt.io/v1`).
///
/// # Errors
/// When the template is wrong.
pub fn manifest(machine: &Machine<'_>) -> Result<String> {
    let name = object_name(machine.name);
    let image = machine
        .image
        .map_or_else(|| format!("{name}:latest"), ToOwned::to_owned);
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let text = environment.render_str(
        TEMPLATE,
        context! {
            name,
            // A string of JSON is one of YAML.
            image => serde_json::Value::from(image).to_string(),
            is_named => machine.image.is_some(),
            cpus => machine.cpus,
            memory_mib => machine.memory_mib,
            is_sealed => machine.is_sealed,
            keys_label => KEYS_LABEL,
        },
    );
    Ok(text.context("rendering KubeVirt's manifest")? + "\n")
}

/// A name as Kubernetes takes it: what is neither a small letter nor a digit is a dash within it (RFC 1123).
fn object_name(name: &str) -> String {
    let small = name.to_ascii_lowercase();
    let plain: String = small
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .collect();
    let trimmed = plain.trim_matches('-');
    // A service's name begins with a letter.
    match trimmed.chars().next() {
        None => "machine".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("m-{trimmed}"),
        Some(_) => trimmed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn documents(machine: &Machine<'_>) -> Vec<Value> {
        use serde::Deserialize as _;
        let text = manifest(machine).unwrap();
        serde_yaml_ng::Deserializer::from_str(&text)
            .map(|document| Value::deserialize(document).unwrap())
            .collect()
    }

    const MACHINE: Machine<'_> = Machine {
        name: "jdoe",
        image: Some("registry.example.org/class/jdoe:1"),
        cpus: 2,
        memory_mib: 4096,
        is_sealed: true,
    };

    #[test]
    fn a_cluster_reads_what_is_meant() {
        let [machine, service] = &documents(&MACHINE)[..] else {
            panic!("two documents")
        };
        assert_eq!(machine["apiVersion"], "kubevirt.io/v1");
        assert_eq!(machine["kind"], "VirtualMachine");
        let spec = &machine["spec"]["template"]["spec"];
        assert_eq!(spec["domain"]["cpu"]["cores"], 2);
        assert_eq!(spec["domain"]["memory"]["guest"], "4096Mi");
        assert_eq!(
            spec["volumes"][0],
            json!({"name": "system", "containerDisk": {"image": "registry.example.org/class/jdoe:1"}})
        );
        assert_eq!(spec["volumes"][1]["secret"]["volumeLabel"], KEYS_LABEL);
        let names = |list: &Value| -> Vec<Value> {
            list.as_array()
                .unwrap()
                .iter()
                .map(|item| item["name"].clone())
                .collect()
        };
        assert_eq!(names(&spec["volumes"]), names(&spec["domain"]["devices"]["disks"]));
        let interface = &spec["domain"]["devices"]["interfaces"][0];
        assert_eq!(interface["masquerade"], json!({}));
        assert_eq!(names(&spec["networks"]), [interface["name"].clone()]);
        let ports: Vec<_> = interface["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| &port["port"])
            .collect();
        assert_eq!(ports, [443, 22]);
        assert_eq!(
            service["spec"]["selector"],
            machine["spec"]["template"]["metadata"]["labels"]
        );
    }

    #[test]
    fn one_that_is_not_sealed_takes_no_keys() {
        let machine = Machine {
            is_sealed: false,
            image: None,
            ..MACHINE
        };
        let [machine, _] = &documents(&machine)[..] else {
            panic!("two documents")
        };
        let spec = &machine["spec"]["template"]["spec"];
        assert_eq!(spec["volumes"].as_array().unwrap().len(), 1);
        assert_eq!(spec["volumes"][0]["containerDisk"]["image"], "jdoe:latest");
    }

    #[test]
    fn names_suit_kubernetes() {
        for (name, expected) in [
            ("jdoe", "jdoe"),
            ("J_Doe.2", "j-doe-2"),
            ("42", "m-42"),
            ("-a-", "a"),
            ("_", "machine"),
        ] {
            assert_eq!(object_name(name), expected);
        }
    }
}
