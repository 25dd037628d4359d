//! What a Dockerfile tells of what its build fetches (Dockerfile reference).

use super::digest::Digest;
use super::need::Image;

/// The images that a Dockerfile names and does not make itself: of its FROM lines, COPY --from, and its syntax. Names
/// that hold variables without a value here are left out (Dockerfile reference).
pub fn images(dockerfile: &str) -> Vec<Image> {
    let (mut arguments, mut stages, mut found) = (Vec::new(), Vec::new(), Vec::new());
    let syntax = dockerfile.lines().next().and_then(|line| line.strip_prefix('#'));
    if let Some(("syntax", image)) = syntax
        .and_then(|line| line.trim().split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
    {
        found.push(image.to_owned());
    }
    for line in instructions(dockerfile) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((instruction, rest)) = words.split_first() else {
            continue;
        };
        match instruction.to_ascii_uppercase().as_str() {
            "ARG" if stages.is_empty() => {
                arguments.extend(
                    rest.iter()
                        .filter_map(|word| word.split_once('='))
                        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())),
                );
            }
            "FROM" => {
                let mut names = rest.iter().filter(|word| !word.starts_with("--"));
                let image = names.next().and_then(|image| filled(image, &arguments));
                found.extend(image.filter(|image| image != "scratch" && !stages.contains(image)));
                let name = names
                    .nth(1)
                    .map_or_else(|| stages.len().to_string(), |name| (*name).to_owned());
                stages.push(name);
            }
            "COPY" => {
                let from = rest.iter().find_map(|word| word.strip_prefix("--from="));
                let is_stage = |name: &str| name.parse::<usize>().is_ok() || stages.iter().any(|stage| stage == name);
                found.extend(
                    from.filter(|name| !is_stage(name) && !name.contains('$'))
                        .map(ToOwned::to_owned),
                );
            }
            _ => {}
        }
    }
    let mut images: Vec<_> = found.iter().map(|written| Image::parse(written)).collect();
    images.sort();
    images.dedup();
    images
}

/// Instructions of a Dockerfile, a line each, without comments.
pub fn instructions(dockerfile: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for line in dockerfile.lines() {
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        let Some(last) = lines.last_mut() else { continue };
        if let Some(begun) = line.strip_suffix('\\') {
            last.push_str(begun);
            last.push(' ');
        } else {
            last.push_str(line);
            lines.push(String::new());
        }
    }
    lines.retain(|line| !line.trim().is_empty());
    lines
}

/// `text` with the values of its variables; nothing if one has none.
fn filled(text: &str, arguments: &[(String, String)]) -> Option<String> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        filled += before;
        let (name, default, after) = if let Some(braced) = after.strip_prefix('{') {
            let (inner, after) = braced.split_once('}')?;
            let default = inner.split_once(":-");
            let (name, default) = default.map_or((inner, None), |(name, value)| (name, Some(value)));
            (name, default, after)
        } else {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let (name, after) = after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len()));
            (name, None, after)
        };
        let value = arguments.iter().rev().find(|(known, _)| known == name);
        filled += value
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
            .or(default)?;
        rest = after;
    }
    Some(filled + rest)
}

/// What tells which downloads builds make: the instructions that run or fetch something.
pub fn fingerprint<'a>(dockerfiles: impl IntoIterator<Item = &'a str>) -> String {
    let mut texts: Vec<String> = dockerfiles
        .into_iter()
        .map(|text| {
            let counts = |line: &String| {
                let word = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
                matches!(word.as_str(), "FROM" | "ARG" | "ENV" | "RUN" | "ADD" | "SHELL")
            };
            instructions(text)
                .into_iter()
                .filter(counts)
                .collect::<Vec<_>>()
                .join("\n")
        })
        .collect();
    texts.sort();
    Digest::of(texts.join("\n\n").as_bytes()).hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dockerfile_names_what_it_does_not_make() {
        let text = "# syntax=docker/dockerfile:1\n\
                    ARG RELEASE=bookworm OTHER\nARG FLAVOUR=\"slim\"\n\
                    from --platform=linux/amd64 debian:${RELEASE}-$FLAVOUR as base\n\
                    FROM base AS second\n# FROM comment\nFROM scratch\n\
                    FROM alpine:${OTHER:-3.20}\nFROM nothing:${UNKNOWN}\n\
                    RUN echo \\\n  FROM inside\n\
                    COPY --from=base /a /b\nCOPY --from=0 /a /b\nCOPY --from=busybox:1 /bin /bin\n";
        let found: Vec<_> = images(text).into_iter().map(|image| image.written).collect();
        assert_eq!(
            found,
            [
                "alpine:3.20",
                "busybox:1",
                "debian:bookworm-slim",
                "docker/dockerfile:1"
            ]
        );
    }

    #[test]
    fn only_what_runs_counts() {
        let one = "FROM a\nRUN x \\\n y\nEXPOSE 1\n";
        let same = "# new\nFROM a\nRUN x \\\n y\nEXPOSE 2\nCOPY z /\n";
        let other = "FROM a\nRUN x z\n";
        assert_eq!(fingerprint([one, other]), fingerprint([other, same]));
        assert_ne!(fingerprint([one]), fingerprint([other]));
    }
}
