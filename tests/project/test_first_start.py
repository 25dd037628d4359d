"""From a clone to a site: make, and what it refuses."""

import re
import time

from harness import check, check_equal, needed, test
from site_under_test import SERVICES, output


@test
def make_refuses(site):
    """make fails clearly: placeholder, admin's name, equal users, other login, empty password, unknown login."""
    env = site.folder / "srcs/.env"
    example = (site.folder / "srcs/.env.example").read_text()
    good = re.sub(r"(?m)^([^#].*)CHANGE_ME", rf"\g<1>{site.login}", re.sub(r"(?m)^RUN_AS=.*\n", "", example))
    for text, expected in (
        (example, "placeholder"),
        (good.replace("WP_ADMIN_USER=keeper", "WP_ADMIN_USER=theAdmin"), 'contains "admin"'),
        (good.replace("WP_AUTHOR_USER=writer", "WP_AUTHOR_USER=keeper"), "both 'keeper'"),
        (good.replace("WP_AUTHOR_USER=writer", "WP_AUTHOR_USER=Keeper"), "both 'keeper'"),
        (good.replace("WP_AUTHOR_EMAIL=writer@", "WP_AUTHOR_EMAIL=Keeper@"), f"both have the address keeper@{site.domain}"),
        (good.replace("WP_AUTHOR_EMAIL=writer@", "WP_AUTHOR_EMAIL=wri ter@"), "not a mail address"),
        (good.replace("WP_AUTHOR_USER=writer", "WP_AUTHOR_USER=w/riter"), "cannot be a user's name"),
        (good.replace("WP_ADMIN_USER=keeper", "export WP_ADMIN_USER='SuperAdmin'"), 'contains "admin"'),
        (good.replace(f"DOMAIN={site.login}.42.fr", "DOMAIN=example.org"), "DOMAIN is example.org"),
        (re.sub("(?m)^LOGIN=.*", "LOGIN=no such login", good), "cannot be a login"),
        (good.replace(site.login, "somebodyelse"), "run make as somebodyelse"),
    ):
        env.write_text(text)
        message = site.make_fails()
        check("error: " in message and expected in message, f"instead of '{expected}':\n{message}")
        check("hint: " in message, f"no hint with '{expected}'")
    env.unlink()
    for text, expected in (("", "is empty"), ("CHANGE_ME", "placeholder"), ("one\ntwo", "more than one line"),
                           ("windows\r", "carriage return"), (" outer", "space"), ("outer ", "space"), ("ta\tb", "control character")):
        site.shell("mkdir -p secrets")
        site.write_secret("db_password", text)
        check(expected in site.make_fails(), f"no word of '{expected}'")
        check_equal((site.folder / "secrets/db_password.txt").read_bytes().decode(), text + "\n", "the refused secret")
    site.shell("rm -r secrets srcs/.env")


def started_before_end(log, one, other):
    """Whether a step of the build of `one` was told before the last of `other`."""
    lines = log.splitlines()
    begins = [number for number, line in enumerate(lines) if f"[{one} " in line]
    steps = [number for number, line in enumerate(lines) if f"[{other} " in line]
    return bool(begins and steps) and begins[0] < steps[-1]


@needed
def make_builds_and_starts(site):
    """make, from a clone to a healthy site, as LOGIN without terminal or input."""
    begin = time.monotonic()
    log = site.make()
    seconds = time.monotonic() - begin
    (site.artefacts / "make.log").write_text(log)
    check(site.all_healthy(), "make returned before every service was healthy")
    check("Fingerprint=" in log and f"https://{site.domain}" in log, "make does not say where the site is")
    sizes = site.docker("images", "--format", "{{.Repository}} {{.Size}}").split("\n")
    check(started_before_end(log, "nginx", "mariadb"), f"nginx's image waited for mariadb's:\n{log}")
    return f"{seconds:.0f} s; " + ", ".join(line for line in sizes if line.split()[:1] and line.split()[0] in SERVICES)


@test
def make_keeps_what_is_there(site):
    """A second make changes nothing: settings, secrets, certificate, containers stay."""
    files = [site.folder / "srcs/.env", *sorted((site.folder / "secrets").glob("*"))]
    before = [(file, file.read_bytes()) for file in files]
    containers = [site.inspect(service)["Id"] for service in SERVICES]
    begin = time.monotonic()
    site.make()
    check_equal([(file, file.read_bytes()) for file in files], before, "settings and secrets")
    check_equal([site.inspect(service)["Id"] for service in SERVICES], containers, "containers")
    return f"{time.monotonic() - begin:.1f} s"


@test
def environment_does_not_count(site):
    """What the caller's environment has changes neither settings nor project: containers stay as they are."""
    containers = [site.inspect(service)["Id"] for service in SERVICES]
    site.shell("WP_ADMIN_USER=SuperAdmin DOMAIN=example.org DB_NAME=x BONUS=on COMPOSE_PROFILES=bonus COMPOSE_PROJECT_NAME=foo "
               "COMPOSE_FILE=/nonexistent COMPOSE_ENV_FILES=/nonexistent make", timeout=900)
    check_equal([site.inspect(service)["Id"] for service in SERVICES], containers, "containers")
    check_equal(len(site.docker("ps", "--all", "--quiet").split()), len(SERVICES), "number of containers")


@test
def secrets_are_private(site):
    """Secrets have mode 0600, random passwords, and git would not take them."""
    values = site.secrets()
    check(len(values) >= 5 and len(set(values.values())) == len(values), f"secrets are {sorted(values)}")
    check(all(len(value) == 32 for value in values.values()), "passwords are not 32 characters")
    for file in (site.folder / "secrets").glob("*.*"):
        if file.name != ".gitignore":
            check_equal(oct(file.stat().st_mode & 0o777), "0o600", f"mode of {file.name}")
    site.shell("git init --quiet . && git add .")
    tracked = site.shell("git ls-files")
    check("secrets" not in tracked and re.search(r"^srcs/\.env$", tracked, re.MULTILINE) is None, f"git takes:\n{tracked}")
    site.shell("rm -rf .git")


@test
def other_spelling_works(site):
    """The Makefile works where compose is called docker-compose."""
    listing = site.shell("DOCKER_CONFIG=/nonexistent make ps")
    check(all(service in listing for service in SERVICES), listing)
    check("docker-compose" in site.shell("DOCKER_CONFIG=/nonexistent make -n ps"), "docker compose was used")


@test
def older_compose_builds(site):
    """What only newer versions of compose read is asked of these alone."""
    for version, expected in (("2.26.1-4", "-f srcs/side-by-side.yml build"), ("v2.24.4", "-f srcs/side-by-side.yml build"),
                              ("5.0.1", "-f srcs/side-by-side.yml build"), ("2.24.3", "build"), ("2.3.0", "build"),
                              ("1.29.2", "build"), ("0", "build")):
        asked = site.shell(f"COMPOSE='echo asked' COMPOSE_VERSION={version} srcs/tools/build").strip()
        check_equal(asked, f"asked {expected}", f"with compose {version}")


@test
def help_lists_targets(site):
    """make help lists every target that a person uses."""
    text = site.make("help")
    for target in "all bonus down stop start re clean fclean logs ps status passwords backup restore".split():
        check(re.search(rf"^{target}\s+\S", text, re.MULTILINE), f"{target} is not in:\n{text}")
