//! The checks as JUnit's XML, which every CI shows: a test for each rule. What ends a run for another reason than a check is
//! a test of its own, named after the stage, so that it is shown too.
//!
//! The format has no standard; what is written here is what its readers agree on
//! (<https://github.com/testmoapp/junitxml>).

use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event as Xml};

use super::clean::{clean, one_line};
use super::course::Checked;
use super::failure::Failure;
use super::records::Run;
use crate::fault::Cause;

/// Writes the checks of `run` to `file`: whole or not at all.
///
/// # Errors
/// When it cannot be written; what was there stays then.
pub fn write(file: &Path, run: &Run<'_>) -> Result<()> {
    // A device or a link would be replaced by a file.
    if std::fs::symlink_metadata(file).is_ok_and(|data| !data.is_file()) {
        bail!("it is no plain file");
    }
    if file.exists() && !is_report(file)? {
        bail!("it is there, and no JUnit");
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    let bytes = xml(run).context("writing XML")?;
    let mut new = tempfile::Builder::new()
        .prefix(".provision-junit")
        // Others read it; the user's mask has its say.
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(nameless)?;
    io::Write::write_all(&mut new, &bytes)?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

/// Whether a file is JUnit's, of whatever program, or empty. Nobody's Makefile is replaced.
fn is_report(file: &Path) -> Result<bool> {
    const HEAD: u64 = 1024;
    let mut head = Vec::new();
    std::fs::File::open(file)?.take(HEAD).read_to_end(&mut head)?;
    Ok(head.is_empty() || String::from_utf8_lossy(&head).contains("<testsuite"))
}

/// What the system says, without the name of a file that nobody has asked for and that is another each time (tempfile
/// writes it after `at path`).
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn nameless(error: io::Error) -> anyhow::Error {
    let text = error.to_string();
    anyhow::Error::msg(text.split(" at path ").next().unwrap_or_default().to_owned())
}

/// The XML.
///
/// # Errors
/// None in fact: a vector takes everything.
pub fn xml(run: &Run<'_>) -> io::Result<Vec<u8>> {
    let checks = &run.course.checks;
    let broken = checks.iter().filter(|check| !check.passed).count();
    // What the failed checks say the error repeats.
    let repeats = |failure: &Failure| broken > 0 && failure.exit_code == Cause::Verify.exit_code();
    let other = run.failure.filter(|failure| !repeats(failure));
    let tests = (checks.len() + usize::from(other.is_some())).to_string();
    let (failures, errors) = (broken.to_string(), usize::from(other.is_some()).to_string());
    let time = seconds(run.course.time(run.now));
    let suite = format!("provision {}", run.command);
    let counts = [
        ("tests", tests.as_str()),
        ("failures", &failures),
        ("errors", &errors),
        ("time", &time),
    ];
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Xml::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer
        .create_element("testsuites")
        .with_attribute(("name", "provision"))
        .with_attributes(counts)
        .write_inner_content(|writer| {
            writer
                .create_element("testsuite")
                .with_attribute(("name", suite.as_str()))
                .with_attributes(counts)
                .write_inner_content(|writer| {
                    checks.iter().try_for_each(|check| rule(writer, check))?;
                    other.map_or(Ok(()), |failure| stage(writer, run, failure))
                })?;
            Ok(())
        })?;
    let mut bytes = writer.into_inner();
    bytes.push(b'\n');
    Ok(bytes)
}

fn rule(writer: &mut Writer<Vec<u8>>, check: &Checked) -> io::Result<()> {
    let (name, time) = (line(&check.rule), seconds(check.time));
    let case = writer.create_element("testcase").with_attributes([
        ("name", name.as_str()),
        ("classname", "provision.verify"),
        ("time", &time),
    ]);
    if check.passed {
        case.write_empty()?;
    } else {
        case.write_inner_content(|writer| unhappy(writer, "failure", "check", &check.detail))?;
    }
    Ok(())
}

/// The test that stands for what ended the run.
fn stage(writer: &mut Writer<Vec<u8>>, run: &Run<'_>, failure: &Failure) -> io::Result<()> {
    let (name, class) = match run.course.stage() {
        Some(stage) => (format!("stage {stage}"), format!("provision.{stage}")),
        None => (
            format!("provision {}", run.command),
            format!("provision.{}", run.command),
        ),
    };
    let kind = format!("exit code {}", failure.exit_code);
    writer
        .create_element("testcase")
        .with_attributes([("name", name.as_str()), ("classname", &class)])
        .write_inner_content(|writer| {
            let text = failure.plain();
            unhappy(writer, "error", &kind, text.strip_prefix("error: ").unwrap_or(&text))
        })?;
    Ok(())
}

/// An element that says what was wrong: its first line, then all of it.
fn unhappy(writer: &mut Writer<Vec<u8>>, element: &str, kind: &str, text: &str) -> io::Result<()> {
    let all: Vec<String> = text.lines().map(line).collect();
    let first = all.first().map_or("", String::as_str);
    writer
        .create_element(element)
        .with_attributes([("message", first), ("type", kind)])
        .write_text_content(BytesText::new(&all.join("\n")))?;
    Ok(())
}

/// One line of text as XML 1.0 can hold it (section 2.2), even escaped: no control characters, no non-characters.
fn line(text: &str) -> String {
    let is_char = |c: &char| !matches!(c, '\u{fffe}' | '\u{ffff}');
    let text = if text.contains('\n') {
        one_line(text)
    } else {
        clean(text)
    };
    text.chars().filter(is_char).collect()
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

#[cfg(test)]
mod tests;
