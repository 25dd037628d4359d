//! Servers that misbehave, and guests that ask for what is not theirs.

use super::world::{World, get, going_on, raw};
use crate::kept::need::Receipt;
use crate::kept::{Fetcher, Keeper};
use crate::media::testing::{Flaw, Server};

fn port_of(server: &Server) -> u16 {
    server.url("").rsplit_once(':').unwrap().1.parse().unwrap()
}

#[test]
fn what_broke_off_is_not_kept() {
    let (world, server) = (World::new(), Server::start());
    let port = port_of(&server);
    server.put("/debian/a.deb", vec![7; 500_000]);
    server.spoil("/debian/a.deb", [vec![Flaw::BreakAfter(300_000)]]);
    let keeper = world.online(port);
    let answer = get(&keeper, port, "/debian/a.deb");
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.len() < 400_000,
        "{}",
        answer.len()
    );
    assert_eq!(world.blobs(), 0);
    assert_eq!(world.store().size().unwrap().files, 0, "nothing lies about");
    let answer = get(&keeper, port, "/debian/a.deb");
    assert!(answer.len() > 500_000);
    assert_eq!(world.blobs(), 1);
}

#[test]
fn what_has_no_length_is_passed_on_but_not_kept() {
    let (world, server) = (World::new(), Server::start());
    let port = port_of(&server);
    server.put("/debian/a", vec![b'x'; 1000]);
    server.spoil("/debian/a", [vec![Flaw::NoLength]]);
    assert!(get(&world.online(port), port, "/debian/a").contains(&"x".repeat(1000)));
    assert_eq!(world.blobs(), 0, "its end cannot be told from a break");
}

#[test]
fn what_was_given_and_not_kept_is_missing_until_it_is_kept() {
    let (world, server) = (World::new(), Server::start());
    let port = port_of(&server);
    server.put("/debian/a", vec![b'x'; 1000]);
    server.put("/debian/b", "b");
    server.put("/debian/own", "own");
    server.spoil("/debian/a", [vec![Flaw::NoLength]]);
    let keeper = world.online(port);
    for path in ["/debian/a", "/debian/b", "/debian/none"] {
        get(&keeper, port, path);
    }
    let own = "Authorization: Basic eA==\r\nConnection: close";
    raw(
        &keeper,
        &format!("GET /debian/own HTTP/1.1\r\nHost: 10.0.2.2:{port}\r\n{own}\r\n\r\n"),
    );
    let receipt = Receipt {
        fetched: keeper.take_fetched(),
        unkept: keeper.take_unkept(),
    };
    let address = format!("http://10.0.2.2:{port}/debian/a");
    let lost = format!("http://10.0.2.2:{port}/debian/own");
    assert_eq!(receipt.missing(&world.store()), [address.as_str(), lost.as_str()]);
    assert_eq!(receipt.fetched.len(), 1);
    let read: Receipt = serde_json::from_value(serde_json::json!({ "fetched": receipt.fetched })).unwrap();
    assert!(
        read.missing(&world.store()).is_empty(),
        "receipts of earlier versions are read"
    );
    Fetcher::new(&keeper, &going_on()).unwrap().address(&address).unwrap();
    assert_eq!(receipt.missing(&world.store()), [lost], "the first was kept later");
}

#[test]
fn content_that_its_address_contradicts_never_comes_whole() {
    let (world, server) = (World::new(), Server::start());
    let port = port_of(&server);
    let path = format!("/debian/by-hash/SHA256/{}", "a".repeat(64));
    server.put(&path, vec![b'x'; 1000]);
    let answer = get(&world.online(port), port, &path);
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.ends_with('x'), "{answer}");
    assert_eq!(server.asked().len(), 1);
    assert_eq!(world.blobs(), 0);
}

#[test]
fn trouble_of_the_server_is_bridged_by_what_is_kept() {
    let (world, server) = (World::new(), Server::start());
    let port = port_of(&server);
    server.put("/debian/InRelease", "first");
    let keeper = world.online(port);
    get(&keeper, port, "/debian/InRelease");
    server.spoil("/debian/InRelease", [vec![Flaw::Status(503)]]);
    assert!(get(&keeper, port, "/debian/InRelease").ends_with("first"));
    server.put("/debian/InRelease", "second");
    assert!(get(&keeper, port, "/debian/InRelease").ends_with("second"));
    server.remove("/debian/InRelease");
    let answer = get(&keeper, port, "/debian/InRelease");
    assert!(answer.starts_with("HTTP/1.1 404"), "what is gone is gone: {answer}");
}

#[test]
fn services_of_the_host_are_out_of_reach() {
    let (world, server) = (World::new(), Server::start());
    let port = port_of(&server);
    server.put("/secret", "hidden");
    let keeper = world.online(1);
    for host in [
        format!("127.0.0.1:{port}"),
        format!("10.0.2.2:{port}"),
        format!("localhost:{port}"),
        format!("2130706433:{port}"),
        format!("0x7f.1:{port}"),
        format!("[::1]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("0.0.0.0:{port}"),
        format!("user@127.0.0.1:{port}"),
    ] {
        for line in [
            "GET /secret".to_owned(),
            format!("GET http://{host}/secret"),
            "POST /secret".to_owned(),
        ] {
            let answer = raw(
                &keeper,
                &format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
            );
            let status = answer.split(' ').nth(1).unwrap_or_default();
            assert!(matches!(status, "400" | "403" | "502"), "{line} at {host}: {answer}");
        }
    }
    assert!(server.asked().is_empty());
}

#[test]
fn requests_that_are_two_are_refused() {
    let (world, server) = (World::new(), Server::start());
    let port = port_of(&server);
    server.put("/debian/a", "content");
    let keeper = world.online(port);
    for head in [
        format!("GET /debian/a HTTP/1.1\r\nHost: 10.0.2.2:{port}\r\nHost: example.org\r\n"),
        "GET /debian/a HTTP/1.1\r\n".to_owned(),
        format!("GET ftp://10.0.2.2:{port}/debian/a HTTP/1.1\r\nHost: x\r\n"),
        "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n".to_owned(),
    ] {
        let answer = raw(&keeper, &format!("{head}Connection: close\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 4"), "{head}: {answer}");
    }
    // Only one of the two lengths may count; what follows is no request of its own.
    let smuggled = format!(
        "POST /debian/a HTTP/1.1\r\nHost: 10.0.2.2:{port}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\nGET /debian/smuggled HTTP/1.1\r\nHost: 10.0.2.2:{port}\r\nConnection: close\r\n\r\n"
    );
    raw(&keeper, &smuggled);
    let asked = server.asked();
    let [asked] = asked.as_slice() else {
        panic!("one request comes through: {asked:?}");
    };
    assert_eq!(asked.target, "/debian/a");
    let has = |name| asked.headers.contains_key(name);
    assert!(has("transfer-encoding") && !has("content-length"), "{asked:?}");
}

#[test]
fn one_users_own_answers_are_not_kept() {
    let (world, server) = (World::new(), Server::start());
    let port = port_of(&server);
    server.put("/debian/own", "own");
    let keeper = world.online(port);
    let head = format!("GET /debian/own HTTP/1.1\r\nHost: 10.0.2.2:{port}\r\nConnection: close\r\n");
    for field in ["Authorization: Basic eA==", "Cookie: a=b"] {
        let answer = raw(&keeper, &format!("{head}{field}\r\n\r\n"));
        assert!(answer.ends_with("own"), "{answer}");
    }
    assert_eq!(world.blobs(), 0);
}

#[test]
fn the_proxys_password_is_asked_for() {
    let (world, server) = (World::new(), Server::start());
    server.put("http://mirror.test/debian/a", "through the proxy");
    let proxy = server
        .url("/")
        .replace("http://127.0.0.1", "http://user:p%40ss@10.0.2.2");
    let keeper = world.through_proxy(&proxy);
    assert_eq!(keeper.route().ports, [port_of(&server)]);
    let head = "GET http://mirror.test/debian/a HTTP/1.1\r\nHost: mirror.test\r\nConnection: close\r\n";
    let answer = raw(&keeper, &format!("{head}\r\n"));
    assert!(answer.starts_with("HTTP/1.1 407"), "{answer}");
    let answer = raw(
        &keeper,
        &format!("{head}Proxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n"),
    );
    assert!(answer.ends_with("through the proxy"), "{answer}");
    assert_eq!(server.asked()[0].headers["proxy-authorization"], "Basic dXNlcjpwQHNz");
}

#[test]
fn the_proxys_refusal_is_the_answer() {
    use std::io::{Read as _, Write as _};
    let world = World::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let keeper = world.through_proxy(&format!("http://10.0.2.2:{port}"));
    let ask = "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\nConnection: close\r\n\r\n";
    let proxy = std::thread::spawn(move || {
        for answer in ["HTTP/1.1 403 Forbidden\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nthrough"] {
            let (mut asked, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                asked.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            asked.write_all(answer.as_bytes()).unwrap();
        }
    });
    let answer = raw(&keeper, ask);
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let answer = raw(&keeper, ask);
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("through"),
        "{answer}"
    );
    proxy.join().unwrap();
    let answer = raw(&keeper, ask);
    assert!(answer.starts_with("HTTP/1.1 502"), "nobody listens any more: {answer}");
}

#[test]
fn many_ask_at_once() {
    let (world, server) = (World::new(), Server::start());
    let port = port_of(&server);
    for number in 0..10 {
        server.put(&format!("/debian/{number}.deb"), vec![b'a' + number; 50_000]);
    }
    let keeper = world.online(port);
    let ask = |keeper: &Keeper| {
        std::thread::scope(|scope| {
            for number in (0..10u8).cycle().take(60) {
                scope.spawn(move || {
                    let answer = get(keeper, port, &format!("/debian/{number}.deb"));
                    assert!(answer.ends_with(char::from(b'a' + number)) && answer.len() > 50_000);
                });
            }
        });
    };
    ask(&keeper);
    assert_eq!(world.blobs(), 10);
    drop((keeper, server));
    ask(&world.offline());
}
