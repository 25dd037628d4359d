"""A place to run the tests in that leaves nothing on the machine.

The tests run in name spaces of their own: processes, mounts, network. The engine, its containers and the
browser are processes in there, so they all end with the first of them, whatever ends it. The engine's
bridges and firewall rules belong to the own network, which reaches the outside through slirp4netns; its
published ports can collide with nothing. /etc, /home and /run are private, so a user can be made.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

UNSHARE = ["unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"]
NAME_SERVER = "10.0.2.3"  # slirp4netns's own, which asks the host's


def run_inside(command, work: Path) -> int:
    """Runs `command` in a new sandbox whose files are in `work`, which is deleted; the exit code."""
    remove(work)
    work.mkdir(parents=True)
    entered_r, entered_w = os.pipe()
    network_r, network_w = os.pipe()
    ready_r, ready_w = os.pipe()
    alive_r, alive_w = os.pipe()
    shell = f"echo > /dev/fd/{entered_w}; read -r _ < /dev/fd/{network_r}; exec \"$@\""
    inside = subprocess.Popen([*UNSHARE, "bash", "-c", shell, "bash", *command], pass_fds=(entered_w, network_r),
                              preexec_fn=die_with_parent)
    os.close(entered_w)
    os.read(entered_r, 1)
    network = subprocess.Popen(
        ["slirp4netns", "--configure", "--mtu=65520", "--netns-type=path", f"--ready-fd={ready_w}", f"--exit-fd={alive_r}",
         f"/proc/{inside.pid}/ns/net", "tap0"], pass_fds=(ready_w, alive_r), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(ready_w)
    os.read(ready_r, 1)
    os.write(network_w, b"\n")
    try:
        return inside.wait()
    finally:
        inside.kill()
        inside.wait()
        os.close(alive_w)
        network.wait()
        remove(work)


def die_with_parent():
    """Has the kernel kill this process when the one that started it ends, even by SIGKILL."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def remove(folder: Path):
    """Deletes what an earlier run left; a mount cannot be left, it ended with its name space."""
    if folder.exists():
        shutil.rmtree(folder)


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def prepare(work: Path, engine: Path):
    """Makes the sandbox's private folders; runs inside."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    kind = subprocess.run(["stat", "--file-system", "--format", "%T", work], check=True, capture_output=True, text=True).stdout
    if kind.strip() == "overlayfs":
        # Inside a container: there is no overlay on an overlay.
        mount("-t", "tmpfs", "tmpfs", work)
    for name in ("etc", "etc.work", "home", "docker"):
        (work / name).mkdir()
    work.chmod(0o711)
    mount("-t", "overlay", "overlay", "-o", f"lowerdir=/etc,upperdir={work}/etc,workdir={work}/etc.work", "/etc")
    mount("--bind", work / "home", "/home")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    Path("/etc/resolv.conf").unlink(missing_ok=True)
    Path("/etc/resolv.conf").write_text(f"nameserver {NAME_SERVER}\n")
    os.mkdir("/run/engine")
    mount("--bind", engine, "/run/engine")
    os.environ["PATH"] = "/run/engine/usr/bin:/run/engine/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


def add_user(login: str):
    """Makes the user whose login the project is built with, able to use the engine."""
    # The sandbox's /etc may have one of this machine.
    subprocess.run(["userdel", "--force", login], stderr=subprocess.DEVNULL)
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", login], check=True, stdout=subprocess.DEVNULL)
    home = Path("/home", login)
    (home / ".profile").write_text("PATH=/run/engine/usr/bin:/usr/bin:/bin\n")
    plugins = home / ".docker/cli-plugins"
    plugins.mkdir(parents=True)
    for plugin in Path("/run/engine/usr/libexec/docker/cli-plugins").iterdir():
        (plugins / plugin.name).symlink_to(plugin)
    subprocess.run(["chown", "--recursive", f"{login}:", home], check=True)
    root_plugins = Path("/run/docker-config/cli-plugins")
    if not root_plugins.exists():
        shutil.copytree(plugins, root_plugins, symlinks=True)
    os.environ["DOCKER_CONFIG"] = str(root_plugins.parent)


def require_root():
    if os.geteuid() != 0:
        sys.exit("error: these tests start a Docker engine of their own and need root\nhint: sudo tests/project/run")
