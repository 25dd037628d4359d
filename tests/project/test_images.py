"""The WordPress image's build arguments."""

import functools
import hashlib
import http.server
import subprocess
import threading

from harness import check, check_equal, test
from site_under_test import output


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def build(site, sha256, port):
    """Builds from a tarball that a server on this machine has; the exit code and the log."""
    done = subprocess.run(["docker", "build", "--progress", "plain", "--network", "host", "--tag", "wordpress:tarball",
                           "--build-arg", f"WORDPRESS_URL=http://127.0.0.1:{port}/wordpress.tar.gz",
                           "--build-arg", f"WORDPRESS_SHA256={sha256}", site.folder / "srcs/requirements/wordpress"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


@test
def other_release(site):
    """Another release of WordPress can be named by address and SHA-256; another checksum is refused."""
    folder = site.artefacts / "release"
    folder.mkdir(exist_ok=True)
    tarball = folder / "wordpress.tar.gz"
    with tarball.open("wb") as file:
        subprocess.run(["docker", "run", "--rm", "--entrypoint", "sh", "wordpress:inception", "-c",
                        "mkdir -p /tmp/x && cp -r /usr/src/wordpress /tmp/x/ && "
                        "sed -i \"s/^.wp_version = .*/\\$wp_version = '9.9-test';/\" /tmp/x/wordpress/wp-includes/version.php && "
                        "tar -C /tmp/x -cz wordpress"], stdout=file, check=True)
    handler = functools.partial(QuietHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        right = hashlib.sha256(tarball.read_bytes()).hexdigest()
        code, log = build(site, "0" * 64, server.server_port)
        check(code != 0 and "Hash Sum mismatch" in log, f"another checksum was taken:\n{log[-800:]}")
        code, log = build(site, right, server.server_port)
        check_equal(code, 0, f"exit code:\n{log[-800:]}")
        version = output("docker", "run", "--rm", "--entrypoint", "grep", "wordpress:tarball", "9.9-test", "/usr/src/wordpress/wp-includes/version.php")
        check("9.9-test" in version, version)
    finally:
        server.shutdown()
        tarball.unlink()
        folder.rmdir()
