//! When kept package lists are valid: apt refuses those of Debian's updates a week after their date, and all before it,
//! whoever serves them.

use std::io::Read as _;

use jiff::Timestamp;

use super::need::Receipt;
use super::store::Store;

/// The span in which a list is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: Timestamp,
    /// None for lists that stay valid.
    until: Option<Timestamp>,
}

/// How much of a list is read for its dates, in bytes: they come before the digests.
const HEAD: u64 = 16 << 10;

/// The time at which a guest must work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// All lists are valid now.
    Now,
    /// They all were at this time.
    At(Timestamp),
    /// They never are at the same time.
    Never,
}

/// When the lists that `receipt` names are valid. Where `expires` is not set, apt is told not to mind their end.
pub fn clock(store: &Store, receipt: &Receipt, expires: bool, now: Timestamp) -> Clock {
    let lists = receipt
        .fetched
        .iter()
        .filter(|(key, _)| key.ends_with("/InRelease") || key.ends_with("/Release"));
    let spans: Vec<_> = lists
        .filter_map(|(_, digest)| {
            let (file, _) = store.blob(digest).ok()??;
            let mut head = Vec::new();
            file.take(HEAD).read_to_end(&mut head).ok()?;
            span(&String::from_utf8_lossy(&head))
        })
        .collect();
    let from = spans.iter().map(|span| span.from).max();
    let until = spans.iter().filter_map(|span| span.until).min();
    match (from, until.filter(|until| expires && now > *until)) {
        (Some(from), Some(until)) if from < until => Clock::At(middle(from, until)),
        (Some(_), Some(_)) => Clock::Never,
        _ => Clock::Now,
    }
}

/// Not at the edge: the work takes its time.
fn middle(from: Timestamp, until: Timestamp) -> Timestamp {
    let seconds = from.as_second() + (until.as_second() - from.as_second()) / 2;
    Timestamp::from_second(seconds).unwrap_or(from)
}

/// The dates of a Release file (Debian's repository format); nothing if it has none.
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
        until: date("Valid-Until:"),
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
        let (soon, late) = (at("2026-11-24T00:00:00Z"), at("2027-03-01T00:00:00Z"));
        assert_eq!(clock(&store, &receipt, true, soon), Clock::Now, "all are valid");
        let set = clock(&store, &receipt, true, late);
        assert!(
            matches!(set, Clock::At(set) if set > at("2026-11-22T20:00:00Z") && set < at("2026-11-28T08:00:00Z")),
            "{set:?}"
        );
        assert_eq!(clock(&store, &receipt, false, late), Clock::Now, "nobody minds");
        let never = kept(&store, &[(first, second), (week, later)]);
        assert_eq!(clock(&store, &never, true, late), Clock::Never);
        let lasting = kept(&store, &[(first, week), ("Fri, 27 Nov 2026 08:00:00 UTC", "")]);
        let set = clock(&store, &lasting, true, late);
        assert!(
            matches!(set, Clock::At(set) if set > at("2026-11-27T08:00:00Z")),
            "one that stays valid has a beginning, too: {set:?}"
        );
        let lasting = kept(&store, &[(first, week), (later, "")]);
        assert_eq!(clock(&store, &lasting, true, late), Clock::Never);
        assert_eq!(clock(&store, &kept(&store, &[]), true, late), Clock::Now);
    }
}
