use fs_err as fs;

use super::*;
use crate::fault::{Cause, Fault};

fn guests() -> Vec<String> {
    vec!["debian-12".to_owned(), "debian-13".to_owned()]
}

/// A project folder with a configuration file.
fn folder(toml: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("srcs")).unwrap();
    fs::write(dir.path().join("Makefile"), "all:\n").unwrap();
    fs::write(dir.path().join(FILE_NAME), toml).unwrap();
    dir
}

fn loaded(toml: &str, flags: &[(Setting, &str)]) -> Result<Config> {
    let dir = folder(toml);
    load(&Settings::of_flags(flags), dir.path(), &guests())
}

fn refusal(toml: &str, flags: &[(Setting, &str)]) -> Fault {
    let error = loaded(toml, flags).unwrap_err();
    let fault = Fault::of(&error).unwrap().clone();
    assert_eq!(fault.cause, Cause::Config);
    fault
}

#[test]
fn everything_has_a_default_but_the_login() {
    let config = loaded("login = \"jdoe\"", &[]).unwrap();
    assert_eq!(config.name.as_str(), "jdoe");
    assert_eq!(config.login.domain(), "jdoe.42.fr");
    assert_eq!(config.guest, "debian-13");
    assert_eq!(
        (config.machine.cpus, config.machine.memory_mib, config.machine.disk_gib),
        (2, 4096, 20)
    );
    assert_eq!(config.ports, Ports::default());
    assert_eq!(config.iso, None);
}

#[test]
fn every_key_is_read() {
    let dir = folder("");
    fs::write(dir.path().join("env"), "").unwrap();
    fs::create_dir(dir.path().join("sec")).unwrap();
    fs::write(dir.path().join("d.iso"), "").unwrap();
    let toml = format!(
        r#"
login = "jdoe"
name = "eval"
guest = "debian-12"
[project]
path = "."
target = "up"
env = "env"
secrets = "sec"
make_timeout = "90m"
[machine]
program = "qemu"
accelerator = "tcg"
cpus = 4
memory = "8G"
disk = "30G"
stall_timeout = "90s"
installer = "medium"
[ports]
https = 9443
ssh = 2222
[docker]
source = "docker-ce"
registry_mirror = "http://10.0.2.2:5000"
[network]
http_proxy = "http://10.0.2.2:3128"
dns = ["1.1.1.1", "9.9.9.9"]
debian_mirror = "http://mirror.test/debian"
[iso]
path = "d.iso"
sha256 = "{}"
"#,
        "ab".repeat(32)
    );
    fs::write(dir.path().join(FILE_NAME), &toml).unwrap();
    let config = load(&Settings::default(), dir.path(), &guests()).unwrap();
    assert_eq!(config.name.as_str(), "eval");
    assert_eq!(config.guest, "debian-12");
    assert_eq!(config.project.target.as_deref(), Some("up"));
    assert_eq!(config.project.env, Some(dir.path().join("env")));
    assert_eq!(config.project.secrets, Some(dir.path().join("sec")));
    assert_eq!(config.project.make_timeout.unwrap().as_secs(), 5400);
    assert_eq!(config.machine.program, MachineChoice::Qemu);
    let other = toml.replace("program = \"qemu\"\naccelerator = \"tcg\"", "program = \"virtualbox\"");
    fs::write(dir.path().join(FILE_NAME), other).unwrap();
    let other = load(&Settings::default(), dir.path(), &guests()).unwrap();
    assert_eq!(other.machine.program, MachineChoice::VirtualBox);
    let program = |name: &str| {
        let text = format!("login = \"jdoe\"\nmachine = \"{name}\"\n");
        fs::write(dir.path().join(FILE_NAME), text).unwrap();
        load(&Settings::default(), dir.path(), &guests())
    };
    assert_eq!(
        program("virtualbox").unwrap().machine.program,
        MachineChoice::VirtualBox
    );
    let error = program("vmware").unwrap_err().to_string();
    assert!(error.contains(":2") && error.contains("vmware"), "{error}");
    assert_eq!(config.machine.accelerator, AcceleratorChoice::Tcg);
    assert_eq!(config.machine.cpus, 4);
    assert_eq!(config.machine.stall_timeout.unwrap().as_secs(), 90);
    assert_eq!(config.machine.installer, Some(InstallerBoot::Medium));
    assert_eq!(
        config.ports,
        Ports {
            https: Some(9443),
            ssh: Some(2222)
        }
    );
    assert_eq!(config.docker.source, Some(DockerSource::DockerCe));
    assert_eq!(config.docker.registry_mirror.as_deref(), Some("http://10.0.2.2:5000"));
    assert_eq!(config.network.http_proxy.unwrap().expose(), "http://10.0.2.2:3128");
    assert_eq!(config.network.dns.len(), 2);
    assert_eq!(
        config.network.debian_mirror.as_deref(),
        Some("http://mirror.test/debian")
    );
    let iso = config.iso.unwrap();
    assert_eq!(iso.location, Location::File(dir.path().join("d.iso")));
    assert_eq!(iso.checksum, Some(Checksum::Sha256("ab".repeat(32))));
    assert_eq!(config.overrides, Some(dir.path().to_owned()));
}

#[test]
fn all_errors_are_reported_at_once_with_their_lines() {
    let toml = r#"login = "root"
gest = "debian-13"

[machine]
cpu = 2
memory = "512M"
disk = 20
https = 1

[prots]
https = 8443

[ports]
https = 70000

[iso]
url = "http://mirror.test/d.iso"
"#;
    let fault = refusal(toml, &[(Setting::Cpus, "none")]);
    insta::assert_snapshot!(fault.message, @r"
    the configuration has 10 errors
    --cpus: `none` is not a number from 1 to 255
    provision.toml:1: `login`: `root` cannot be a login: the guest's system has a user or group of that name
    provision.toml:2: unknown key `gest` (did you mean `guest`?)
    provision.toml:5: unknown key `cpu` in [machine] (did you mean `cpus`?)
    provision.toml:6: `memory`: `512M` is too little: at least 1G
    provision.toml:7: `disk` in [machine] must be a string in quotes, not a number
    provision.toml:8: unknown key `https` in [machine] (it belongs in [ports])
    provision.toml:10: unknown table [prots] (did you mean [ports]?)
    provision.toml:14: `https`: `70000` is not a port: 1 to 65535
    provision.toml:17: an ISO from an address needs a checksum
    ");
}

#[test]
fn a_syntax_error_names_its_line_and_nothing_is_guessed_from_the_rest() {
    let fault = refusal("login = \"jdoe\nname = 'x'\n[machine\n", &[]);
    assert!(fault.message.contains("provision.toml:1: "), "{}", fault.message);
    assert!(fault.message.contains("provision.toml:3: "), "{}", fault.message);
    assert!(!fault.message.contains("not given"), "{}", fault.message);
    let twice = refusal("login = \"a\"\nlogin = \"b\"\n", &[]);
    assert!(twice.message.starts_with("provision.toml:2: "), "{}", twice.message);
}

#[test]
fn flags_win_over_the_file() {
    let flags = [(Setting::Login, "other"), (Setting::Memory, "2G")];
    let config = loaded("login = \"jdoe\"\n[machine]\nmemory = \"8G\"\ncpus = 3", &flags).unwrap();
    assert_eq!(config.login.as_str(), "other");
    assert_eq!((config.machine.memory_mib, config.machine.cpus), (2048, 3));
    // A value that is overridden is not looked at.
    assert!(loaded("login = \"root\"", &[(Setting::Login, "jdoe")]).is_ok());
}

#[test]
fn the_project_folder_must_hold_a_project() {
    let dir = tempfile::tempdir().unwrap();
    let flags = Settings::of_flags(&[(Setting::Login, "jdoe")]);
    let error = load(&flags, dir.path(), &guests()).unwrap_err();
    let fault = Fault::of(&error).unwrap();
    assert!(fault.message.contains("no Makefile and no folder srcs/"), "{fault}");
    assert!(fault.hint.as_deref().unwrap().contains("--project DIR"));
}

#[test]
fn paths_start_from_where_they_are_written() {
    let dir = folder("login = \"jdoe\"\n[project]\npath = \"..\"\nenv = \"x.env\"");
    let inner = dir.path().join("conf");
    fs::create_dir(&inner).unwrap();
    fs::rename(dir.path().join(FILE_NAME), inner.join("my.toml")).unwrap();
    fs::write(inner.join("x.env"), "").unwrap();
    fs::create_dir(dir.path().join("s")).unwrap();
    let mut flags = Settings::of_flags(&[(Setting::Secrets, "s")]);
    flags.config = Some("conf/my.toml".into());
    let config = load(&flags, dir.path(), &guests()).unwrap();
    assert_eq!(config.project.dir, inner.join(".."));
    assert_eq!(config.project.env, Some(inner.join("x.env")));
    assert_eq!(config.project.secrets, Some(dir.path().join("s")));

    flags.config = Some("nowhere.toml".into());
    let error = load(&flags, dir.path(), &guests()).unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Config);
    assert!(format!("{error:#}").contains("nowhere.toml"), "{error:#}");
}

#[test]
fn what_goes_with_the_project_must_exist() {
    let flags = [(Setting::Env, "no.env"), (Setting::Secrets, "nosecrets")];
    let message = refusal("login = \"jdoe\"", &flags).message;
    assert!(message.contains("--env: there is no file"), "{message}");
    assert!(message.contains("--secrets: there is no folder"), "{message}");
}

#[test]
fn isos_of_the_users_choice() {
    let (short, long) = ("ab".repeat(32), "cd".repeat(64));
    let url = "http://mirror.test/d.iso";
    let login = (Setting::Login, "jdoe");
    let iso = |toml: &str, flags: &[(Setting, &str)]| {
        let flags: Vec<_> = flags.iter().copied().chain([login]).collect();
        loaded(toml, &flags).map(|config| config.iso.unwrap())
    };
    let file = format!("[iso]\nurl = \"http://file.test/\"\nsha256 = \"{short}\"\n");
    assert_eq!(
        iso(&file, &[]).unwrap().location,
        Location::Url("http://file.test/".to_owned())
    );
    // The command line's ISO does not take the file's checksum.
    assert!(iso(&file, &[(Setting::Iso, url)]).is_err());
    let chosen = iso(&file, &[(Setting::Iso, url), (Setting::IsoSha512, &long)]).unwrap();
    assert_eq!(chosen.checksum, Some(Checksum::Sha512(long.clone())));
    // The command line's checksum replaces the file's of another kind.
    let chosen = iso(&file, &[(Setting::IsoSha512, &long)]).unwrap();
    assert_eq!(chosen.checksum, Some(Checksum::Sha512(long.clone())));

    let refused = |toml: &str, flags: &[(Setting, &str)]| {
        let flags: Vec<_> = flags.iter().copied().chain([login]).collect();
        refusal(toml, &flags).message
    };
    let both = [
        (Setting::Iso, url),
        (Setting::IsoSha256, short.as_str()),
        (Setting::IsoSha512, &long),
    ];
    assert!(refused("", &both).contains("give one of both"));
    assert!(refused("", &both[1..2]).contains("a checksum without an ISO"));
    assert!(refused("", &[(Setting::Iso, "no.iso")]).contains("--iso: there is no file"));
    assert_eq!(
        refused("", &[(Setting::Iso, url), (Setting::IsoSha256, "ab")]),
        "--iso-sha256: it has 2 digits instead of 64"
    );
    let two = format!("[iso]\npath = \"Makefile\"\nurl = \"{url}\"\nsha256 = \"{short}\"");
    assert!(refused(&two, &[]).contains("provision.toml:3: `url`: the ISO has a path already"));
}

#[test]
fn the_two_ports_differ() {
    let message = refusal("login = \"jdoe\"\n[ports]\nhttps = 2222\nssh = 2222", &[]).message;
    assert_eq!(message, "provision.toml:4: `ssh`: 2222 is the port for https already");
}

#[test]
fn a_user_name_that_cannot_be_a_login_is_explained() {
    let around = resolve::Surroundings {
        cwd: folder("").path().to_owned(),
        file_dir: None,
        guests: &guests(),
        host_user: Some("root".to_owned()),
    };
    let (config, problems) = resolve::resolve(Vec::new(), &around);
    assert!(config.is_none());
    let text = problems[0].to_string();
    assert!(
        text.starts_with("login: it is not given, and your user name here"),
        "{text}"
    );
}
