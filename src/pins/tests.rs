use super::*;
use crate::facts::{Image, Package, Source};

const TEXT: &str = r#"
version = 1
snapshot = "20260801T093000Z"
[iso]
name = "debian-13.0.0-amd64-netinst.iso"
digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
[packages.install]
adduser = "3.152"
"libstdc++6" = "14.2.0-19"
[packages.docker]
"docker.io" = "26.1.5+dfsg1-9+b7"
[images]
"docker.io/library/debian:bookworm" = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
"#;

fn lock() -> Lock {
    Lock {
        path: "provision.lock".into(),
        file: File::parse(TEXT, "provision.lock").unwrap(),
    }
}

fn package(name: &str, version: &str) -> Package {
    Package {
        name: name.to_owned(),
        version: version.to_owned(),
        stage: Stage::Docker,
        source: Source::Unknown,
    }
}

fn pinned_packages() -> Vec<Package> {
    vec![
        package("adduser", "3.152"),
        package("docker.io", "26.1.5+dfsg1-9+b7"),
        package("libstdc++6", "14.2.0-19"),
    ]
}

fn image(name: &str, digit: char) -> Image {
    Image {
        name: name.to_owned(),
        digest: Some(format!("sha256:{}", String::from(digit).repeat(64))),
        id: None,
    }
}

#[test]
fn what_it_writes_it_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let lock = Lock {
        path: path.clone(),
        ..lock()
    };
    lock.write().unwrap();
    assert_eq!(Lock::read(&path).unwrap(), lock);
    assert_eq!(lock.diff(&Lock::read(&path).unwrap()), [""; 0]);
}

#[test]
fn what_is_no_file_is_a_wrong_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let error = Lock::read(folder.path()).unwrap_err();
    let fault = Fault::of(&error).unwrap();
    assert_eq!((fault.cause, fault.hint.is_some()), (Cause::Config, true), "{error:#}");
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    let table = [
        ("version = 1", "version = 2", "version"),
        ("version = 1", "version = 1\ncolour = 1", "colour"),
        ("20260801T093000Z", "yesterday", "snapshot"),
        ("= \"3.152\"", "= \"3 152\"", "adduser"),
        ("adduser", "\"--option\"", "--option"),
        ("\"docker.io\"", "\"a$(b)\"", "a$(b)"),
        ("26.1.5+dfsg1-9+b7", "26;x", "26;x"),
        ("debian:bookworm\"", "debian bookworm\"", "debian bookworm"),
        ("sha256:1", "sha256:x", "sha256:x"),
        ("name = \"debian", "name = \"../../debian", "../../debian"),
        ("name = \"debian", "name = \"/etc/debian", "/etc/debian"),
        ("name = \"debian", "name = \".debian", ".debian"),
        ("sha256:0", "md5:0", "digest"),
    ];
    for (from, to, named) in table {
        let text = TEXT.replace(from, to);
        assert_ne!(text, TEXT, "{from}");
        let error = File::parse(&text, "provision.lock").unwrap_err();
        assert_eq!(Fault::of(&error).unwrap().cause, Cause::Config, "{to}");
        let said = format!("{error:#}");
        assert!(said.contains(named) && said.contains("provision.lock"), "{to}: {said}");
    }
    let error = Lock::read(Path::new("/nowhere/provision.lock")).unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Config);
}

#[test]
fn differences_are_told_as_a_diff() {
    let packages = Packages {
        mirror: "http://snapshot.example.org/archive".into(),
        lock: lock(),
    };
    packages.require(&pinned_packages()).unwrap();
    let mut found = pinned_packages();
    found[1].version = "26.1.6".into();
    found.push(package("zsh", "5.9"));
    found.remove(0);
    let error = packages.require(&found).unwrap_err();
    let fault = Fault::of(&error).unwrap();
    assert_eq!(fault.cause, Cause::Verification);
    let lines: Vec<&str> = fault.message.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "- adduser 3.152",
            "- docker.io 26.1.5+dfsg1-9+b7",
            "+ docker.io 26.1.6",
            "+ zsh 5.9"
        ]
    );
}

#[test]
fn images_that_are_built_are_not_compared() {
    let images = lock().images();
    let built = Image {
        name: "nginx:inception".into(),
        digest: None,
        id: Some("sha256:22".into()),
    };
    let facts = |images: Vec<Image>| Facts {
        images,
        ..Facts::default()
    };
    let debian = "docker.io/library/debian:bookworm";
    images.require(&facts(vec![image(debian, '1'), built])).unwrap();
    let error = images.require(&facts(vec![image(debian, '2')])).unwrap_err();
    let message = &Fault::of(&error).unwrap().message;
    let (old, new) = ("1".repeat(64), "2".repeat(64));
    assert!(
        message.ends_with(&format!("\n- {debian} sha256:{old}\n+ {debian} sha256:{new}")),
        "{message}"
    );
    assert!(images.require(&facts(vec![])).is_err(), "one that is not there");
}

#[test]
fn pins_become_arguments_and_marks() {
    let packages = Packages {
        mirror: "http://snapshot.example.org/archive".into(),
        lock: lock(),
    };
    assert_eq!(
        packages.args().join(" "),
        "--snapshot http://snapshot.example.org/archive --snapshot-time 20260801T093000Z \
         --pin docker.io=26.1.5+dfsg1-9+b7"
    );
    let mut other = lock();
    other.file.packages.docker.insert("docker.io".into(), "27".into());
    assert_ne!(other.marks(Stage::Docker), lock().marks(Stage::Docker));
    assert_eq!(other.marks(Stage::Project), lock().marks(Stage::Project));
    assert_eq!(other.marks(Stage::Account), Inputs::new());
}

#[test]
fn layers_of_other_things_are_refused_together() {
    use crate::checkpoint::Manifest;
    use crate::machine::driver::Hypervisor;
    use crate::machine::qemu::image;

    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let plan = Plan::new([
        (Stage::Install, Inputs::new()),
        (Stage::Docker, Inputs::new()),
        (Stage::Account, Inputs::new()),
        (Stage::Project, Inputs::new()),
    ]);
    let commit = |facts: [Facts; 4]| {
        let mut below = None;
        for (planned, facts) in plan.stages.iter().zip(facts) {
            let disk = folder.path().join("disk");
            image::create(&disk, 1).unwrap();
            let (key, inputs) = (planned.key.clone(), planned.inputs.clone());
            let manifest = Manifest {
                facts,
                ..Manifest::new(planned.stage, key, below.as_ref(), inputs, 1.0)
            };
            below = Some(store.commit(Hypervisor::Qemu, &disk, &manifest).unwrap());
        }
    };
    let debian = "docker.io/library/debian:bookworm";
    let facts = |packages: Vec<Package>, images: Vec<Image>| Facts {
        iso: None,
        packages,
        images,
    };
    let none = Facts::default;
    lock().require_layers(&store, &plan).unwrap();
    let right = facts(vec![], vec![image(debian, '1')]);
    commit([none(), facts(pinned_packages(), vec![]), none(), right]);
    lock().require_layers(&store, &plan).unwrap();

    for planned in plan.stages.iter().rev() {
        store.remove(&planned.key).unwrap();
    }
    let wrong = facts(vec![], vec![image(debian, '2')]);
    commit([none(), facts(vec![package("docker.io", "27")], vec![]), none(), wrong]);
    let error = lock().require_layers(&store, &plan).unwrap_err();
    let fault = Fault::of(&error).unwrap();
    for line in [
        "- docker.io 26.1.5+dfsg1-9+b7",
        "+ docker.io 27",
        "- adduser 3.152",
        &format!("+ {debian} sha256:2"),
    ] {
        assert!(fault.message.contains(line), "{line}: {}", fault.message);
    }
    assert!(fault.hint.as_ref().unwrap().contains("rebuild --locked --from docker"));
}

#[test]
fn another_iso_is_refused() {
    let iso = |digit: char| media::Iso {
        path: "/nowhere".into(),
        name: "debian-13.9.0-amd64-netinst.iso".into(),
        digest: media::Digest::try_from(format!("sha256:{}", String::from(digit).repeat(64))).unwrap(),
        origin: media::Origin::Unverified,
    };
    lock().require_iso(&iso('0')).unwrap();
    let error = lock().require_iso(&iso('5')).unwrap_err();
    let message = &Fault::of(&error).unwrap().message;
    assert!(
        message.contains("\n- debian-13.0.0-amd64-netinst.iso sha256:0")
            && message.contains("\n+ debian-13.9.0-amd64-netinst.iso sha256:5"),
        "{message}"
    );
}
