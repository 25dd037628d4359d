//! What the name of an image in a registry may look like. Pure.

/// The longest name without tag and digest (distribution/reference, `NameTotalLengthMax`).
const NAME_MAX: usize = 255;

/// The name of an image, as `REGISTRY/IMAGE:TAG`; tag and digest may be missing.
///
/// # Errors
/// What is wrong with it, for a person (the grammar is distribution/reference's).
pub fn image(text: &str) -> Result<String, String> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    // A colon before a slash is that of a port.
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    let (domain, path) = match name.split_once('/') {
        Some((first, path)) if is_domain_like(first) => (Some(first), path),
        _ => (None, name),
    };
    let reason = if name.is_empty() {
        "it has no name"
    } else if name.len() > NAME_MAX {
        "its name is longer than 255 characters"
    } else if !domain.is_none_or(is_domain) {
        "what is before the first `/` is no registry"
    } else if !path.split('/').all(is_component) {
        "its name may have lower-case letters and digits, with `.`, `_`, `__` or `-` between them"
    } else if !tag.is_none_or(is_tag) {
        "its tag may have up to 128 letters, digits, `_`, `.` and `-`"
    } else if !digest.is_none_or(is_digest) {
        "its digest must be `sha256:` and 64 hexadecimal digits"
    } else {
        return Ok(text.to_owned());
    };
    Err(format!("`{}` is no image's name: {reason}", text.escape_debug()))
}

fn is_domain_like(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':', '[']) || first.chars().any(|c| c.is_ascii_uppercase())
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (domain, None),
    };
    let label = |label: &str| {
        let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.chars().all(is_inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(label),
    };
    is_host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

fn is_component(component: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ends = [component.chars().next(), component.chars().next_back()];
    let separators = component.split(is_word).filter(|separator| !separator.is_empty());
    ends.iter().all(|end| end.is_some_and(is_word))
        && separators
            .into_iter()
            .all(|it| [".", "_", "__"].contains(&it) || it.chars().all(|c| c == '-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= 128 && tag.starts_with(is_word) && tag.chars().all(|c| is_word(c) || c == '.' || c == '-')
}

fn is_digest(digest: &str) -> bool {
    let digits = digest.strip_prefix("sha256:");
    digits.is_some_and(|digits| digits.len() == 64 && digits.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images() {
        let digest = format!("@sha256:{}", "0a".repeat(32));
        for good in [
            "m",
            "class/jdoe:1",
            "registry.example.org/class/jdoe:1",
            "registry.example.org:5000/m",
            "127.0.0.1:5000/m:latest",
            "[::1]:5000/m",
            "localhost/a__b/c---d/e.f:V1.0_x-y",
            &format!("example.org/m:1{digest}"),
            &format!("m{digest}"),
        ] {
            assert_eq!(image(good).as_deref(), Ok(good));
        }
        for (bad, reason) in [
            ("", "no name"),
            (":1", "no name"),
            ("M", "lower-case"),
            ("a b", "lower-case"),
            ("a/", "lower-case"),
            ("/a", "lower-case"),
            ("a//b", "lower-case"),
            ("a___b", "lower-case"),
            ("a._b", "lower-case"),
            ("-a", "lower-case"),
            ("https://example.org/m", "no registry"),
            ("m\nkind: Secret", "lower-case"),
            ("ex_ample.org/m", "no registry"),
            ("example.org:port/m", "no registry"),
            ("example.org:0/m", "no registry"),
            ("[::x]/m", "no registry"),
            ("m:", "tag"),
            ("m:-1", "tag"),
            ("m:a b", "tag"),
            ("m:1@sha256:00", "digest"),
            ("m@", "digest"),
            (&"a".repeat(256), "255"),
            (&format!("m:{}", "a".repeat(129)), "tag"),
        ] {
            let error = image(bad).unwrap_err();
            assert!(error.contains(reason), "{bad:?}: {error}");
        }
    }
}
