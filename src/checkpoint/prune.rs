//! Which of the things that are kept may go, by the user's rules. Nothing is touched here.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// Something that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is: of each kind some can be kept.
    pub kind: String,
    /// How much of the host's disk it takes, in bytes.
    pub bytes: u64,
    /// When it was made.
    pub made: Timestamp,
    /// The places, in the same list, of what it lies on: that stays while this does.
    pub on: Vec<usize>,
    /// Whether a machine needs it.
    pub needed: bool,
}

/// What stays though nothing needs it. What goes must go by every one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// Of each kind as many of the newest stay, needed ones counted.
    pub keep_last: Option<usize>,
    /// What is younger stays.
    pub older_than: Option<Duration>,
    /// No more goes once the whole takes at most so many bytes.
    pub max_size: Option<u64>,
}

/// The places of those of `items` that go, in an order in which what lies on another goes before it, the oldest first.
pub fn select(items: &[Item], rules: Rules, now: Timestamp) -> Vec<usize> {
    let last = rules.keep_last.map(|count| newest(items, count));
    let stays = |place: usize| {
        let item = &items[place];
        let is_last = last.as_ref().is_some_and(|last| last.contains(&place));
        let is_young = rules.older_than.is_some_and(|age| age_of(item, now) < age);
        item.needed || is_last || is_young
    };
    let mut left: Vec<usize> = (0..items.len()).collect();
    let mut bytes: u64 = items.iter().map(|item| item.bytes).sum();
    let mut gone = Vec::new();
    while bytes > rules.max_size.unwrap_or(0) || rules.max_size.is_none() {
        let bears = |place: usize| left.iter().any(|&other| items[other].on.contains(&place));
        let free = left.iter().copied().filter(|&place| !stays(place) && !bears(place));
        let Some(oldest) = free.min_by_key(|&place| items[place].made) else {
            break;
        };
        left.retain(|&place| place != oldest);
        bytes -= items[oldest].bytes;
        gone.push(oldest);
    }
    gone
}

/// What is from the future by a clock that was set back is young.
fn age_of(item: &Item, now: Timestamp) -> Duration {
    now.duration_since(item.made).try_into().unwrap_or(Duration::ZERO)
}

/// The places of the newest `count` of each kind.
fn newest(items: &[Item], count: usize) -> Vec<usize> {
    let mut kinds: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, item) in items.iter().enumerate() {
        kinds.entry(&item.kind).or_default().push(place);
    }
    let of_kind = |mut places: Vec<usize>| {
        places.sort_by_key(|&place| std::cmp::Reverse(items[place].made));
        places.truncate(count);
        places
    };
    kinds.into_values().flat_map(of_kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn now() -> Timestamp {
        "2026-03-01T00:00:00Z".parse().unwrap()
    }

    fn item(kind: &str, bytes: u64, days: u32, on: &[usize]) -> Item {
        Item {
            kind: kind.to_owned(),
            bytes,
            made: now() - DAY * days,
            on: on.to_vec(),
            needed: false,
        }
    }

    /// An ISO, two chains on it of which the older is needed, an old ISO, and a download.
    fn items() -> Vec<Item> {
        let mut items = vec![
            item("ISO", 300, 90, &[]),
            item("install", 1000, 60, &[0]),
            item("docker", 500, 50, &[1]),
            item("project", 100, 40, &[2]),
            item("docker", 600, 10, &[1]),
            item("project", 200, 5, &[4]),
            item("ISO", 310, 200, &[]),
            item("download", 50, 1, &[]),
        ];
        items[3].needed = true;
        items
    }

    #[test]
    fn what_goes_by_each_rule() {
        let (last, older, size) = (
            |count| Rules {
                keep_last: Some(count),
                ..Rules::default()
            },
            |days| Rules {
                older_than: Some(DAY * days),
                ..Rules::default()
            },
            |bytes| Rules {
                max_size: Some(bytes),
                ..Rules::default()
            },
        );
        let table = [
            (Rules::default(), vec![6, 5, 4, 7]),
            // The newest of each kind, and what they lie on.
            (last(1), vec![6]),
            (last(0), vec![6, 5, 4, 7]),
            (last(2), vec![]),
            (older(7), vec![6]),
            (older(5), vec![6, 5, 4]),
            (older(1), vec![6, 5, 4, 7]),
            (older(300), vec![]),
            // 3060 bytes in all.
            (size(3060), vec![]),
            (size(3059), vec![6]),
            (size(2700), vec![6, 5]),
            (size(2000), vec![6, 5, 4]),
            // Not to be had: what is needed stays.
            (size(1), vec![6, 5, 4, 7]),
            (
                Rules {
                    older_than: Some(DAY * 7),
                    max_size: Some(2000),
                    ..Rules::default()
                },
                vec![6],
            ),
            (
                Rules {
                    keep_last: Some(1),
                    older_than: Some(DAY * 7),
                    max_size: Some(3060),
                },
                vec![],
            ),
        ];
        for (rules, goes) in table {
            assert_eq!(select(&items(), rules, now()), goes, "{rules:?}");
        }
    }

    #[test]
    fn what_something_lies_on_never_goes_before_it() {
        let mut items = items();
        // A child that is older than its parent: the clock was set back.
        items[5].made = now() - DAY * 300;
        items[3].needed = false;
        let gone = select(&items, Rules::default(), now());
        assert_eq!(gone.len(), items.len());
        for (turn, &place) in gone.iter().enumerate() {
            assert!(items[place].on.iter().all(|on| !gone[..turn].contains(on)), "{gone:?}");
        }
    }

    #[test]
    fn what_is_from_the_future_is_young() {
        let mut items = vec![item("ISO", 1, 0, &[])];
        items[0].made = now() + DAY;
        let rules = Rules {
            older_than: Some(Duration::from_secs(1)),
            ..Rules::default()
        };
        assert_eq!(select(&items, rules, now()), Vec::<usize>::new());
    }
}
