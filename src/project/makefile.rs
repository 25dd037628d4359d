//! Whether a Makefile has what will be made. Only make itself knows all that it reads, so this tells what is certain.

use std::path::Path;

use crate::config::{MAKEFILES, Project};
use crate::text;

/// What makes it certain that `make` will fail in the guest after all else was done: no rule for the wanted target, or none
/// at all. `None` wherever there is doubt, or the file cannot be read.
pub fn lacks(project: &Project) -> Option<String> {
    // The first of them is the one that make reads.
    let file = MAKEFILES
        .iter()
        .map(|name| project.dir.join(name))
        .find(|file| file.is_file())?;
    let rules = rules(&text::read(&file).ok()?)?;
    let shown = file.display();
    match &project.target {
        None if rules.is_empty() => Some(format!("{shown} has no rule: `make` will fail")),
        Some(target) if !rules.contains(target) && !is_there(&project.dir, target) => {
            Some(format!("{shown} has no target {target}: `make {target}` will fail"))
        }
        _ => None,
    }
}

/// What is there needs no rule.
fn is_there(dir: &Path, target: &str) -> bool {
    dir.join(target).exists()
}

/// The targets that have a rule; `None` where there may be others: of another file, of a pattern, of a variable
/// (GNU make's manual, "Rule Syntax").
fn rules(makefile: &str) -> Option<Vec<String>> {
    let joined = makefile.replace("\\\n", " ");
    let mut all = Vec::new();
    for line in joined.lines() {
        // A recipe, or a comment.
        if line.starts_with(['\t', '#']) {
            continue;
        }
        let word = line.split_whitespace().next().unwrap_or_default();
        let is_open = matches!(
            word,
            "include" | "-include" | "sinclude" | "define" | "load" | "-load" | "vpath"
        );
        // What a variable or a function leaves may be anything, a rule too.
        if is_open || line.trim_start().starts_with('$') || line.contains("$(eval") || line.contains(".RECIPEPREFIX") {
            return None;
        }
        let Some((targets, rest)) = line.split_once(':') else {
            continue;
        };
        // An assignment: `a := b`, `a ::= b`, `a = b:c`.
        if rest.trim_start_matches(':').starts_with('=') || targets.contains('=') {
            continue;
        }
        if targets.contains(['%', '$']) || targets.trim() == ".DEFAULT" {
            return None;
        }
        let targets = targets.trim_end_matches('&').split_whitespace();
        // `.PHONY` and its like make nothing.
        all.extend(
            targets
                .filter(|name| !name.starts_with('.') || name.contains('/'))
                .map(str::to_owned),
        );
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_found_and_doubt_is_told() {
        let found = |text: &str| rules(text).map(|rules| rules.join(" "));
        let known = |text: &str, rules: &str| assert_eq!(found(text).as_deref(), Some(rules), "{text}");
        known("", "");
        known("# all: nothing\nA := b:c\nB ::= d\nC = e:f\nexport D=x:y\n", "");
        known(".PHONY: all up\nall: up\nup:\n\techo no: rule\n", "all up");
        known("all clean: x\nfclean:: y\na b&: c\n", "all clean fclean a b");
        known("all: \\\n\tup\nup: ; docker compose up\n", "all up");
        known("ifeq ($(A),b)\nup:\nendif\n", "up");
        for open in [
            "include other.mk\n",
            "-include other.mk\n",
            "$(NAME): x\n",
            "%: x\n",
            ".DEFAULT:\n\techo\n",
            "$(eval a: b)\n",
            "define rule\n",
        ] {
            assert_eq!(found(open), None, "{open}");
        }
    }

    #[test]
    fn what_will_fail_is_told_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("Makefile");
        let told = |target: Option<&str>| {
            lacks(&Project {
                dir: dir.path().to_owned(),
                target: target.map(str::to_owned),
                env: None,
                secrets: None,
                make_timeout: None,
            })
        };
        assert_eq!(told(None), None, "there is no Makefile to tell of");
        std::fs::write(&file, "").unwrap();
        assert!(told(None).unwrap().ends_with("Makefile has no rule: `make` will fail"));
        std::fs::write(&file, "all:\n").unwrap();
        assert_eq!((told(None), told(Some("all"))), (None, None));
        assert!(told(Some("bonus")).unwrap().ends_with("`make bonus` will fail"));
        std::fs::write(dir.path().join("bonus"), "").unwrap();
        assert_eq!(told(Some("bonus")), None);
        // The one that counts where there are two.
        std::fs::write(dir.path().join("GNUmakefile"), "up:\n").unwrap();
        assert!(told(Some("all")).unwrap().contains("GNUmakefile has no target all"));
    }
}
