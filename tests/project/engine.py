"""The Docker engine that the tests run, with a registry that stands in for Docker Hub."""

import subprocess
import time
from pathlib import Path

REGISTRY_PORT = 5000


class Engine:
    """Ends with the sandbox at the latest."""

    def __init__(self, work: Path, registry_script: Path, images: Path, group: str, log: Path):
        self.work = work
        self.group = group
        self.log = log
        self.daemon = None
        self.registry = subprocess.Popen([registry_script, "serve", images, str(REGISTRY_PORT)],
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self):
        with self.log.open("a") as log:
            self.daemon = subprocess.Popen(
                ["dockerd", "--data-root", self.work / "docker", "--exec-root", "/run/docker", "--pidfile", "/run/docker.pid",
                 "--host", "unix:///run/docker.sock", "--group", self.group,
                 "--registry-mirror", f"http://127.0.0.1:{REGISTRY_PORT}", "--insecure-registry", f"127.0.0.1:{REGISTRY_PORT}"],
                stdout=log, stderr=log)
        end = time.monotonic() + 60
        while subprocess.run(["docker", "info"], capture_output=True).returncode != 0:
            if self.daemon.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the engine does not start:\n" + "".join(self.log.read_text().splitlines(True)[-15:]))
            time.sleep(0.2)

    def stop(self):
        self.daemon.terminate()
        # Longer than a container's time to stop, so that one that does not hear is not the end of the engine.
        self.daemon.wait(timeout=120)

    def restart(self):
        """What a reboot is for the containers."""
        self.stop()
        self.start()
