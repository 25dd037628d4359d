#!/usr/bin/python3
"""What the subject demands of an Inception project, as far as it can be read from the files.

    rules.py FOLDER      one line for each rule; exit code 1 if one is broken

Rules that also need a running site have their second half in test_running.py.
"""

import re
import sys
from pathlib import Path

import yaml

PENULTIMATE_STABLE = {"debian:bookworm", "debian:12", "debian:bookworm-slim", "debian:12-slim"}
FOR_EVER = re.compile(r"\btail\s+-f|\bsleep\s+infinity|\bwhile\s+(true|:|\[\s*1\s*\])|\btail\s+--follow")
SHELLS = {"bash", "sh", "/bin/bash", "/bin/sh"}
SECRET_NAME = re.compile(r"pass|secret|token|credential|private_?key", re.IGNORECASE)


class Project:
    """The files of a project, parsed."""

    def __init__(self, root: Path):
        self.root = root
        self.compose_file = next((root / "srcs" / name for name in ("docker-compose.yml", "docker-compose.yaml", "compose.yaml")
                                  if (root / "srcs" / name).is_file()), None)
        self.compose = yaml.safe_load(self.compose_file.read_text()) if self.compose_file else {}
        self.services = self.compose.get("services") or {}
        self.mandatory = {name: service for name, service in self.services.items() if "profiles" not in service}

    def text(self, path) -> str:
        file = self.root / path
        return file.read_text() if file.is_file() else ""

    def context(self, service) -> Path | None:
        build = service.get("build")
        folder = build.get("context") if isinstance(build, dict) else build
        return (self.root / "srcs" / folder).resolve() if folder else None

    def dockerfile(self, service) -> Path | None:
        context = self.context(service)
        build = service.get("build")
        return context / (build.get("dockerfile", "Dockerfile") if isinstance(build, dict) else "Dockerfile") if context else None

    def instructions(self, service) -> list[tuple[str, str]]:
        """The Dockerfile's instructions: (name, rest), with continued lines joined and comments dropped."""
        file = self.dockerfile(service)
        if file is None or not file.is_file():
            return []
        lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
        joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
        pairs = (line.strip().split(None, 1) for line in joined.splitlines() if line.strip())
        return [(pair[0].upper(), pair[1] if len(pair) > 1 else "") for pair in pairs]

    def scripts(self, service) -> list[Path]:
        """The shell scripts of the service's image."""
        context = self.context(service)
        files = sorted(context.rglob("*")) if context else []
        return [file for file in files if file.is_file() and re.match(rb"#!.*\b(ba|da)?sh\b", file.read_bytes()[:80])]

    def settings(self) -> dict[str, str]:
        text = self.text("srcs/.env") or self.text("srcs/.env.example")
        return dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))

    def volumes(self, service) -> list[str]:
        """Source of each volume of a service."""
        return [volume.split(":")[0] if isinstance(volume, str) else volume.get("source", "") for volume in service.get("volumes") or []]


def rule_1(project):
    """everything is configured under srcs/, and a Makefile builds and starts it through docker compose"""
    if not re.search(r"docker[ -]compose", project.text("Makefile")):
        yield "the Makefile at the root does not use docker compose"
    if project.compose_file is None:
        yield "srcs/ has no compose file"
    for name, service in project.services.items():
        context = project.context(service)
        if context and not context.is_relative_to((project.root / "srcs").resolve()):
            yield f"{name} is built outside srcs/"


def rule_2(project):
    """each service has a container, a Dockerfile and an image of its name"""
    files = {}
    for name, service in project.services.items():
        file = project.dockerfile(service)
        if file is None or not file.is_file() or not project.instructions(service):
            yield f"{name} has no Dockerfile, or an empty one"
        elif file in files:
            yield f"{name} and {files[file]} share a Dockerfile"
        files[file] = name
        if service.get("image", name).split(":")[0] != name:
            yield f"{name}'s image is called {service['image']}"


def rule_3(project):
    """images are built from the penultimate stable Debian, nothing ready-made, never latest"""
    for name, service in project.services.items():
        stages = set()
        for instruction, rest in project.instructions(service):
            words = rest.split()
            if instruction == "FROM":
                if words[0] not in PENULTIMATE_STABLE | stages:
                    yield f"{name} is built from {words[0]}"
                if len(words) == 3:
                    stages.add(words[2])
        if re.search(r":latest\b", service.get("image", "")):
            yield f"{name}'s image is tagged latest"


def rule_4(project):
    """settings come from the environment and srcs/.env, passwords from secrets, and neither is in git"""
    for name, service in project.services.items():
        for instruction, rest in project.instructions(service):
            if instruction in ("ENV", "ARG") and SECRET_NAME.search(rest) or re.search(r"pass(word|wd)?=[^$ ]", rest, re.IGNORECASE):
                yield f"{name}'s Dockerfile holds a password: {instruction} {rest[:40]}"
        environment = service.get("environment") or {}
        names = environment if isinstance(environment, dict) else [entry.split("=")[0] for entry in environment]
        for variable in names:
            if SECRET_NAME.search(variable):
                yield f"{name} gets {variable} in its environment"
    if not project.settings():
        yield "there is neither srcs/.env nor srcs/.env.example"
    for variable in project.settings():
        if SECRET_NAME.search(variable):
            yield f"srcs/.env holds {variable}"
    if not any(service.get("environment") or service.get("env_file") for service in project.services.values()):
        yield "no service uses environment variables"
    ignored = project.text(".gitignore") + project.text("srcs/.gitignore")
    if ".env" not in ignored:
        yield "git does not ignore srcs/.env"
    if "secrets" not in project.text(".gitignore") and "secrets/.gitignore" not in project.text("srcs/tools/settings"):
        yield "git does not ignore secrets/"
    for name, secret in (project.compose.get("secrets") or {}).items():
        if not str(secret.get("file", "")).startswith("../secrets/"):
            yield f"the secret {name} does not come from secrets/"


def rule_5(project):
    """containers talk over a declared network; no host network, no links"""
    if not project.compose.get("networks"):
        yield "no network is declared"
    for name, service in project.services.items():
        if service.get("network_mode"):
            yield f"{name} has network_mode {service['network_mode']}"
        if "links" in service or "external_links" in service:
            yield f"{name} has links"
        if not service.get("networks"):
            yield f"{name} is on no declared network"
    if "--link" in project.text("Makefile"):
        yield "the Makefile uses --link"


def rule_6(project):
    """PID 1 is the service: no endless loops, no shell as command, nothing in the background"""
    for name, service in project.services.items():
        commands = [rest for instruction, rest in project.instructions(service) if instruction in ("CMD", "ENTRYPOINT")]
        commands += [str(service[key]) for key in ("command", "entrypoint") if service.get(key)]
        for command in commands:
            words = re.findall(r"[^\s\[\]\"',]+", command)
            if FOR_EVER.search(command) or words and words[0] in SHELLS:
                yield f"{name} runs {command}"
        for script in project.scripts(service):
            code = re.sub(r"(?m)^\s*#.*$", "", script.read_text())
            if FOR_EVER.search(code):
                yield f"{name}'s {script.name} never ends"
            if re.search(r"(?m)[^&>|]&\s*(#.*)?$", code):
                yield f"{name}'s {script.name} leaves something in the background"
        for script in project.scripts(service):
            if any(re.search(rf"\b{re.escape(script.name)}\b", command) for command in commands) and "exec " not in script.read_text():
                yield f"{name}'s {script.name} does not become the service"


def rule_7(project):
    """nginx alone is the entrance, by port 443 alone, with TLS 1.2 and 1.3 alone"""
    for name, service in project.mandatory.items():
        ports = [str(port).split("/")[0] for port in service.get("ports") or []]
        if name == "nginx" and ports != ["443:443"]:
            yield f"nginx publishes {ports}"
        if name != "nginx" and ports:
            yield f"{name} publishes {ports}"
    nginx = project.services.get("nginx", {})
    context = project.context(nginx)
    code = "\n".join(file.read_text() for file in sorted(context.rglob("*.conf"))) if context else ""
    code = re.sub(r"(?m)#.*$", "", code)
    protocols = {word for line in re.findall(r"ssl_protocols\s+([^;]*);", code) for word in line.split()}
    if not protocols or not protocols <= {"TLSv1.2", "TLSv1.3"}:
        yield f"nginx speaks {sorted(protocols) or 'whatever is its default'}"
    for port in re.findall(r"\blisten\s+(?:\S*:)?(\d+)", code):
        if port != "443":
            yield f"nginx listens on {port}"


def rule_8(project):
    """WordPress with php-fpm and MariaDB, each without a web server, each in its own container"""
    for name, needed in (("wordpress", "php[0-9.]*-fpm"), ("mariadb", "mariadb-server"), ("nginx", "nginx")):
        service = project.mandatory.get(name)
        if service is None:
            yield f"there is no service {name}"
            continue
        code = project.dockerfile(service).read_text() if project.dockerfile(service).is_file() else ""
        code += "".join(script.read_text() for script in project.scripts(service))
        code = re.sub(r"(?m)^\s*#.*$", "", code)
        if not re.search(needed, code):
            yield f"{name} does not install {needed}"
        # Installed packages only: words of an apt-get line.
        installed = " ".join(re.findall(r"apt-get[^&;\n]*\binstall\b(?:\\\n|[^&;\n])*", code)).split()
        for other in ("nginx", "apache2", "lighttpd"):
            if name != "nginx" and other in installed:
                yield f"{name} installs {other}"


def rule_9(project):
    """database and site files are two named volumes below /home/LOGIN/data, with no binds beside"""
    volumes = project.compose.get("volumes") or {}
    for name in ("mariadb", "wordpress"):
        sources = project.volumes(project.mandatory.get(name, {}))
        own = [volumes.get(source) for source in sources if source in volumes]
        options = (own[0] or {}).get("driver_opts", {}) if own else {}
        if not own:
            yield f"{name} has no named volume"
        elif not re.match(r"/home/(\$\{LOGIN[^}]*\}|\$LOGIN|[a-z_][a-z0-9_-]*)/data/", str(options.get("device", ""))):
            yield f"{name}'s volume lies in {options.get('device')}"
    for name, service in project.services.items():
        for source in project.volumes(service):
            if source.startswith((".", "/", "~", "$")):
                yield f"{name} binds {source}"


def rule_10(project):
    """containers start again after a crash"""
    for name, service in project.services.items():
        if not re.match(r"always|unless-stopped|on-failure", str(service.get("restart"))):
            yield f"{name} has restart: {service.get('restart')}"


def rule_11(project):
    """two users, the administrator's name without \"admin\""""
    settings = project.settings()
    keeper, writer = settings.get("WP_ADMIN_USER", ""), settings.get("WP_AUTHOR_USER", "")
    if not keeper or not writer or keeper == writer:
        yield f"the two users are {keeper!r} and {writer!r}"
    if "admin" in keeper.lower():
        yield f"the administrator is called {keeper}"


def rule_12(project):
    """the site is LOGIN.42.fr"""
    settings = project.settings()
    if settings.get("DOMAIN") != f"{settings.get('LOGIN')}.42.fr":
        yield f"the login is {settings.get('LOGIN')}, the domain {settings.get('DOMAIN')}"


def rule_13(project):
    """MariaDB's root needs a password, which is a secret"""
    service = project.mandatory.get("mariadb", {})
    if "db_root_password" not in (service.get("secrets") or []):
        yield "mariadb does not get the secret db_root_password"
    if not any("db_root_password" in script.read_text() for script in project.scripts(service)):
        yield "mariadb does not use the secret db_root_password"


def rule_14(project):
    """after a reboot everything starts again"""
    for name, service in project.services.items():
        # Containers that ended cleanly with the machine stay down with on-failure.
        if str(service.get("restart")).startswith("on-failure"):
            yield f"{name} has restart: {service['restart']}"


def rule_15(project):
    """README.md, USER_DOC.md and DEV_DOC.md are at the root"""
    for name in ("README.md", "USER_DOC.md", "DEV_DOC.md"):
        if len(project.text(name).strip()) < 100:
            yield f"{name} is missing or empty"


RULES = {number: globals()[f"rule_{number}"] for number in range(1, 16)}


def broken(root: Path) -> dict[int, list[str]]:
    """What is wrong, by the rule's number; empty if nothing is."""
    project = Project(root)
    found = {number: list(rule(project)) for number, rule in RULES.items()}
    return {number: messages for number, messages in found.items() if messages}


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: rules.py FOLDER")
    wrong = broken(Path(sys.argv[1]))
    for number, rule in RULES.items():
        print(f"rule {number:2}  {'BROKEN' if number in wrong else 'ok    '}  {rule.__doc__}")
        for message in wrong.get(number, []):
            print(f"                 {message}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
