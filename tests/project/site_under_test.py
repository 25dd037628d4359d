"""The project as its operator has it: a folder in the home of LOGIN, commands, and a site on port 443."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

SERVICES = ["nginx", "wordpress", "mariadb"]
# Generated or foreign: not part of a clone.
NOT_IN_GIT = shutil.ignore_patterns(".git", ".env", "secrets", "target", "__pycache__")


def output(*command, check=True, timeout=300, **options):
    """Runs a command to its end; its standard output and error as one text."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=timeout, errors="replace", **options)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-1500:]}")
    return done.stdout


class Site:
    def __init__(self, login: str, source: Path, artefacts: Path, engine):
        self.login = login
        self.domain = f"{login}.42.fr"
        self.source = source
        self.folder = Path("/home", login, "inception")
        self.data = Path("/home", login, "data")
        self.artefacts = artefacts
        self.engine = engine

    # What the operator does.

    def clone(self):
        """Puts the project's files, as git has them, into the login's home."""
        self.folder.mkdir()
        shutil.copy(self.source / "Makefile", self.folder)
        shutil.copytree(self.source / "srcs", self.folder / "srcs", ignore=NOT_IN_GIT)
        output("chown", "-R", f"{self.login}:", self.folder)

    def shell(self, command, **options):
        """Runs a command as LOGIN in a login shell in the project, without terminal and input."""
        return output("su", "--login", self.login, "--command", f"cd {self.folder} && {command}", **options)

    def make(self, target="", **options):
        return self.shell(f"make {target}", timeout=900, **options)

    def make_fails(self, target=""):
        """The output of a make that must not succeed."""
        done = subprocess.run(["su", "--login", self.login, "--command", f"cd {self.folder} && make {target}"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
        if done.returncode == 0:
            raise RuntimeError(f"make {target} succeeded:\n{done.stdout[-800:]}")
        return done.stdout

    def secret(self, name) -> str:
        return (self.folder / "secrets" / f"{name}.txt").read_text().strip()

    def secrets(self) -> dict[str, str]:
        return {file.stem: file.read_text().strip() for file in (self.folder / "secrets").glob("*.txt")}

    def write_secret(self, name, value):
        (self.folder / "secrets" / f"{name}.txt").write_text(value + "\n")

    # What a visitor sees.

    def curl(self, path="/", *options, port=443, check=True):
        """Fetches a page; `port` is the one in the address, which a forwarder would listen on."""
        address = f"https://{self.domain}{'' if port == 443 else f':{port}'}{path}"
        return output("curl", "-sS", "--insecure", "--max-time", "60", "--connect-to", f"::127.0.0.1:443", *options, address,
                      check=check)

    def status(self, path="/", *options) -> int:
        return int(self.curl(path, "--output", "/dev/null", "--write-out", "%{http_code}", *options))

    # What an administrator sees in the guest.

    def docker(self, *command, **options):
        return output("docker", *command, **options)

    def inspect(self, container) -> dict:
        return json.loads(self.docker("inspect", container))[0]

    def health(self, container) -> str:
        state = self.inspect(container)["State"]
        return state.get("Health", {}).get("Status", "") if state["Running"] else "down"

    def all_healthy(self, services=None) -> bool:
        return all(self.health(service) == "healthy" for service in services or SERVICES)

    def main_process(self, container) -> int:
        """The container's PID 1, as the host numbers it; 0 if it is not running."""
        return self.inspect(container)["State"]["Pid"]

    def sql(self, statement, user="root", password=None) -> list[str]:
        """Rows that a statement in the site's database gives, logged in inside the mariadb container."""
        environment = os.environ | {"MYSQL_PWD": self.secret("db_root_password") if password is None else password}
        done = subprocess.run(["docker", "exec", "--env", "MYSQL_PWD", "mariadb", "mariadb", f"--user={user}", "--batch",
                               "--skip-column-names", "--execute", statement, "wordpress"],
                              env=environment, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise PermissionError(done.stderr)
        return done.stdout.splitlines()

    def comments(self) -> list[str]:
        return self.sql("SELECT comment_content FROM wp_comments")

    def describe(self) -> str:
        """The state of everything, for the log of a failure."""
        parts = [self.docker("ps", "--all", check=False)]
        for service in re.findall(r"(\S+)$", parts[0], re.MULTILINE)[1:]:
            parts.append(f"-- {service}\n" + self.docker("logs", "--tail", "30", service, check=False))
        return "\n".join(parts)
