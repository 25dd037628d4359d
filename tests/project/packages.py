"""What the tests need from Debian: packages of this machine, and the engine that the guests have."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

# Command that shows a package is there: package.
PACKAGES = {
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "curl": "curl",
    "docker-registry": "docker-registry",
    "git": "git",
    "ip": "iproute2",
    "iptables": "iptables",
    "make": "make",
    "mmdebstrap": "mmdebstrap",
    "openssl": "openssl",
    "ps": "procps",
    "runc": "runc",
    "shellcheck": "shellcheck",
    "skopeo": "skopeo",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
    "slirp4netns": "slirp4netns",
    "/usr/lib/python3/dist-packages/yaml/__init__.py": "python3-yaml",
    "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
}

BROWSER = ("chromium", "chromedriver")
MIRROR = Path(__file__).resolve().parents[1] / "support/mirror"

# Debian 12 has no engine with compose 2, so Debian 13's is used, unpacked to a folder of its own: what a
# guest gets, too. Its programs need no newer library than Debian 12 has, except runc, which is Debian 12's.
ENGINE_SUITE = "trixie"
ENGINE_PACKAGES = ["docker.io", "docker-cli", "docker-compose", "docker-buildx", "containerd"]


def install_missing():
    """Installs the packages that are missing; needs root."""
    missing = [package for command, package in PACKAGES.items() if not is_there(command)]
    if not missing:
        return
    print("installing:", " ".join(missing), flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    wait = ["-o", "DPkg::Lock::Timeout=600"]
    subprocess.run(["apt-get", "-qq", *wait, "update"], check=True, env=environment)
    for command in BROWSER:
        if PACKAGES[command] in missing and not is_real(PACKAGES[command]):
            sys.exit(f"error: this system has no package of {PACKAGES[command]}, or one that only leads to a snap, which does not "
                     "run in the tests' name spaces\n"
                     "hint: put Chromium (or Chrome) and its driver there as /usr/bin/chromium and /usr/bin/chromedriver, "
                     "or run these tests on Debian")
    subprocess.run(["apt-get", "-qq", *wait, "install", "-y", "--no-install-recommends", *missing],
                   check=True, env=environment, stdout=subprocess.DEVNULL)


def is_there(command):
    """Whether a command, or a file, is there; a snap does not count."""
    found = shutil.which(command) or (command if Path(command).is_file() else None)
    return found is not None and os.path.basename(os.path.realpath(found)) != "snap"


def is_real(package):
    """Whether apt has the package itself: Ubuntu's packages of Chromium only install a snap."""
    policy = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True).stdout
    candidate = re.search(r"^  Candidate: (\S+)", policy, re.MULTILINE)
    return bool(candidate) and candidate[1] != "(none)" and "snap" not in candidate[1]


def hand_back(*paths: Path):
    """Gives what root made to the user who called sudo, if one did."""
    owner, group = (int(os.environ.get(name, 0)) for name in ("SUDO_UID", "SUDO_GID"))
    for path in paths:
        if owner and path.lstat().st_uid == 0:
            os.chown(path, owner, group, follow_symlinks=False)


def debian_mirror():
    """The address of a Debian mirror: DEBIAN_MIRROR, else the one that this machine's apt uses."""
    found = subprocess.run([MIRROR], stdout=subprocess.PIPE, text=True)
    if found.returncode != 0:
        # It has said why.
        sys.exit(found.returncode)
    return found.stdout.strip()


def fetch_engine(folder: Path):
    """Unpacks the engine below `folder`, unless it is there."""
    if folder.exists():
        return
    print(f"fetching Docker's engine of Debian's {ENGINE_SUITE}", flush=True)
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    apt = new / "apt"
    for name in ("lists/partial", "cache/archives/partial", "debs"):
        (apt / name).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(
        f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {debian_mirror()} {ENGINE_SUITE} main\n")
    options = []
    for option in (f"Dir::State={apt}", f"Dir::State::lists={apt}/lists", f"Dir::State::status={apt}/status",
                   f"Dir::Cache={apt}/cache", f"Dir::Etc::sourcelist={apt}/sources.list", "Dir::Etc::sourceparts=/dev/null",
                   "Acquire::Languages=none", "APT::Sandbox::User=root"):
        options += ["-o", option]
    subprocess.run(["apt-get", "-qq", *options, "update"], check=True)
    subprocess.run(["apt-get", "-qq", *options, "download", *ENGINE_PACKAGES], check=True, cwd=apt / "debs")
    for package in (apt / "debs").iterdir():
        subprocess.run(["dpkg-deb", "--extract", package, new], check=True)
    shutil.rmtree(apt)
    new.rename(folder)


def fill_registry(script: Path, folder: Path):
    """Fills the stand-in for Docker Hub with debian:bookworm, unless it is."""
    if (folder / "registry/docker/registry/v2/repositories/library/debian/_manifests/tags/bookworm").exists():
        return
    print("filling the stand-in for Docker Hub", flush=True)
    subprocess.run([script, "fill", folder, "bookworm"], check=True, stdout=subprocess.DEVNULL)
