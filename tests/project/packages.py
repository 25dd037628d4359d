"""What the tests need from Debian: packages of this machine, and the engine that the guests have."""

import os
import re
import shutil
import subprocess
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
    "slirp4netns": "slirp4netns",
    "/usr/lib/python3/dist-packages/yaml/__init__.py": "python3-yaml",
    "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
}

# Debian 12 has no engine with compose 2, so Debian 13's is used, unpacked to a folder of its own: what a
# guest gets, too. Its programs need no newer library than Debian 12 has, except runc, which is Debian 12's.
ENGINE_SUITE = "trixie"
ENGINE_PACKAGES = ["docker.io", "docker-cli", "docker-compose", "docker-buildx", "containerd"]


def install_missing():
    """Installs the packages that are missing; needs root."""
    missing = [package for command, package in PACKAGES.items() if not shutil.which(command) and not Path(command).is_file()]
    if not missing:
        return
    print("installing:", " ".join(missing), flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    wait = ["-o", "DPkg::Lock::Timeout=600"]
    subprocess.run(["apt-get", "-qq", *wait, "update"], check=True, env=environment)
    subprocess.run(["apt-get", "-qq", *wait, "install", "-y", "--no-install-recommends", *missing],
                   check=True, env=environment, stdout=subprocess.DEVNULL)


def debian_mirror():
    """The address of the Debian mirror that this machine's apt uses."""
    targets = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages"],
                             check=True, capture_output=True, text=True).stdout
    return re.search(r"^\S+/debian/*$", targets, re.MULTILINE).group(0)


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
