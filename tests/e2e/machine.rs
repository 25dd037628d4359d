//! The steps: what a user would see of one machine's life.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::programs::free_port;
use super::project::LOGIN;
use super::world::World;
use super::{changed, moments, rebuild, timings};

/// The stages that leave checkpoints.
const BUILT: [&str; 4] = ["install", "docker", "account", "project"];

/// Another disk size gives another key, so that the installer runs whatever checkpoints there are. Others may run beside
/// it.
pub fn is_killed_while_installing(world: &World) {
    let args = ["create", "--name", "killed", "--disk", "21G"];
    let before = world.machines();
    let mut run = world.run(&args);
    // Its console shows the first of the installer.
    let installing = |event: &Value| event["event"] == "progress" && event["stage"] == "install";
    assert!(run.until(installing), "install never got going");
    let made = world.machines().into_iter().filter(|pid| !before.contains(pid));
    assert_eq!(made.count(), 1);
    run.kill();
    no_other_runs(world, &before);
    let listed = world.text(&["list"]);
    assert!(listed.contains("unfinished: install"), "{listed}");
    // Ctrl-C instead of SIGKILL: it ends by itself, with the code for that.
    let trace = world.path("interrupted.json");
    let args = [&args[..], &["--trace", trace.to_str().unwrap()]].concat();
    is_interrupted(world, &args, |event| {
        event["event"] == "step" && event["stage"] == "install"
    });
    timings::has_an_open_install(&trace);
    world.text(&["destroy", "--name", "killed", "--yes"]);
    assert!(!world.machine_dir("killed").exists());
}

/// Ctrl-C when `moment` has come: the run says that it was interrupted, and leaves nothing running.
fn is_interrupted(world: &World, args: &[&str], moment: impl Fn(&Value) -> bool) {
    let before = world.machines();
    let mut run = world.run(args);
    assert!(run.until(moment), "the moment never came");
    run.signal("INT");
    let ended = run.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    no_other_runs(world, &before);
}

/// SIGINT in `media` and SIGKILL in `account`, on a machine of another login, which shares no checkpoint from there on.
/// What ends `docker` early is among the steps of the medium.
pub fn is_interrupted_at_any_stage(world: &World) {
    let begins = |stage: &'static str| move |event: &Value| event["event"] == "step" && event["stage"] == stage;
    // Nobody looks at the ISO of what is cached unless the mirror may have a newer one.
    let refresh = ["create", "--name", "other", "--refresh"];
    is_interrupted(world, &refresh, begins("media"));
    let account = ["create", "--name", "other", "--login", "anna"];
    let before = world.machines();
    let mut run = world.run(&account);
    assert!(run.until(begins("account")), "account never got going");
    run.kill();
    no_other_runs(world, &before);
    let ended = world
        .run(&["plan", "--name", "other", "--login", "anna"])
        .end()
        .succeeded();
    let lines = ended.events[0]["stages"].as_array().unwrap();
    for stage in ["install", "docker"] {
        let line = lines.iter().find(|line| line["stage"] == stage).unwrap();
        assert_eq!(line["cached"], true, "{stage}");
    }
    world.text(&["destroy", "--name", "other", "--yes"]);
}

/// SIGINT while a made machine boots to be verified.
fn is_interrupted_while_verified(world: &World) {
    let booting = |event: &Value| event["event"] == "step" && event["stage"] == "verify" && event["text"] == "booting";
    is_interrupted(world, &["create"], booting);
}

pub fn is_created(world: &World) {
    let trace = world.path("trace.json");
    let args = ["create", "--trace", trace.to_str().unwrap()];
    let created = world.run(&args).end().succeeded();
    let (ran, cached) = (created.ran(), created.cached());
    for stage in BUILT {
        assert!(
            ran.contains(&stage) != cached.contains(&stage),
            "{stage}: {ran:?} {cached:?}"
        );
    }
    let ready = created
        .events
        .iter()
        .find(|event| event["event"] == "ready")
        .expect("a ready event");
    let site = format!("{}/", ready["url"].as_str().unwrap());
    assert!(world.text(&["url"]).contains(&site), "{site}");
    let failed: Vec<_> = created
        .events
        .iter()
        .filter(|e| e["event"] == "check" && e["passed"] == false)
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    timings::add_up(world, &created, &trace);
    shows_its_page(world);
}

/// The site answers with a page of its own.
pub fn shows_its_page(world: &World) {
    let page = page(world, world.login(), &[]);
    assert!(page.contains(world.mark()) && page.contains("</html>"), "{page}");
}

/// The front page of the site in the machine `name`, fetched as a user would with the line that `url` gives, and with more of
/// curl's options.
pub fn page(world: &World, name: &str, options: &[&str]) -> String {
    let status = world.json(&["status", "--name", name]);
    let port = status["https_port"].as_u64().unwrap();
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--fail",
            "--insecure",
            "--location",
            "--max-time",
            "120",
        ])
        .args(options)
        .arg("--resolve")
        .arg(format!("{}.42.fr:{port}:127.0.0.1", world.login()))
        .arg(format!("https://{}.42.fr:{port}/", world.login()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn is_not_made_twice(world: &World) {
    let again = world.run(&["create"]).end().succeeded();
    assert_eq!(again.cached(), BUILT);
    assert_eq!(again.ran(), ["media", "verify"]);
    // The machine has booted. Five seconds is what is promised; beside another emulated machine it takes longer.
    world.say(&format!("a second create took {:.1} s", again.seconds));
    assert!(again.seconds < 30.0, "a second create took {:.1} s", again.seconds);
    let plan = world.text(&["plan"]);
    assert!(plan.contains("cached") && !plan.contains("changed"), "{plan}");
    let needless = |event: &Value| {
        event["text"]
            .as_str()
            .is_some_and(|text| text.ends_with("its installation is cached"))
    };
    assert!(again.events.iter().any(needless), "{:?}", again.events);
}

pub fn answers_questions(world: &World) {
    let listed = world.text(&["list"]);
    assert!(listed.contains(LOGIN) && listed.contains("running"), "{listed}");
    let status = world.json(&["status"]);
    assert_eq!(status["login"], LOGIN);
    let url = world.text(&["url"]);
    assert!(
        url.contains("--resolve") && url.contains("--host-resolver-rules"),
        "{url}"
    );
    let credentials = world.text(&["credentials"]);
    let password = fs::read_to_string(world.machine_dir(LOGIN).join("identity/password")).unwrap();
    assert!(credentials.contains(password.trim()));
    let mode = fs::metadata(world.machine_dir(LOGIN).join("identity/password"))
        .unwrap()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // The password opens the account: sudo asks for none, su does.
    let quoted = password.trim();
    let opened = world.guest(&format!(
        "printf '%s\\n' '{quoted}' | su {LOGIN} -c 'echo opened' 2>/dev/null"
    ));
    assert_eq!(opened, "opened\n");
    assert_eq!(world.text(&["ssh", "--", "echo", "hello"]), "hello\n");
    let config = world.path("ssh-config");
    fs::write(&config, world.text(&["ssh-config"])).unwrap();
    let hello = Command::new("ssh")
        .arg("-F")
        .arg(&config)
        .args([LOGIN, "echo hello"])
        .output()
        .unwrap();
    assert_eq!(hello.stdout, b"hello\n", "{}", String::from_utf8_lossy(&hello.stderr));
    let (told, name) = (config.display(), format!("{LOGIN}:copied"));
    for copy in [
        format!("scp -qF {told} {told} {name}"),
        format!("rsync -e 'ssh -F {told}' {told} {name}"),
    ] {
        let copied = Command::new("sh").args(["-c", &copy]).output().unwrap();
        assert!(
            copied.status.success(),
            "{copy}: {}",
            String::from_utf8_lossy(&copied.stderr)
        );
        assert_eq!(
            world.guest("cat copied; rm copied"),
            fs::read_to_string(&config).unwrap()
        );
    }
    let failed = world.output(&["exec", "--", "sh", "-c", "exit 7"]);
    assert_eq!(failed.status.code(), Some(7));
    assert!(world.text(&["cache", "ls"]).contains("project"));
}

/// Kills while stages run anew and while it boots leave the machine as it was, and every checkpoint.
/// Whatever is killed before it boots again, its disk is whole.
pub fn survives_kills(world: &World) {
    let (status, layers) = (world.json(&["status"]), world.own_layers());
    moments::boot_where_no_memory_fits(world);
    is_interrupted_while_verified(world);
    rebuild::is_killed(world);
    changed::is_killed_while_it_is_built(world);
    let listed = world.text(&["list"]);
    let ours = listed.lines().find(|line| line.starts_with(world.login())).unwrap();
    assert!(ours.contains("stopped"), "{listed}");
    rebuild::are_still_there(world, &layers);
    starts_again(world);
    assert_eq!(world.json(&["status"])["layer"], status["layer"]);
    moments::are_what_they_were(world);
}

/// It boots from its own disk, by `create`, which runs no stage.
fn starts_again(world: &World) {
    // A port that the user insists on is remembered.
    let port = free_port().to_string();
    let before = world.machines();
    let mut run = world.run(&["create", "--ssh-port", &port]);
    assert!(run.until(|event| event["event"] == "step" && event["text"] == "booting"));
    let began = Instant::now();
    let qemu = loop {
        if let Some(pid) = world.machines().into_iter().find(|pid| !before.contains(pid)) {
            break pid;
        }
        assert!(began.elapsed().as_secs() < 60, "QEMU did not start");
        std::thread::sleep(Duration::from_millis(20));
    };
    ends_itself(world, qemu);
    let again = run.end().succeeded();
    let told = |event: &Value| {
        event["text"]
            .as_str()
            .is_some_and(|text| text.ends_with("it boots once more"))
    };
    assert!(again.events.iter().any(told), "{:?}", again.events);
    assert_eq!(again.ran(), ["media", "verify"]);
    assert_eq!(world.json(&["status"])["ssh_port"].to_string(), port);
    assert!(world.text(&["logs"]).contains("Linux version"), "it has booted");
}

/// Has QEMU end as it does when an assertion of its own fails: with its words, by SIGABRT.
fn ends_itself(world: &World, qemu: u32) {
    let log = world.machine_dir(world.login()).join("run/machine.log");
    let mut log = fs::OpenOptions::new().append(true).open(log).unwrap();
    let said = "qemu-system-x86_64: hw/pci/msix.c:228: msix_table_mmio_write: Assertion `false' failed.";
    writeln!(log, "{said}").unwrap();
    let killed = Command::new("kill").args(["-ABRT", &qemu.to_string()]).status();
    assert!(killed.unwrap().success());
}

/// A guest that restarts hears no power button for a while: it is told again.
fn is_stopped_while_it_restarts(world: &World, name: &str, others: &[u32]) {
    // It may have gone before the command's end is told.
    let _ = world.output(&["exec", "--name", name, "--", "sudo", "systemctl", "reboot"]);
    let asked = Instant::now();
    world.text(&["stop", "--name", name]);
    world.say(&format!("it is off {:.0} s after", asked.elapsed().as_secs_f64()));
    assert!(asked.elapsed().as_secs() < 300, "it took {:?}", asked.elapsed());
    no_other_runs(world, others);
}

pub fn is_made_by_one_at_a_time(world: &World) {
    // The first holds the machine at least until its site is verified. What it cannot change while it runs is told. It is
    // the machine that `rebuild` made: nothing is left to do.
    let mut first = world.run(&["create", "--memory", "3G"]);
    assert!(first.until(|event| event["event"] == "stage_started" && event["stage"] == "verify"));
    let second = world.output(&["create"]);
    assert_eq!(
        second.status.code(),
        Some(11),
        "{}",
        String::from_utf8_lossy(&second.stderr)
    );
    let prune = world.output(&["cache", "prune"]);
    assert_eq!(prune.status.code(), Some(11), "checkpoints may be in use");
    let first = first.end().succeeded();
    assert_eq!(first.ran(), ["media", "verify"]);
    let warned = |event: &Value| event["event"] == "warning" && event["text"].as_str().unwrap().contains("memory");
    assert!(first.events.iter().any(warned), "{:?}", first.events);
}

pub fn is_kept_when_make_fails(world: &World) {
    let project = world.project().join("broken");
    fs::create_dir_all(project.join("srcs")).unwrap();
    fs::write(
        project.join("Makefile"),
        "all:\n\t@echo it goes wrong here >&2; exit 3\n",
    )
    .unwrap();
    fs::write(project.join("srcs/docker-compose.yml"), "services: {}\n").unwrap();
    let (settings, secrets) = (world.path("site.env"), world.path("site-secrets"));
    fs::write(&settings, "TITLE=from outside\n").unwrap();
    fs::create_dir(&secrets).unwrap();
    fs::write(secrets.join("db_password"), "hidden").unwrap();
    let others = world.machines();
    let mut args = vec!["create", "--name", "broken", "--project", project.to_str().unwrap()];
    args.extend([
        "--env",
        settings.to_str().unwrap(),
        "--secrets",
        secrets.to_str().unwrap(),
    ]);
    let ended = world.run(&args).end();
    assert_eq!(ended.code, Some(9), "{}", ended.stderr);
    let error = ended
        .events
        .iter()
        .find(|event| event["event"] == "error")
        .expect("an error event");
    assert!(
        error["message"].as_str().unwrap().contains("it goes wrong here"),
        "{error}"
    );
    assert!(error["hint"].as_str().unwrap().contains("provision ssh"), "{error}");
    let bundle = fs::read_dir(world.machine_dir("broken"))
        .unwrap()
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("failure-"));
    let bundle = bundle.expect("a failure bundle").path();
    for file in ["console.log", "output.log", "plan.json", "versions.txt", "error.txt"] {
        let text = fs::read_to_string(bundle.join(file)).unwrap();
        assert!(!text.contains("hidden"), "{file} holds a secret");
    }
    // It was kept as it failed, and is reachable.
    let look = world.text(&["exec", "--name", "broken", "--", "cat", "inception/Makefile"]);
    assert!(look.contains("it goes wrong here"));
    let given = "cd inception && cat srcs/.env secrets/db_password && stat -c %a srcs/.env secrets secrets/db_password";
    let given = world.text(&["exec", "--name", "broken", "--", "sh", "-c", given]);
    // Nobody else enters the folder; services that run as other users read the file through a bind mount.
    assert_eq!(given, "TITLE=from outside\nhidden600\n700\n644\n");
    // It stays what it is, whatever is cleaned up around it, and by whom.
    let elsewhere = world.path("elsewhere");
    prune(world, &elsewhere);
    is_stopped_while_it_restarts(world, "broken", &others);
    // Whoever starts it opens all of these.
    let chain = Command::new("qemu-img")
        .args(["info", "--backing-chain"])
        .arg(world.machine_dir("broken").join("work/project/disk.qcow2"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&chain.stdout);
    assert!(
        chain.status.success() && told.matches("image: ").count() == BUILT.len(),
        "{told}{}",
        String::from_utf8_lossy(&chain.stderr)
    );
    world.text(&["destroy", "--name", "broken", "--yes"]);
    assert_eq!(world.machines().len(), 1, "only the first machine is left");
    fs::remove_dir_all(project).unwrap();
}

/// Removes the checkpoints that no machine needs, as the user of another data folder, once nobody uses any.
fn prune(world: &World, data: &Path) {
    let start = Instant::now();
    loop {
        let mut command = world.command(&["cache", "prune"]);
        let output = command.env("PROVISION_DATA_DIR", data).output().unwrap();
        match output.status.code() {
            Some(0) => return,
            Some(11) if start.elapsed() < Duration::from_secs(1200) => std::thread::sleep(Duration::from_secs(1)),
            code => panic!("{code:?}: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }
}

pub fn is_destroyed(world: &World) {
    let status = world.json(&["status"]);
    world.text(&["destroy", "--yes"]);
    // A checkpoint of this run's change would serve no other.
    if world.is_changed() {
        world.forget_layer(status["layer"]["key"].as_str().unwrap());
    }
    no_machine_runs(world);
    assert!(!world.machine_dir(world.login()).exists());
    assert!(!world.text(&["list"]).contains(world.login()));
}

/// No QEMU of ours is left, within the moment that a killed one takes to go.
pub fn no_machine_runs(world: &World) {
    no_other_runs(world, &[]);
}

/// No QEMU of ours is left but those of `before`.
pub fn no_other_runs(world: &World, before: &[u32]) {
    let start = Instant::now();
    let others = || world.machines().into_iter().any(|pid| !before.contains(&pid));
    while others() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "QEMU still runs: {:?}",
            world.machines()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
