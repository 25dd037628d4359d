//! Bytes of two streams as lines of text.

use std::borrow::Cow;

use crate::event::Stream;

/// A line's greatest length in bytes; what is longer is cut, since a program that prints no line ends must not fill
/// the memory.
const LONGEST: usize = 16 * 1024;

/// Cuts one stream into lines.
#[derive(Debug, Default)]
struct Splitter {
    line: Vec<u8>,
    cut: bool,
}

impl Splitter {
    fn take(&mut self, mut bytes: &[u8], on_line: &mut dyn FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.append(&bytes[..end]);
            self.flush(on_line);
            bytes = &bytes[end + 1..];
        }
        self.append(bytes);
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = LONGEST - self.line.len();
        self.cut |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn flush(&mut self, on_line: &mut dyn FnMut(&str)) {
        let line = as_shown(&self.line);
        let mut text = String::from_utf8_lossy(line);
        if self.cut {
            text = Cow::Owned(format!("{text} […]"));
        }
        on_line(&text);
        self.line.clear();
        self.cut = false;
    }

    fn end(&mut self, on_line: &mut dyn FnMut(&str)) {
        if !self.line.is_empty() {
            self.flush(on_line);
        }
    }
}

/// What a terminal shows of a line: what follows the last carriage return, with which progress bars start over.
fn as_shown(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|&byte| byte != b'\r').map_or(0, |last| last + 1);
    let line = &line[..end];
    let start = line.iter().rposition(|&byte| byte == b'\r').map_or(0, |last| last + 1);
    &line[start..]
}

/// Cuts a command's two streams into lines, each by itself.
#[derive(Debug, Default)]
pub struct Lines {
    stdout: Splitter,
    stderr: Splitter,
}

impl Lines {
    /// Takes bytes as they come; tells every line that they end.
    pub fn take(&mut self, stream: Stream, bytes: &[u8], on_line: &mut dyn FnMut(Stream, &str)) {
        let splitter = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        splitter.take(bytes, &mut |line| on_line(stream, line));
    }

    /// Tells the last lines that have no end.
    pub fn end(mut self, on_line: &mut dyn FnMut(Stream, &str)) {
        self.stdout.end(&mut |line| on_line(Stream::Stdout, line));
        self.stderr.end(&mut |line| on_line(Stream::Stderr, line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let (mut all, mut lines) = (Vec::new(), Lines::default());
        for chunk in chunks {
            lines.take(Stream::Stdout, chunk, &mut |_, line| all.push(line.to_owned()));
        }
        lines.end(&mut |_, line| all.push(line.to_owned()));
        all
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        let table: [(&[&[u8]], &[&str]); 6] = [
            (&[b"a\nb\n"], &["a", "b"]),
            (&[b"a", b"b", b"\nc"], &["ab", "c"]),
            (&[b"\n\n"], &["", ""]),
            (&[b"dos\r\n"], &["dos"]),
            (&[b"10%\r 50%\r", b"100%\r\nnext"], &["100%", "next"]),
            (&[b"caf\xc3", b"\xa9 \xff\n"], &["café \u{fffd}"]),
        ];
        for (chunks, expected) in table {
            assert_eq!(lines(chunks), expected, "{chunks:?}");
        }
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let long = vec![b'x'; LONGEST * 3];
        let all = lines(&[&long, &long, b"\nshort\n"]);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].trim_end_matches(" […]").len(), LONGEST);
        assert!(all[0].ends_with("x […]"));
        assert_eq!(all[1], "short");
    }

    #[test]
    fn streams_do_not_mix() {
        let (mut all, mut lines) = (Vec::new(), Lines::default());
        let mut on_line = |stream, line: &str| all.push((stream, line.to_owned()));
        lines.take(Stream::Stdout, b"out", &mut on_line);
        lines.take(Stream::Stderr, b"err\n", &mut on_line);
        lines.take(Stream::Stdout, b"put\n", &mut on_line);
        lines.end(&mut on_line);
        let expected = [
            (Stream::Stderr, "err".to_owned()),
            (Stream::Stdout, "output".to_owned()),
        ];
        assert_eq!(all, expected);
    }
}
