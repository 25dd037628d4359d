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
    """A clone beside the site's, in which nothing was made yet."""
    clone = Site(site.login, site.source, site.artefacts, site.engine)
    clone.folder = Path("/home", site.login, "fresh")
    clone.clone()
    try:
        yield clone
    finally:
        shutil.rmtree(clone.folder)


def settings(clone, **variables):
    """Runs the checks as make does, for LOGIN: what the first steps of make print, and whether they succeed."""
    setting = " ".join(f"{name}={value}" for name, value in variables.items())
    done = subprocess.run(["su", "--login", clone.login, "--command", f"cd {clone.folder} && {setting} make settings"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    return done.returncode == 0, done.stdout


@test
def data_of_root(site):
    """A data folder of root's is good if both folders are in it; else make names the command that helps."""
    kept = site.data.with_name("data.kept")
    site.data.rename(kept)
    try:
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
    finally:
        shutil.rmtree(site.data)
        kept.rename(site.data)
