"""Headless Chromium, driven over the WebDriver protocol (https://www.w3.org/TR/webdriver2/)."""

import base64
import json
import re
import subprocess
import tempfile
import urllib.request
from pathlib import Path

from harness import wait_until

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1200,1000", "--lang=en",
         "--host-resolver-rules=MAP *.42.fr 127.0.0.1"]
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's reference, fixed by the standard


class Browser:
    """A browser with a fresh profile; use it in a with statement."""

    def __enter__(self):
        self.profile = tempfile.TemporaryDirectory()
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        port = None
        while port is None:
            line = self.driver.stdout.readline()
            if not line:
                raise RuntimeError("chromedriver does not start")
            found = re.search(r"started successfully on port (\d+)", line)
            port = found and found.group(1)
        self.base = f"http://127.0.0.1:{port}/session"
        session = self.call("POST", "", {"capabilities": {"alwaysMatch": {
            "acceptInsecureCerts": True,
            "goog:chromeOptions": {"args": [*FLAGS, f"--user-data-dir={self.profile.name}"]},
        }}})
        self.base += f"/{session['sessionId']}"
        return self

    def __exit__(self, *_):
        try:
            self.call("DELETE", "")
        finally:
            self.driver.kill()
            self.driver.wait()
            self.profile.cleanup()

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.base + path, method=method, headers={"Content-Type": "application/json"},
                                         data=None if body is None else json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"].splitlines()[0]) from error

    def open(self, address):
        self.call("POST", "/url", {"url": address})

    def address(self) -> str:
        return self.call("GET", "/url")

    def find(self, selector):
        """The element that a CSS selector names, as soon as it is there."""
        found = wait_until(lambda: self.call("POST", "/elements", {"using": "css selector", "value": selector}),
                           f"{selector} on {self.address()}", 30)
        return f"/element/{found[0][ELEMENT]}"

    def type(self, selector, text):
        element = self.find(selector)
        self.call("POST", f"{element}/clear", {})
        self.call("POST", f"{element}/value", {"text": text})

    def click(self, selector):
        self.call("POST", f"{self.find(selector)}/click", {})

    def text(self, selector="body") -> str:
        return self.call("GET", f"{self.find(selector)}/text")

    def run(self, script, *arguments):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def screenshot(self, file: Path):
        file.write_bytes(base64.b64decode(self.call("GET", "/screenshot")))
