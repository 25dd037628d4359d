"""What make does before it starts anything, in a clone of its own: who it works for, and what it refuses."""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

from harness import check, check_equal, test
from site_under_test import Site, output


@contextmanager
def fresh_clone(site):
    """A clone beside the site's, in which nothing was made yet; the site's data is out of its way."""
    kept = site.data.with_name("data.kept")
    site.data.rename(kept)
    clone = Site(site.login, site.source, site.artefacts, site.engine)
    clone.folder = Path("/home", site.login, "fresh")
    clone.clone()
    try:
        yield clone
    finally:
        shutil.rmtree(clone.folder)
        shutil.rmtree(site.data, ignore_errors=True)
        kept.rename(site.data)


def settings(clone, **variables):
    """Runs the checks as make does, for LOGIN: what the first steps of make print, and whether they succeed."""
    setting = " ".join(f"{name}={value}" for name, value in variables.items())
    done = subprocess.run(["su", "--login", clone.login, "--command", f"cd {clone.folder} && {setting} make settings"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    return done.returncode == 0, done.stdout


def as_root(clone, *words, **variables):
    """The same, run by root."""
    done = subprocess.run(["make", "--directory", clone.folder, *(words or ["settings"])], env={"PATH": os.environ["PATH"],
                          "DOCKER_CONFIG": os.environ["DOCKER_CONFIG"], "HOME": "/root"} | variables,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    return done.returncode == 0, done.stdout


@test
def not_the_site_of_root(site):
    """sudo make works for who called sudo, root needs a LOGIN, and nothing is made where it is refused."""
    with fresh_clone(site) as clone:
        for variables in ({}, {"SUDO_USER": "root"}):
            good, text = as_root(clone, **variables)
            check(not good and "make LOGIN=you" in text, text)
            check(not (clone.folder / "srcs/.env").exists() and not (clone.folder / "secrets").exists(), "something was made")
        for words, variables in (([], {"SUDO_USER": site.login}), (["settings", f"LOGIN={site.login}"], {})):
            good, text = as_root(clone, *words, **variables)
            check(good, text)
            check(f"LOGIN={site.login}\n" in (clone.folder / "srcs/.env").read_text(), "another LOGIN")
            strangers = output("find", clone.folder, site.data, "!", "-user", site.login)
            check_equal(strangers, "", "files of root's")
            (clone.folder / "srcs/.env").unlink()
            shutil.rmtree(clone.folder / "secrets")
        # sudo -u LOGIN make: who called sudo is somebody else.
        check(settings(clone, SUDO_USER="somebody")[0], "as LOGIN by sudo")
        check(f"LOGIN={site.login}\n" in (clone.folder / "srcs/.env").read_text(), "another LOGIN")


@test
def engine_that_does_not_do(site):
    """make says what is wrong with an engine that does not answer, is rootless or maps users, or lacks buildx."""
    with fresh_clone(site) as clone:
        shims = clone.folder / "shims"
        shims.mkdir()
        for script, expected in (
            ('[ "$1" != info ] || echo "[name=seccomp name=rootless]"', "runs rootless"),
            ('[ "$1" != info ] || echo "[name=userns]"', "maps users"),
            ('[ "$1" != info ] || { echo "permission denied while trying to connect"; exit 1; }', "does not answer: permission denied"),
            ('[ "$1" != buildx ]', "buildx is missing"),
        ):
            for name, text in (("docker", script), ("docker-compose", "exit 1")):
                (shims / name).write_text(f"#!/bin/sh\n{text}\n")
                (shims / name).chmod(0o755)
            good, text = settings(clone, PATH=f"{shims}:$PATH")
            check(not good and expected in text and "hint: " in text, text)
        check(settings(clone)[0], "the real engine")


@test
def unreadable_secrets(site):
    """A secret that the services could not read is refused, and mariadb itself takes no empty or missing password."""
    with fresh_clone(site) as clone:
        check(settings(clone)[0], "settings of a fresh clone")
        for name in ("db_root_password.txt", "wp_keys.txt", "tls.pem"):
            file = clone.folder / "secrets" / name
            file.touch()
            os.chown(file, 0, 0)
            file.chmod(0o600)
            for command in ("su", "root"):
                good, text = settings(clone) if command == "su" else as_root(clone)
                check(not good and f"cannot read secrets/{name}" in text and "sudo chown" in text, f"{command}:\n{text}")
            shutil.chown(file, site.login, site.login)
            if name == "tls.pem":
                file.unlink()
    site.docker("stop", "mariadb")
    before = (site.data / "mariadb/data/passwords.sha256").read_text()
    good = site.folder / "secrets/db_root_password.txt"
    for text, mode, expected in (("\n", 0o600, "is empty"), ("x\n", 0o000, "Permission denied")):
        bad = site.data / "bad"
        bad.write_text(text)
        bad.chmod(mode)
        shutil.chown(bad, site.login, site.login)
        for folder, word in ((site.data / "mariadb", "passwords"), (site.data / "nothing", "")):
            folder.mkdir(exist_ok=True)
            shutil.chown(folder, site.login, site.login)
            done = subprocess.run(["docker", "run", "--rm", "--user", f"{os.stat(good).st_uid}", "--env", "DB_USER=wordpress",
                                   "--env", "DB_NAME=wordpress", "--env", "DB_PORT=3306", "--tmpfs", "/run/mysqld:mode=1777", "--volume", f"{folder}:/var/lib/mysql",
                                   "--volume", f"{bad}:/run/secrets/db_root_password", "--volume", f"{bad}:/run/secrets/db_password",
                                   "mariadb:inception", *word.split()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, timeout=60)
            check(done.returncode != 0 and expected in done.stdout, f"{word}: {done.returncode}\n{done.stdout[-800:]}")
        check_equal(os.listdir(site.data / "nothing"), [], "made with a bad password")
        (site.data / "nothing").rmdir()
        bad.unlink()
    check_equal((site.data / "mariadb/data/passwords.sha256").read_text(), before, "record of the passwords")
    site.make()
    check_equal(site.sql("SELECT 1"), ["1"], "root's password")


@test
def data_of_root(site):
    """A data folder of root's is good if both folders are in it; else make names the command that helps."""
    with fresh_clone(site) as clone:
        site.data.mkdir(mode=0o755)
        good, text = settings(clone)
        check(not good and f"sudo chown {site.login}: {site.data}" in text, text)
        for name in ("mariadb", "wordpress"):
            (site.data / name).mkdir()
            shutil.chown(site.data / name, site.login, site.login)
        good, text = settings(clone)
        check(good, text)
        shutil.chown(site.data / "mariadb", "root", "root")
        good, text = settings(clone)
        check(not good and f"sudo chown -R {site.login}: {site.data}/mariadb" in text, text)
