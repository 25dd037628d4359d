//! Text of the guest made safe for a terminal: a guest must not move the cursor, set the title or hide lines.

/// `line` without escape sequences (ECMA-48) and control characters. Of a line that was overwritten by carriage
/// returns, as progress bars do, what stood there last is left.
pub fn clean(line: &str) -> String {
    let line = line.trim_end_matches(['\r', '\n']);
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut text = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_escape(&mut rest),
            '\t' => text.push(' '),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    text
}

/// The lines of `text`, each cleaned, as a single one: what quotes a console or a program's words is one event, too.
pub fn one_line(text: &str) -> String {
    let lines = text.lines().map(clean);
    let lines: Vec<String> = lines.filter(|line| !line.trim().is_empty()).collect();
    let lines: Vec<&str> = match lines.as_slice() {
        [line] => return line.clone(),
        lines => lines.iter().map(|line| line.trim()).collect(),
    };
    lines.join(" / ")
}

/// Skips what follows an escape character: a control sequence ends with a byte from `@` to `~`, a string (a title, a
/// link) with BEL or the two characters of ST; anything else is one character.
fn skip_escape(rest: &mut std::str::Chars<'_>) {
    match rest.next() {
        Some('[') => {
            rest.find(|c| ('@'..='~').contains(c));
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            let mut last = ' ';
            rest.find(|&c| {
                let end = c == '\u{7}' || (last == '\u{1b}' && c == '\\');
                last = c;
                end
            });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        for (line, expected) in [
            ("plain", "plain"),
            ("\u{1b}[1;32mgreen\u{1b}[0m text", "green text"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            (" 10%\r 50%\r100%\r\n", "100%"),
            ("a\tb\u{8}\u{7}c", "a bc"),
            ("\u{1b}(Bx\u{9b}y", "Bxy"),
            ("\u{1b}[2J", ""),
            ("\u{1b}", ""),
            ("été ✓", "été ✓"),
        ] {
            assert_eq!(clean(line), expected, "{line:?}");
        }
    }

    #[test]
    fn many_lines_become_one() {
        for (text, expected) in [
            ("one", "one"),
            ("  one  ", "  one  "),
            (
                "the console said:\r\n  \u{1b}[2Kpanic\r\n\r\n  no init\n",
                "the console said: / panic / no init",
            ),
            ("", ""),
            ("\n\n", ""),
        ] {
            assert_eq!(one_line(text), expected, "{text:?}");
        }
    }
}
