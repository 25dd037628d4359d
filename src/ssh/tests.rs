//! Tests of [`Session`] against OpenSSH's server.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use sha2::{Digest as _, Sha256};

use super::connect::ConnectError;
use super::testing::Sshd;
use super::*;
use crate::cancel::Cancel;
use crate::event::Stream;
use crate::fault::{Cause, Fault};
use crate::process::testing::free_port;
use crate::wait::Wait;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);

fn job(command: &str) -> Exec<'static> {
    Exec::new(command).limit(LIMIT)
}

fn run(session: &mut Session, command: &str) -> (i32, Vec<String>) {
    let mut lines = Vec::new();
    let status = session
        .exec(&job(command), None, &mut |stream, line| {
            lines.push(format!("{stream:?} {line}"));
        })
        .unwrap();
    (status, lines)
}

fn cause(error: &anyhow::Error) -> Cause {
    Fault::of(error).unwrap_or_else(|| panic!("no fault: {error:#}")).cause
}

#[test]
fn exit_codes_and_both_streams_are_told() {
    let sshd = Sshd::start();
    let mut session = sshd.session();
    let table: [(&str, i32, &[&str]); 6] = [
        ("true", 0, &[]),
        ("exit 7", 7, &[]),
        ("echo out; printf 'no end'", 0, &["Stdout out", "Stdout no end"]),
        ("echo err >&2; exit 3", 3, &["Stderr err"]),
        ("kill -TERM $$", 143, &[]),
        ("test -t 0 || test -t 1 || echo no terminal", 0, &["Stdout no terminal"]),
    ];
    for (command, status, lines) in table {
        let lines = lines.iter().map(|&line| line.to_owned()).collect();
        assert_eq!(run(&mut session, command), (status, lines), "{command}");
    }
}

#[test]
fn the_input_is_at_its_end_if_there_is_none() {
    let sshd = Sshd::start();
    let (status, lines) = run(&mut sshd.session(), "cat; echo end");
    assert_eq!((status, lines), (0, vec!["Stdout end".to_owned()]));
}

#[test]
fn a_command_that_closes_its_streams_is_waited_for() {
    let sshd = Sshd::start();
    let (status, _) = run(&mut sshd.session(), "exec >&- 2>&-; sleep 1; exit 9");
    assert_eq!(status, 9);
}

#[test]
fn a_command_need_not_read_its_input() {
    let sshd = Sshd::start();
    let mut session = sshd.session();
    let mut endless = std::io::repeat(b'x');
    let status = session.exec(&job("head -c 5; exit 4"), Some(&mut endless), &mut |_, _| ());
    assert_eq!(status.unwrap(), 4);
    assert_eq!(run(&mut session, "exit 5").0, 5, "the session can be used on");
}

/// Gives its line once `seen` is set, and says until then that it would block.
struct Answer<'a> {
    seen: &'a AtomicBool,
    line: &'static [u8],
}

impl Read for Answer<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if !self.seen.load(Ordering::SeqCst) {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.line.read(into)
    }
}

#[test]
fn lines_are_told_while_the_command_runs() {
    let sshd = Sshd::start();
    let seen = AtomicBool::new(false);
    let mut input = Answer {
        seen: &seen,
        line: b"yes\n",
    };
    let mut lines = Vec::new();
    let command = "echo question >&2; read answer; echo \"got $answer\"";
    let status = sshd.session().exec(&job(command), Some(&mut input), &mut |_, line| {
        lines.push(line.to_owned());
        seen.store(true, Ordering::SeqCst);
    });
    assert_eq!(status.unwrap(), 0);
    assert_eq!(lines, ["question", "got yes"]);
}

#[test]
fn interleaved_streams_keep_their_own_order() {
    let sshd = Sshd::start();
    let command = "i=0; while [ $i -lt 2000 ]; do echo $i; echo $i >&2; i=$((i+1)); done";
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = sshd
        .session()
        .exec(&job(command), None, &mut |stream, line| match stream {
            Stream::Stdout => out.push(line.to_owned()),
            Stream::Stderr => err.push(line.to_owned()),
        });
    let expected: Vec<String> = (0..2000).map(|number| number.to_string()).collect();
    assert_eq!((status.unwrap(), out, err), (0, expected.clone(), expected));
}

#[test]
fn fifty_megabytes_go_in_and_come_back_on_both_streams() {
    const SIZE: usize = 50_000_000;
    let content: Vec<u8> = (0_u32..).flat_map(u32::to_le_bytes).take(SIZE).collect();
    let sshd = Sshd::start();
    let (mut out, mut err, mut count) = (Sha256::new(), Sha256::new(), 0);
    let status = sshd.session().exec_bytes(
        &job("tee /dev/stderr"),
        Some(&mut content.as_slice()),
        &mut |stream, bytes| {
            count += bytes.len();
            match stream {
                Stream::Stdout => out.update(bytes),
                Stream::Stderr => err.update(bytes),
            }
            Ok(())
        },
    );
    assert_eq!((status.unwrap(), count), (0, 2 * SIZE));
    let expected = Sha256::digest(&content);
    assert_eq!((out.finalize(), err.finalize()), (expected, expected));
}

#[test]
fn a_failing_input_is_the_error() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is on fire"))
        }
    }
    let sshd = Sshd::start();
    let mut session = sshd.session();
    let error = session
        .exec(&job("cat"), Some(&mut Broken), &mut |_, _| ())
        .unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("`cat`") && text.contains("the disk is on fire"), "{text}");
    assert_eq!(run(&mut session, "exit 5").0, 5, "the session can be used on");
}

#[test]
fn a_limit_ends_a_command_but_not_the_session() {
    let sshd = Sshd::start();
    let (mut session, start) = (sshd.session(), Instant::now());
    let mut lines = Vec::new();
    let job = Exec::new("echo begun; sleep 30").limit(Duration::from_secs(3));
    let result = session.exec(&job, None, &mut |_, line| lines.push(line.to_owned()));
    let error = result.unwrap_err();
    assert_eq!(cause(&error), Cause::Timeout);
    assert!(
        format!("{error}").contains("`echo begun; sleep 30` did not end within 3s"),
        "{error}"
    );
    assert_eq!(lines, ["begun"]);
    assert_eq!(run(&mut session, "exit 5").0, 5, "the session can be used on");
    assert!(start.elapsed() < SOON);
}

/// A signal is for a whole process, so this test has one of its own: this program again, running [`cancelled`] only.
#[test]
fn the_user_can_stop_a_command() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ssh::tests::cancelled", "--ignored"])
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

#[test]
#[ignore = "the other test runs it, in a process of its own"]
fn cancelled() {
    let cancel = Cancel::on_signals().unwrap();
    let sshd = Sshd::start();
    let (mut session, start) = (sshd.session(), Instant::now());
    let job = Exec::new("echo begun; sleep 30").cancel(&cancel);
    let error = session.exec(&job, None, &mut |_, _| {
        let this = rustix::process::getpid();
        rustix::process::kill_process(this, rustix::process::Signal::INT).unwrap();
    });
    assert_eq!(cause(&error.unwrap_err()), Cause::Interrupted);
    assert!(start.elapsed() < SOON);
}

/// As [`the_user_can_stop_a_command`], for a guest that accepts connections and says nothing.
#[test]
fn the_user_can_stop_a_login() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ssh::tests::cancelled_login", "--ignored"])
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

#[test]
#[ignore = "the other test runs it, in a process of its own"]
fn cancelled_login() {
    let cancel = Cancel::on_signals().unwrap();
    let silent = TcpListener::bind((HOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let target = Target {
        port,
        ..Sshd::start().target()
    };
    let start = Instant::now();
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(300));
        let this = rustix::process::getpid();
        rustix::process::kill_process(this, rustix::process::Signal::INT).unwrap();
    });
    let error = Session::connect(&target, Duration::from_secs(60), &cancel).unwrap_err();
    assert_eq!(cause(&error), Cause::Interrupted);
    assert!(start.elapsed() < SOON);
}

#[test]
fn a_command_ends_when_its_output_is_wanted_no_more() {
    let sshd = Sshd::start();
    let (mut session, start) = (sshd.session(), Instant::now());
    let error = session.exec_bytes(&job("yes"), None, &mut |_, _| bail!("no more"));
    assert_eq!(error.unwrap_err().to_string(), "no more");
    assert!(start.elapsed() < SOON);
    assert_eq!(run(&mut session, "exit 5").0, 5, "the session can be used on");
}

#[test]
fn a_command_ends_when_its_machine_cannot_go_on() {
    let sshd = Sshd::start();
    let full = || Err(Fault::new(Cause::Space, "full").into());
    let (mut session, start) = (sshd.session().watched_by(Box::new(full)), Instant::now());
    let error = session.exec(&job("sleep 50"), None, &mut |_, _| ()).unwrap_err();
    assert_eq!(cause(&error), Cause::Space);
    assert!(start.elapsed() < SOON);
}

#[test]
fn a_broken_connection_is_explained_by_the_machine() {
    let sshd = Sshd::start();
    let (mut looks, mut session) = (0, sshd.session());
    // The machine's end shows a moment after its connections'.
    session = session.watched_by(Box::new(move || {
        looks += 1;
        if looks < 5 {
            Ok(())
        } else {
            Err(Fault::new(Cause::Machine, "QEMU: no memory").into())
        }
    }));
    let error = session.exec(&job("kill -KILL $PPID; sleep 30"), None, &mut |_, _| ());
    assert_eq!(error.unwrap_err().to_string(), "QEMU: no memory");
}

#[test]
fn a_server_that_dies_is_noticed_at_once() {
    let sshd = Sshd::start();
    let (mut session, start) = (sshd.session(), Instant::now());
    let seen = AtomicBool::new(false);
    let mut input = Answer {
        seen: &seen,
        line: b"go\n",
    };
    let mut lines = Vec::new();
    // The shell's parent is the server's process for this session.
    let job = job("echo begun; read go; kill -KILL $PPID; sleep 30");
    let result = session.exec(&job, Some(&mut input), &mut |_, line| {
        lines.push(line.to_owned());
        seen.store(true, Ordering::SeqCst);
    });
    let error = result.unwrap_err();
    assert_eq!(cause(&error), Cause::Guest);
    assert!(format!("{error:#}").contains("connection broke"), "{error:#}");
    assert_eq!(lines, ["begun"]);
    assert!(start.elapsed() < SOON);
    let after = session.exec(&Exec::new("true"), None, &mut |_, _| ()).unwrap_err();
    assert_eq!(cause(&after), Cause::Guest);
}

#[test]
fn a_short_command_is_read() {
    let sshd = Sshd::start();
    let mut session = sshd.session();
    assert_eq!(session.read(&job("printf 'a\\r\\nb'")).unwrap(), "a\r\nb");
    let error = session
        .read(&job("echo lost; echo no such thing >&2; exit 2"))
        .unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("exit code 2: no such thing") && !text.ends_with("lost"),
        "{text}"
    );
}

#[test]
fn a_short_command_that_says_too_much_is_not_heard_out() {
    let sshd = Sshd::start();
    let error = sshd.session().read(&job("yes")).unwrap_err();
    assert!(format!("{error:#}").contains("said more than"), "{error:#}");
}

#[test]
fn another_host_key_is_never_accepted() {
    let (sshd, other) = (Sshd::start(), Sshd::start());
    drop(sshd.session());
    let target = Target {
        host_key: other.target().host_key,
        ..sshd.target()
    };
    let error = Session::try_connect(&target, LIMIT).unwrap_err();
    assert!(matches!(error, ConnectError::HostKey { .. }), "{error}");
    let start = Instant::now();
    let waited = Session::wait_for(&target, Wait::new("x", LIMIT), || Ok(()));
    assert_eq!(cause(&waited.unwrap_err()), Cause::Verification);
    assert!(start.elapsed() < SOON, "it is not tried again");
}

#[test]
fn another_user_key_is_refused() {
    let (sshd, other) = (Sshd::start(), Sshd::start());
    drop(sshd.session());
    let target = Target {
        private_key: other.target().private_key,
        ..sshd.target()
    };
    let error = Session::try_connect(&target, LIMIT).unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    let waited = Session::wait_for(&target, Wait::new("the guest", Duration::from_secs(1)), || Ok(()));
    let text = format!("{:#}", waited.unwrap_err());
    assert!(
        text.contains("the guest; at last") && text.contains("does not let"),
        "{text}"
    );
}

#[test]
fn a_port_that_is_closed_or_silent_is_not_there_yet() {
    let closed = free_port();
    // QEMU's forwarded ports accept connections before the guest does.
    let silent = TcpListener::bind((HOST, 0)).unwrap();
    let sshd = Sshd::start();
    for port in [closed, silent.local_addr().unwrap().port()] {
        let target = Target { port, ..sshd.target() };
        let start = Instant::now();
        let error = Session::try_connect(&target, Duration::from_millis(500)).unwrap_err();
        assert!(matches!(error, ConnectError::NotYet { .. }), "{error}");
        assert!(start.elapsed() < SOON);
    }
}

/// A port that hands each connection on to `sshd`, as `gate` says, and its target.
fn through(sshd: &Sshd, gate: impl Fn(usize) -> Gate + Send + 'static) -> Target {
    let listener = TcpListener::bind((HOST, 0)).unwrap();
    let target = Target {
        port: listener.local_addr().unwrap().port(),
        ..sshd.target()
    };
    let server = SocketAddr::from((HOST, sshd.target().port));
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for (number, from) in listener.incoming().enumerate() {
            let from = from.unwrap();
            match gate(number) {
                Gate::Shut => drop(from),
                Gate::Silent => silent.push(from),
                Gate::Open(after) => drop(std::thread::spawn(move || hand_on(&from, server, after))),
            }
        }
    });
    target
}

/// Copies both ways between a connection and `server` after a while, unless the test is over by then.
fn hand_on(from: &TcpStream, server: SocketAddr, after: Duration) {
    std::thread::sleep(after);
    let Ok(to) = TcpStream::connect(server) else { return };
    std::thread::scope(|scope| {
        scope.spawn(|| std::io::copy(&mut &*from, &mut &to));
        scope.spawn(|| std::io::copy(&mut &to, &mut &*from));
    });
}

/// What becomes of a connection.
enum Gate {
    /// It is reset.
    Shut,
    /// Nobody answers.
    Silent,
    /// The server is at its other end after a while.
    Open(Duration),
}

#[test]
fn a_server_that_is_late_is_found() {
    let sshd = Sshd::start();
    drop(sshd.session());
    let target = through(&sshd, |number| match number {
        0 | 1 => Gate::Shut,
        _ => Gate::Open(Duration::ZERO),
    });
    let mut session = Session::wait_for(&target, Wait::new("the guest", LIMIT), || Ok(())).unwrap();
    assert_eq!(run(&mut session, "exit 6").0, 6);
}

#[test]
fn who_knocked_before_the_guest_had_a_network_does_not_hold_up_who_comes_later() {
    let sshd = Sshd::start();
    drop(sshd.session());
    let target = through(&sshd, |number| match number {
        0..3 => Gate::Silent,
        _ => Gate::Open(Duration::ZERO),
    });
    let start = Instant::now();
    let mut session = Session::wait_for(&target, Wait::new("the guest", LIMIT), || Ok(())).unwrap();
    assert_eq!(run(&mut session, "exit 6").0, 6);
    // One after another they would take 5, 10 and 20 seconds.
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[test]
fn a_guest_that_takes_long_to_answer_each_is_heard_out() {
    let sshd = Sshd::start();
    drop(sshd.session());
    let target = through(&sshd, |_| Gate::Open(Duration::from_secs(4)));
    let mut session = Session::wait_for(&target, Wait::new("the guest", LIMIT), || Ok(())).unwrap();
    assert_eq!(run(&mut session, "exit 6").0, 6);
}

#[test]
fn a_machine_that_dies_ends_the_wait() {
    let sshd = Sshd::start();
    let target = Target {
        port: free_port(),
        ..sshd.target()
    };
    let (start, mut looks) = (Instant::now(), 0);
    let alive = || -> Result<()> {
        looks += 1;
        if looks > 2 {
            bail!("the machine died");
        }
        Ok(())
    };
    let error = Session::wait_for(&target, Wait::new("x", LIMIT), alive).unwrap_err();
    assert_eq!(format!("{error}"), "the machine died");
    assert!(start.elapsed() < SOON);
}

#[test]
fn a_wait_in_vain_tells_what_was_seen() {
    let sshd = Sshd::start();
    let target = Target {
        port: free_port(),
        ..sshd.target()
    };
    let wait = Wait::new("the guest", Duration::from_millis(200)).hint("look");
    let error = Session::wait_for(&target, wait, || Ok(())).unwrap_err();
    assert_eq!(cause(&error), Cause::Timeout);
    assert_eq!(Fault::of(&error).unwrap().hint.as_deref(), Some("look"));
    assert!(format!("{error}").contains("refused"), "{error}");
}

#[test]
fn the_openssh_client_gets_in_with_the_same_keys() {
    let sshd = Sshd::start();
    drop(sshd.session());
    let words = ["sh", "-c", "echo \"$1\"; exit 3", "sh", "two  words"].map(String::from);
    let line = command_line(&sshd.target(), &sshd.identity_dir(), &words, false).unwrap();
    let run = line.command().output().unwrap();
    let stderr = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!((run.status.code(), stderr.as_str()), (Some(3), ""), "{}", sshd.log());
    assert_eq!(run.stdout, b"two  words\n");
}

#[test]
fn the_openssh_client_gets_in_by_the_block_of_a_configuration() {
    let sshd = Sshd::start();
    drop(sshd.session());
    let target = sshd.target();
    let file = tempfile::NamedTempFile::new().unwrap();
    let block = config::block("eval", target.port, &target.user, &sshd.identity_dir());
    std::fs::write(file.path(), block).unwrap();
    let mut ssh = Command::new("ssh");
    let run = ssh
        .arg("-F")
        .arg(file.path())
        .args(["eval", "echo in"])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!((run.status.code(), stderr.as_str()), (Some(0), ""), "{}", sshd.log());
    assert_eq!(run.stdout, b"in\n");
}

#[test]
fn a_command_for_a_person_has_a_terminal() {
    let sshd = Sshd::start();
    drop(sshd.session());
    for (terminal, answer) in [(true, "a terminal"), (false, "none")] {
        let words = ["sh", "-c", "test -t 1 && echo a terminal || echo none"].map(String::from);
        let line = command_line(&sshd.target(), &sshd.identity_dir(), &words, terminal).unwrap();
        // script(1) gives the client a terminal of its own.
        let run = Command::new("script")
            .args(["--quiet", "--return", "--command", &line.to_string(), "/dev/null"])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&run.stdout);
        assert!(printed.contains(answer), "{printed} {}", sshd.log());
    }
}

#[test]
fn the_client_gets_pinned_keys_and_quoted_words() {
    let target = Target {
        port: 2222,
        user: "alice".into(),
        private_key: Secret::new("hidden".into()),
        host_key: "ssh-ed25519 AAAA".into(),
    };
    let common = [
        "-F",
        "none",
        "-oIdentityFile=\"/m y/100%%/id_ed25519\"",
        "-oIdentitiesOnly=yes",
        "-oIdentityAgent=none",
        "-oUserKnownHostsFile=\"/m y/100%%/known_hosts\"",
        "-oGlobalKnownHostsFile=none",
        "-oHostKeyAlias=provision-guest",
        "-oStrictHostKeyChecking=yes",
        "-oUpdateHostKeys=no",
        "-oLogLevel=ERROR",
        "-oBatchMode=yes",
        "-p",
        "2222",
        "-l",
        "alice",
        "--",
        "127.0.0.1",
    ];
    let table: [(&[&str], &[&str]); 2] = [(&[], &[]), (&["echo", "a  b", "$HOME"], &["echo 'a  b' '$HOME'"])];
    for (command, last) in table {
        let command: Vec<String> = command.iter().map(|&word| word.into()).collect();
        let line = command_line(&target, Path::new("/m y/100%"), &command, false).unwrap();
        let expected: Vec<OsString> = common.iter().chain(last).map(Into::into).collect();
        assert_eq!((line.name().as_str(), line.args), ("ssh", expected));
    }
}
