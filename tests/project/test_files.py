"""What can be told from the files; no engine is needed."""

import re
import shutil
import tempfile
from pathlib import Path

import rules
from harness import check, check_equal, test
from mutations import MUTATIONS
from site_under_test import NOT_IN_GIT, output


@test
def rules_are_kept(site):
    """Rules 1 to 15, as far as files tell, are kept."""
    check_equal(rules.broken(site.source), {}, "broken rules")


def copy_project(source: Path, target: Path):
    target.mkdir()
    for name in ("Makefile", "README.md", "USER_DOC.md", "DEV_DOC.md", ".gitignore"):
        if (source / name).is_file():
            shutil.copy(source / name, target)
    shutil.copytree(source / "srcs", target / "srcs", ignore=NOT_IN_GIT)


def mutate(folder: Path, file, pattern, replacement):
    path = folder / file
    if replacement is None:
        path.unlink()
    elif pattern is None:
        path.write_text(replacement)
    else:
        text, count = re.subn(pattern, replacement, path.read_text())
        check(count > 0, f"{pattern} is not in {file}")
        path.write_text(text)


@test
def rules_can_fail(site):
    """Each rule's check fails, and no other's, where that rule is broken on purpose."""
    check_equal({rule for rule, *_ in MUTATIONS}, set(rules.RULES), "rules with a mutation")
    with tempfile.TemporaryDirectory() as scratch:
        for number, (rule, what, *change) in enumerate(MUTATIONS):
            folder = Path(scratch, str(number))
            copy_project(site.source, folder)
            mutate(folder, *change)
            found = set(rules.broken(folder))
            # A project without compose file, or with a Dockerfile elsewhere, breaks more than the one rule.
            check_equal(found & {rule} if rule == 1 else found, {rule}, f"broken rules with: {what}")
    return f"{len(MUTATIONS)} ways to break them"


def without_health(project) -> list[str]:
    """Services without a health check, and those that start before what they need is healthy."""
    found = [f"{name} has no health check" for name, service in project.services.items() if not (service.get("healthcheck") or {}).get("test")]
    for name, needs in (("wordpress", "mariadb"), ("nginx", "wordpress")):
        waits = project.services[name].get("depends_on") or {}
        if not isinstance(waits, dict) or waits.get(needs, {}).get("condition") != "service_healthy":
            found.append(f"{name} does not wait for {needs}")
    return found


@test
def health_decides(site):
    """Each service has a health check, and starts when what it needs is healthy; the check sees one that does not."""
    check_equal(without_health(rules.Project(site.source)), [], "faults")
    check_of = r"(?m)^    healthcheck:\n      <<: \*health\n      test: "
    mutations = [(rf"{check_of}\[CMD, sh, /usr/local/lib/site/healthy\]\n", "", "wordpress has no health check"),
                 (rf"{check_of}\[CMD, sh, /usr/local/lib/adminer/healthy\]\n", "", "adminer has no health check"),
                 (r"mariadb: \{condition: service_healthy\}", "mariadb: {condition: service_started}", "wordpress does not wait for mariadb"),
                 (r"(?m)^    depends_on:\n      wordpress: .*\n", "    depends_on: [wordpress]\n", "nginx does not wait for wordpress")]
    with tempfile.TemporaryDirectory() as scratch:
        for number, (pattern, replacement, expected) in enumerate(mutations):
            folder = Path(scratch, str(number))
            copy_project(site.source, folder)
            mutate(folder, "srcs/docker-compose.yml", pattern, replacement)
            check_equal(without_health(rules.Project(folder)), [expected], "faults")


@test
def scripts_are_clean(site):
    """Every shell script passes shellcheck."""
    folders = [site.source / "srcs", site.source / "tests/project"]
    scripts = [file for folder in folders for file in sorted(folder.rglob("*"))
               if file.is_file() and re.match(rb"#!.*\b(ba|da)?sh\b", file.read_bytes()[:80])]
    scripts.append(site.source / "tests/media/docker-hub-standin.sh")
    check(len(scripts) >= 12, f"only {len(scripts)} scripts found")
    output("shellcheck", "--external-sources", *scripts, cwd=site.source)
    return f"{len(scripts)} scripts"


@test
def compose_is_valid(site):
    """Docker compose accepts the file, with and without the bonus profile, in both spellings."""
    environment = {"LOGIN": site.login, "PATH": "/run/engine/usr/bin:/usr/bin:/bin", "DOCKER_CONFIG": "/run/docker-config"}
    file = str(site.source / "srcs/docker-compose.yml")
    for command in (["docker", "compose"], ["docker-compose"]):
        for profile in ([], ["--profile", "bonus"]):
            services = set(output(*command, "-f", file, *profile, "config", "--services", env=environment).split())
            check({"nginx", "wordpress", "mariadb"} <= services, f"services are {services}")
            check_equal("redis" in services, bool(profile), "redis in the configuration")


@test
def images_are_pinned_down(site):
    """No Dockerfile fetches anything but packages: no pipe from the web, no ADD of an address."""
    for file in (site.source / "srcs").rglob("Dockerfile"):
        code = re.sub(r"(?m)^\s*#.*$", "", file.read_text())
        check(not re.search(r"curl|wget|https?://|^ADD", code, re.MULTILINE), f"{file} fetches something")
