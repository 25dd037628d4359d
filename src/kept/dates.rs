//! When kept package lists are valid: apt refuses those of Debian's updates a week after their date, whoever serves them.

use std::io::Read as _;

use jiff::Timestamp;

use super::need::Receipt;
use super::store::Store;

/// The span in which a list is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: Timestamp,
    until: Timestamp,
}

/// How much of a list is read for its dates, in bytes: they come before the digests.
const HEAD: u64 = 16 << 10;

/// A time at which the lists that `receipts` name are all valid; nothing if they are now, or never are at the same time.
pub fn clock(store: &Store, receipts: &[Receipt], now: Timestamp) -> Option<Timestamp> {
    let keys = receipts.iter().flat_map(|receipt| &receipt.fetched);
    let lists = keys.filter(|(key, _)| key.ends_with("/InRelease") || key.ends_with("/Release"));
    let spans: Vec<_> = lists
        .filter_map(|(_, digest)| {
            let (file, _) = store.blob(digest).ok()??;
            let mut head = Vec::new();
            file.take(HEAD).read_to_end(&mut head).ok()?;
            span(&String::from_utf8_lossy(&head))
        })
        .collect();
    let from = spans.iter().map(|span| span.from).max()?;
    let until = spans.iter().map(|span| span.until).min()?;
    (now > until && from < until).then(|| middle(from, until))
}

/// Not at the edge: the work takes its time.
fn middle(from: Timestamp, until: Timestamp) -> Timestamp {
    let seconds = from.as_second() + (until.as_second() - from.as_second()) / 2;
    Timestamp::from_second(seconds).unwrap_or(from)
}

/// The dates of a Release file (Debian's repository format); nothing for one that is valid for ever.
fn span(release: &str) -> Option<Span> {
    let date = |field: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(field))?;
        let line = line.trim();
        let line = line
            .strip_suffix("UTC")
            .map_or_else(|| line.to_owned(), |time| format!("{time}+0000"));
        Some(jiff::fmt::rfc2822::parse(&line).ok()?.timestamp())
    };
    Some(Span {
        from: date("Date:")?,
        until: date("Valid-Until:")?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::kept::store::Fetched;

    fn kept(store: &Store, lists: &[(&str, &str)]) -> Receipt {
        let mut fetched = Fetched::new();
        for (number, (date, until)) in lists.iter().enumerate() {
            let until = if until.is_empty() {
                String::new()
            } else {
                format!("Valid-Until: {until}\n")
            };
            let text = format!("-----BEGIN PGP SIGNED MESSAGE-----\n\nOrigin: Debian\nDate: {date}\n{until}SHA256:\n");
            let mut incoming = store.incoming().unwrap();
            incoming.write(text.as_bytes()).unwrap();
            fetched.insert(
                format!("http://a.test/{number}/InRelease"),
                incoming.finish().unwrap().0,
            );
        }
        Receipt {
            fetched,
            unkept: BTreeSet::new(),
        }
    }

    #[test]
    fn the_clock_is_set_back_only_for_lists_that_are_no_longer_valid() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let (first, second) = ("Sat, 21 Nov 2026 08:00:00 UTC", "Sun, 22 Nov 2026 20:00:00 UTC");
        let (week, later) = ("Sat, 28 Nov 2026 08:00:00 UTC", "Sun, 29 Nov 2026 20:00:00 UTC");
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let receipt = kept(
            &store,
            &[(first, week), (second, later), ("Sat, 06 Sep 2025 10:00:00 UTC", "")],
        );
        let receipts = [receipt];
        assert_eq!(
            clock(&store, &receipts, at("2026-11-24T00:00:00Z")),
            None,
            "all are valid"
        );
        let set = clock(&store, &receipts, at("2027-03-01T00:00:00Z")).unwrap();
        assert!(
            set > at("2026-11-22T20:00:00Z") && set < at("2026-11-28T08:00:00Z"),
            "{set}"
        );
        let never = [kept(&store, &[(first, second), (week, later)])];
        assert_eq!(clock(&store, &never, at("2027-03-01T00:00:00Z")), None);
        assert_eq!(clock(&store, &[], at("2027-03-01T00:00:00Z")), None);
    }
}
