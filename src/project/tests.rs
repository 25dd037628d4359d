//! Tests of [`Tree`] against real folders and the real tar(1).

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::config::Project;

const SECRET: [u8; 32] = [7; 32];

/// A project folder with the least that it must hold.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("Makefile", "all:\n");
        folder.write("srcs/docker-compose.yml", "services: {}\n");
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, content: &str) -> PathBuf {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn mode(&self, path: &str, mode: u32) {
        let mode = std::fs::Permissions::from_mode(mode);
        fs::set_permissions(self.path().join(path), mode).unwrap();
    }

    fn project(&self) -> Project {
        Project {
            dir: self.path().to_owned(),
            target: None,
            env: None,
            secrets: None,
            make_timeout: None,
        }
    }

    fn tree(&self) -> Tree {
        Tree::collect(&self.project()).unwrap()
    }

    fn fails(&self) -> String {
        let error = Tree::collect(&self.project()).unwrap_err();
        assert_eq!(Fault::of(&error).unwrap().cause, Cause::Config);
        format!("{error:#}")
    }
}

fn names(tree: &Tree) -> Vec<String> {
    tree.entries.keys().map(|path| shown(path)).collect()
}

fn inputs(tree: &Tree) -> Inputs {
    tree.inputs(&SECRET, &Cancel::default()).unwrap()
}

/// Unpacks with tar(1), as the guest does.
fn unpack(tree: &Tree) -> tempfile::TempDir {
    let into = tempfile::tempdir().unwrap();
    let archive = into.path().join("archive");
    tree.write_tar(fs::File::create(&archive).unwrap()).unwrap();
    let inner = into.path().join("tree");
    fs::create_dir(&inner).unwrap();
    let run = Command::new("tar")
        .args(["-x", "-p", "-f"])
        .arg(&archive)
        .arg("-C")
        .arg(&inner)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    into
}

/// The tree of what `tree` becomes in the guest, with the folder that holds it.
fn arrived(tree: &Tree) -> (tempfile::TempDir, Tree) {
    let into = unpack(tree);
    let dir = into.path().join("tree");
    let project = Project {
        dir,
        target: None,
        env: None,
        secrets: None,
        make_timeout: None,
    };
    let arrived = Tree::collect(&project).unwrap();
    (into, arrived)
}

/// Without what must differ between a file and its copy.
fn normal(mut tree: Tree) -> Tree {
    for entry in tree.entries.values_mut() {
        if let Kind::File { source, stamp } = &mut entry.kind {
            *source = PathBuf::new();
            stamp.modified.1 = 0;
        }
    }
    tree
}

#[test]
fn the_whole_folder_is_sent_but_git_and_our_own_files() {
    let folder = Folder::new();
    for path in [
        ".git/config",
        "srcs/module/.git",
        "provision.toml",
        "provision.lock",
        ".provisionignore",
        ".gitignore",
        "srcs/.env",
        "srcs/provision.toml",
        "secrets/password.txt",
    ] {
        let content = if path == ".gitignore" { "secrets\n.env\n" } else { "" };
        folder.write(path, content);
    }
    let expected = [
        ".gitignore",
        "Makefile",
        "secrets",
        "secrets/password.txt",
        "srcs",
        "srcs/.env",
        "srcs/docker-compose.yml",
        "srcs/module",
        "srcs/provision.toml",
    ];
    assert_eq!(names(&folder.tree()), expected);
}

#[test]
fn ignored_files_stay() {
    let folder = Folder::new();
    folder.write(".provisionignore", "/target/\n*.log\n!keep.log\n");
    folder.write("srcs/tools/.provisionignore", "cache\n");
    for path in [
        "target/debug/x",
        "a.log",
        "keep.log",
        "srcs/target/x",
        "srcs/tools/cache/x",
    ] {
        folder.write(path, "");
    }
    let sent = names(&folder.tree());
    let has = |path: &str| sent.iter().any(|name| name == path);
    assert!(has("keep.log") && has("srcs/target/x") && has("srcs/tools"));
    assert!(!has("target") && !has("a.log") && !has("srcs/tools/cache"), "{sent:?}");
}

#[test]
fn exports_at_work_are_no_part_of_the_project() {
    let folder = Folder::new();
    let before = names(&folder.tree());
    folder.write(".m.ova.partial/lock", "");
    folder.write(".m.ova.partial/image/disk", "half");
    assert_eq!(names(&folder.tree()), before);
    // Without a lock it is somebody else's.
    folder.write("srcs/.mine.partial/data", "");
    assert_ne!(names(&folder.tree()), before);
}

#[test]
fn what_is_sent_can_be_asked_of_a_file() {
    let folder = Folder::new();
    let image = folder.write("m.qcow2", "an image");
    let outside = tempfile::tempdir().unwrap();
    let link = outside.path().join("link");
    symlink(folder.path(), &link).unwrap();
    assert!(sends(folder.path(), &image) && sends(&link, &image) && sends(folder.path(), &link.join("m.qcow2")));
    assert!(!sends(folder.path(), &link.join("..")) && !sends(folder.path(), outside.path()));
    folder.write(".provisionignore", "*.qcow2\n");
    assert!(!sends(folder.path(), &image));
}

#[test]
fn a_wrong_ignore_file_is_an_error() {
    let folder = Folder::new();
    for wrong in ["srcs/{a\n", "fine\n{z\n"] {
        folder.write(".provisionignore", wrong);
        let error = folder.fails();
        assert!(error.contains(".provisionignore"), "{error}");
    }
    // What it would have listed is not sent in silence because it cannot be read.
    let list = folder.path().join(".provisionignore");
    fs::write(&list, b"secret\n\xff\n").unwrap();
    assert!(folder.fails().contains("no UTF-8"));
    fs::remove_file(&list).unwrap();
    fs::create_dir(&list).unwrap();
    assert!(folder.fails().contains(".provisionignore"));
    fs::remove_dir(&list).unwrap();
    folder.write("srcs/.provisionignore", "{z");
    assert!(folder.fails().contains("srcs/.provisionignore"));
}

#[test]
fn what_comes_from_elsewhere_is_known() {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let key = elsewhere.write("id_ed25519", "a key");
    let own = folder.write("mine/password", "x");
    symlink(&key, own.with_file_name("link")).unwrap();
    let project = Project {
        env: Some(elsewhere.write("site.env", "A=1\n")),
        secrets: Some(folder.path().join("mine")),
        ..folder.project()
    };
    let mut found = from_elsewhere(&project);
    found.sort();
    let mut expected = [key, elsewhere.path().join("site.env")].map(|path| fs::canonicalize(path).unwrap());
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(from_elsewhere(&folder.project()), Vec::<PathBuf>::new());
}

#[test]
fn env_and_secrets_take_the_place_of_what_is_there() {
    let folder = Folder::new();
    folder.write("srcs/.env", "OLD=1\n");
    folder.write("secrets/old.txt", "old");
    let outside = tempfile::tempdir().unwrap();
    let (env, secrets) = (outside.path().join("my.env"), outside.path().join("my-secrets"));
    fs::write(&env, "NEW=1\n").unwrap();
    fs::create_dir_all(secrets.join("db")).unwrap();
    fs::write(secrets.join("db/password.txt"), "new").unwrap();
    symlink(&env, secrets.join("link.txt")).unwrap();
    let project = Project {
        env: Some(env),
        secrets: Some(secrets),
        ..folder.project()
    };
    let into = unpack(&Tree::collect(&project).unwrap());
    let read = |path: &str| fs::read_to_string(into.path().join("tree").join(path)).unwrap();
    let mode = |path: &str| {
        let data = fs::symlink_metadata(into.path().join("tree").join(path)).unwrap();
        assert!(!data.is_symlink());
        data.mode() & MODE
    };
    assert_eq!((read("srcs/.env").as_str(), mode("srcs/.env")), ("NEW=1\n", 0o600));
    assert_eq!(read("secrets/db/password.txt"), "new");
    assert_eq!(read("secrets/link.txt"), "NEW=1\n");
    assert_eq!(
        (mode("secrets"), mode("secrets/db"), mode("secrets/link.txt")),
        (0o700, 0o700, 0o644)
    );
    assert!(!into.path().join("tree/secrets/old.txt").exists());
}

const MODE: u32 = 0o7777;

#[test]
fn modes_links_times_and_odd_names_arrive() {
    use std::os::unix::ffi::OsStringExt as _;
    let folder = Folder::new();
    folder.write("srcs/tools/run.sh", "#!/bin/sh\n");
    folder.mode("srcs/tools/run.sh", 0o755);
    folder.write("srcs/readonly/file", "x");
    folder.mode("srcs/readonly/file", 0o400);
    folder.mode("srcs/readonly", 0o555);
    folder.write("srcs/empty/x", "");
    fs::remove_file(folder.path().join("srcs/empty/x")).unwrap();
    folder.write(&format!("srcs/{}/{}", "long".repeat(30), "name".repeat(40)), "long");
    let odd = OsString::from_vec(b"srcs/not-utf8-\xff \n'\"".to_vec());
    fs::write(folder.path().join(odd), "odd").unwrap();
    for (number, target) in ["run.sh", "./a//b/../c", "/home/login/data", &"far/".repeat(50)]
        .iter()
        .enumerate()
    {
        symlink(target, folder.path().join(format!("srcs/link{number}"))).unwrap();
    }
    let sent = folder.tree();
    let hashes = inputs(&sent);
    assert_eq!(hashes.len(), sent.entries.len());
    let (_into, arrived) = arrived(&sent);
    assert_eq!(inputs(&arrived), hashes);
    assert_eq!(normal(arrived), normal(sent));
    folder.mode("srcs/readonly", 0o755);
}

#[test]
fn the_size_is_that_of_the_archive() {
    let folder = Folder::new();
    folder.write("srcs/big", &"x".repeat(100_000));
    let tree = folder.tree();
    let mut archive = Vec::new();
    tree.write_tar(&mut archive).unwrap();
    assert_eq!(archive.len() as u64, tree.total_bytes());
}

#[test]
fn what_is_neither_file_nor_folder_is_refused_by_name() {
    let folder = Folder::new();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("srcs/s.sock")).unwrap();
    let error = folder.fails();
    assert!(error.contains("srcs/s.sock is a socket"), "{error}");
    folder.write(".provisionignore", "*.sock\n");
    folder.tree();
    let pipe = folder.path().join("srcs/pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let error = folder.fails();
    assert!(error.contains("srcs/pipe is a named pipe"), "{error}");
}

#[test]
fn an_incomplete_project_is_refused() {
    let folder = Folder::new();
    folder.write(".provisionignore", "srcs/\n");
    assert!(folder.fails().contains("lacks srcs/"));
    let folder = Folder::new();
    fs::remove_file(folder.path().join("Makefile")).unwrap();
    assert!(folder.fails().contains("lacks a Makefile"));
    folder.write("GNUmakefile", "all:\n");
    folder.tree();
}

#[test]
fn sources_outside_the_project_are_refused() {
    let (folder, other) = (Folder::new(), Folder::new());
    fs::remove_dir_all(folder.path().join("srcs")).unwrap();
    symlink(other.path().join("srcs"), folder.path().join("srcs")).unwrap();
    assert!(folder.fails().contains("leads out of the project"));
    fs::remove_file(folder.path().join("srcs")).unwrap();
    folder.write("real/docker-compose.yml", "");
    symlink("real", folder.path().join("srcs")).unwrap();
    folder.tree();
}

#[test]
fn a_file_changed_on_the_way_is_an_error() {
    let folder = Folder::new();
    let file = folder.write("srcs/file", "before");
    for content in ["short", "a good deal longer"] {
        let tree = folder.tree();
        fs::write(&file, content).unwrap();
        for result in [
            tree.inputs(&SECRET, &Cancel::default()).map(|_| ()),
            tree.write_tar(Vec::new()),
        ] {
            let error = result.unwrap_err();
            let text = format!("{error:#}");
            assert!(text.contains("srcs/file was changed"), "{text}");
            assert!(Fault::of(&error).unwrap().hint.is_some());
        }
    }
}

#[test]
fn inputs_change_with_content_mode_and_target_but_not_with_time() {
    let folder = Folder::new();
    let file = folder.write("srcs/file", "one");
    let link = folder.path().join("srcs/link");
    symlink("file", &link).unwrap();
    let before = inputs(&folder.tree());
    let changed = |path: &str| {
        let now = inputs(&folder.tree());
        let differ: Vec<String> = now
            .keys()
            .filter(|&name| now.get(name) != before.get(name))
            .cloned()
            .collect();
        assert_eq!(differ, [path]);
    };
    let touch = || {
        let file = std::fs::File::options().write(true).open(&file).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    };
    touch();
    assert_eq!(inputs(&folder.tree()), before);
    fs::write(&file, "two").unwrap();
    changed("srcs/file");
    fs::write(&file, "one").unwrap();
    folder.mode("srcs/file", 0o755);
    changed("srcs/file");
    folder.mode("srcs/file", 0o644);
    fs::remove_file(&link).unwrap();
    symlink("other", &link).unwrap();
    changed("srcs/link");
}

#[test]
fn inputs_show_nothing_without_the_secret() {
    let folder = Folder::new();
    folder.write("srcs/.env", "PASSWORD=1234\n");
    let tree = folder.tree();
    assert_ne!(
        tree.inputs(&SECRET, &Cancel::default()).unwrap(),
        tree.inputs(&[8; 32], &Cancel::default()).unwrap()
    );
    let plain = crate::key::digest(b"PASSWORD=1234\n");
    assert!(inputs(&tree).values().all(|value| *value != plain));
}

/// A file or link somewhere in the tree: path, content or target, mode.
fn leaf() -> impl Strategy<Value = (Vec<String>, Option<String>, Vec<u8>, u32)> {
    let name = "[a-zé .-]{1,12}".prop_filter("a name of its own", |name| name != "." && name != "..");
    let path = prop::collection::vec(name, 1..4);
    let target = prop::option::weighted(0.2, "[a-z./]{1,160}");
    let content = prop::collection::vec(any::<u8>(), 0..2000);
    let mode = (0_u32..0o1000).prop_map(|mode| mode | 0o400);
    (path, target, content, mode)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_arrives_as_it_was(leaves in prop::collection::vec(leaf(), 0..12)) {
        let folder = Folder::new();
        for (names, target, content, mode) in leaves {
            let path: PathBuf = [folder.path(), Path::new("srcs")]
                .into_iter()
                .chain(names.iter().map(Path::new))
                .collect();
            // Some paths lead through a file, or are there already.
            if path.symlink_metadata().is_ok() || fs::create_dir_all(path.parent().unwrap()).is_err() {
                continue;
            }
            match target {
                Some(target) => symlink(target, &path).unwrap(),
                None if fs::write(&path, &content).is_ok() => {
                    fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
                }
                None => {}
            }
        }
        let sent = folder.tree();
        let hashes = inputs(&sent);
        let (_into, arrived) = arrived(&sent);
        prop_assert_eq!(inputs(&arrived), hashes);
        prop_assert_eq!(normal(arrived), normal(sent));
    }
}

#[test]
fn an_interruption_ends_the_reading() {
    let folder = Folder::new();
    let tree = folder.tree();
    let cancel = Cancel::default();
    cancel.raise();
    let error = tree.inputs(&SECRET, &cancel).unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Interrupted);
}
