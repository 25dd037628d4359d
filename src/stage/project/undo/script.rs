//! The script in a folder of its own, with this host's programs.

use std::path::Path;
use std::process::{Command, Output};

/// The script's end in a guest in which a project did what the shell's `did` says.
fn undone(did: &str) -> Output {
    let (repository, root) = (Path::new(env!("CARGO_MANIFEST_DIR")), tempfile::tempdir().unwrap());
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "--pid", "--fork"]);
    command.arg(repository.join("tests/support/built-guest"));
    command.args([repository.join("provision/debian/undo.sh"), root.path().to_owned()]);
    command.arg(did).output().unwrap()
}

#[track_caller]
fn left(did: &str) -> String {
    let output = undone(did);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_a_project_made_goes_and_what_was_there_stays() {
    let did = "cd ~ && mkdir -p .docker/buildx data/db inception/srcs '.a b' && touch .docker/buildx/x data/db/y '.a b/c' && \
               mkdir -p /var/backups /var/lib/apt /var/cache/man && touch /var/backups/b /var/lib/apt/daily_lock /var/cache/man/m && \
               touch /run/containers/00ff /run/containers/a1 inception/Makefile /tmp/z /var/tmp/z /var/log/l /var/lib/systemd/s /var/lib/docker/d && chmod 700 . data";
    let left = left(did);
    let (files, asked) = left.split_once("GET").unwrap();
    assert_eq!(
        files,
        "./.profile\n./.ssh\n./.ssh/authorized_keys\n./data\n755 .\n755 data\n"
    );
    let mut asked: Vec<&str> = asked.lines().collect();
    // Both at once.
    asked[3..5].sort_unstable();
    assert_eq!(
        asked,
        [
            " /info",
            "GET /plugins",
            "GET /containers/json?all=true",
            "DELETE /containers/00ff?force=true&v=true",
            "DELETE /containers/a1?force=true&v=true",
            "GET /containers/json?all=true",
            r#"POST /volumes/prune?filters={"all":["true"]}"#,
            "POST /networks/prune",
            r#"POST /images/prune?filters={"dangling":["false"]}"#,
        ]
    );
}

#[test]
fn an_engine_that_keeps_a_container_is_told() {
    let output = undone("mkdir /run/containers/a1");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.trim()
            .ends_with("undo: error: the engine still has the container a1"),
        "{said}"
    );
}

#[test]
fn the_engine_may_have_been_led_elsewhere_meanwhile() {
    left("cd /etc/docker && mv daemon.json kept && echo {} > daemon.json && mv kept daemon.json");
}

#[test]
fn what_cannot_be_taken_back_is_named() {
    let table = [
        ("echo more >> ~/.profile", "it changed /home/root/.profile"),
        (
            "chmod 600 ~/.ssh/authorized_keys",
            "it changed /home/root/.ssh/authorized_keys",
        ),
        ("rm ~/.profile", "it removed /home/root/.profile"),
        ("rm -r ~/.ssh", "it removed /home/root/.ssh/authorized_keys"),
        ("rm ~/.ssh/authorized_keys", "it changed /home/root/.ssh"),
        ("echo 1.2.3.4 name >> /etc/hosts", "it changed /etc/hosts"),
        ("touch /etc/new", "it changed /etc/new"),
        ("rm /etc/hosts", "it changed /etc"),
        ("mkdir /srv", "it changed /srv"),
        (
            "echo {} > /etc/docker/daemon.json",
            "it changed /etc/docker/daemon.json",
        ),
        ("rm /etc/docker/daemon.json", "it removed /etc/docker/daemon.json"),
        (
            "mv ~/data /tmp/data && ln -s /tmp/data ~/data",
            "it changed /home/root/data",
        ),
        (
            "touch -d yesterday /tmp/x && mv /tmp/x /etc/docker/key.json",
            "it changed /etc/docker/key.json",
        ),
        (
            "mkdir -p /var/lib/systemd/linger && touch /var/lib/systemd/linger/root",
            "it has user services that run by themselves",
        ),
        ("rm -r ~/inception", "the project's folder is gone"),
        ("echo active > /run/swarm", "its engine is part of a swarm"),
        (r#"echo '[{"Id":"a"}]' > /run/plugins"#, "its engine has plugins"),
    ];
    std::thread::scope(|scope| {
        for (did, expected) in table {
            scope.spawn(move || {
                let output = undone(did);
                let said = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(super::UNCLEAN), "{did}: {said}");
                assert_eq!(said.trim(), format!("undo: error: {expected}"), "{did}");
            });
        }
    });
}
