//! A web server on 127.0.0.1 with ranges, tags, and every flaw that a mirror can have.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What is wrong with one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// This status and nothing else.
    Status(u16),
    /// The connection ends after so many bytes of the body.
    BreakAfter(usize),
    /// Nothing more comes after so many bytes of the body, until the client hangs up.
    StallAfter(usize),
    /// Ranges are ignored.
    NoRanges,
    /// Neither `ETag` nor `Last-Modified` is sent.
    NoValidator,
    /// `Content-Length` says this.
    Length(u64),
    /// There is no `Content-Length`; the connection's end is the file's.
    NoLength,
    /// The tag is weak and there is a `Last-Modified`.
    WeakTag,
    /// One byte of the body is another.
    Flip(usize),
    /// Another file is sent where the rest of one is asked for, without a look at `If-Range`.
    WrongRest,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The path, or the whole address if a proxy is asked.
    pub target: String,
    /// The header fields, names in lower case.
    pub headers: BTreeMap<String, String>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, (Vec<u8>, u32)>,
    flaws: BTreeMap<String, VecDeque<Vec<Flaw>>>,
    asked: Vec<Asked>,
}

/// The server; it ends when it is dropped.
pub struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
}

impl Server {
    /// A server without files on a free port.
    pub fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (state, over) = (Arc::new(Mutex::new(State::default())), Arc::new(AtomicBool::new(false)));
        let (shared, ended) = (Arc::clone(&state), Arc::clone(&over));
        std::thread::spawn(move || {
            for connection in socket.incoming() {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                let (connection, shared) = (connection.unwrap(), Arc::clone(&shared));
                // A client that hangs up in the middle is part of the tests.
                std::thread::spawn(move || drop(serve(&connection, &shared)));
            }
        });
        Self { address, state, over }
    }

    /// The address of `path`, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Puts a file there, or a new one in its place.
    pub fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        let mut state = self.state.lock().unwrap();
        let edition = state.files.get(path).map_or(0, |(_, edition)| edition + 1);
        state.files.insert(path.to_owned(), (content.into(), edition));
    }

    /// Takes a file away.
    pub fn remove(&self, path: &str) {
        self.state.lock().unwrap().files.remove(path);
    }

    /// The next answers for `path` have these flaws, one list for each; what comes after is sound.
    pub fn spoil(&self, path: &str, answers: impl IntoIterator<Item = Vec<Flaw>>) {
        let mut state = self.state.lock().unwrap();
        state.flaws.entry(path.to_owned()).or_default().extend(answers);
    }

    /// What was asked for since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// How often `path` was asked for since the last [`Server::asked`].
    pub fn count(&self, path: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|asked| asked.target == path).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(self.address));
    }
}

/// Reads the head of a request.
pub fn read_request(from: &mut impl std::io::BufRead) -> std::io::Result<Asked> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            return Ok(Asked { target, headers });
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
}

fn serve(connection: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection);
    let asked = read_request(&mut reader)?;
    let (file, flaws) = {
        let mut state = state.lock().unwrap();
        state.asked.push(asked.clone());
        let flaws = state.flaws.get_mut(&asked.target).and_then(VecDeque::pop_front);
        (state.files.get(&asked.target).cloned(), flaws.unwrap_or_default())
    };
    let reply = match file {
        Some((body, edition)) => Reply::sound(body, edition, &asked, &flaws),
        None => Reply::refusal(404),
    };
    let reply = flaws.iter().fold(reply, Reply::spoilt);
    let mut to = connection;
    write!(
        to,
        "HTTP/1.1 {} So\r\nConnection: close\r\n{}",
        reply.status,
        reply.head.concat()
    )?;
    if let Some(length) = reply.length {
        write!(to, "Content-Length: {length}\r\n")?;
    }
    write!(to, "\r\n")?;
    to.write_all(&reply.body)?;
    if reply.stalls {
        // Ends when the client hangs up.
        reader.read_to_end(&mut Vec::new())?;
    }
    to.shutdown(Shutdown::Write)
}

/// An answer in the making.
struct Reply {
    status: u16,
    head: Vec<String>,
    body: Vec<u8>,
    length: Option<u64>,
    stalls: bool,
}

impl Reply {
    fn new(status: u16, head: Vec<String>, body: Vec<u8>) -> Self {
        let length = Some(body.len() as u64);
        Self {
            status,
            head,
            body,
            length,
            stalls: false,
        }
    }

    fn refusal(status: u16) -> Self {
        Self::new(status, Vec::new(), b"no\n".to_vec())
    }

    /// What a sound server sends, apart from the flaws that concern ranges.
    fn sound(mut body: Vec<u8>, edition: u32, asked: &Asked, flaws: &[Flaw]) -> Self {
        let mut head = validators(edition, flaws);
        let total = body.len();
        match start_of_range(asked, edition, flaws) {
            Some(start) if start >= total => Self::new(416, head, Vec::new()),
            Some(start) => {
                head.push(format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1));
                body.drain(..start);
                Self::new(206, head, body)
            }
            None => Self::new(200, head, body),
        }
    }

    fn spoilt(mut self, flaw: &Flaw) -> Self {
        match *flaw {
            Flaw::Status(status) => return Self::refusal(status),
            Flaw::BreakAfter(count) => self.body.truncate(count),
            Flaw::StallAfter(count) => {
                self.body.truncate(count);
                self.stalls = true;
            }
            Flaw::Length(claimed) => self.length = Some(claimed),
            Flaw::NoLength => self.length = None,
            Flaw::Flip(place) => self.body[place] ^= 0xFF,
            Flaw::NoRanges | Flaw::NoValidator | Flaw::WeakTag | Flaw::WrongRest => {}
        }
        self
    }
}

fn tag_of(edition: u32) -> String {
    format!("\"edition-{edition}\"")
}

fn date_of(edition: u32) -> String {
    format!("Fri, 21 Nov 2025 00:00:{edition:02} GMT")
}

/// What tells this edition of a file from another.
fn validators(edition: u32, flaws: &[Flaw]) -> Vec<String> {
    let tag = tag_of(edition);
    if flaws.contains(&Flaw::WeakTag) {
        let date = date_of(edition);
        return vec![format!("ETag: W/{tag}\r\n"), format!("Last-Modified: {date}\r\n")];
    }
    if flaws.contains(&Flaw::NoValidator) {
        return Vec::new();
    }
    vec![format!("ETag: {tag}\r\n")]
}

/// From where on the file is to be sent, if a part is asked for and this is the edition that it is asked for of.
fn start_of_range(asked: &Asked, edition: u32, flaws: &[Flaw]) -> Option<usize> {
    let range = asked.headers.get("range")?;
    let condition = asked.headers.get("if-range");
    let is_same = condition.is_none_or(|given| *given == tag_of(edition) || *given == date_of(edition));
    if flaws.contains(&Flaw::NoRanges) || (!is_same && !flaws.contains(&Flaw::WrongRest)) {
        return None;
    }
    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}
