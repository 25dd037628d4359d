"""The site as a visitor's programs see it: rules 7, 11 and 12 from outside."""

import http.client
import re
import socket
import ssl
import statistics
import subprocess
import threading
import time
from pathlib import Path

from harness import check, check_equal, test
from site_under_test import output

VIEWS = 1000
CONCURRENCY = 16


@test
def front_page(site):
    """The site is WordPress, over HTTP/2, with the title of srcs/.env."""
    page = site.curl("/")
    check("<title>Inception" in page and "wp-content/themes" in page, page[:300])
    check(f'content="WordPress' in page, "no generator")
    check_equal(site.curl("/", "--output", "/dev/null", "--write-out", "%{http_version}"), "2", "HTTP version")
    check_equal(site.status("/hello-world/"), 200, "a post by its pretty address")
    check_equal(site.status("/there-is-no-such-page/"), 404, "an address without page")


@test
def installation_is_closed(site):
    """There is no installation page, and nothing private is served."""
    for path in ("/wp-admin/install.php", "/wp-admin/setup-config.php", "/wp-config.php", "/.installed-release", "/readme.html",
                 "/xmlrpc.php", "/wp-content/uploads/x.php"):
        check_equal(site.status(path), 404, path)


@test
def tls(site):
    """TLS 1.2 and 1.3 are spoken, 1.1 and 1.0 are not; the certificate is the domain's."""
    for option, works in (("-tls1_3", True), ("-tls1_2", True), ("-tls1_1", False), ("-tls1", False)):
        # At security level 0 this client would speak the old versions: it is the server that refuses.
        done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:443", "-servername", site.domain, option,
                               "-cipher", "ALL:@SECLEVEL=0"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        check_equal(done.returncode == 0, works, f"handshake with {option}")
    certificate = ssl.get_server_certificate(("127.0.0.1", 443))
    check_equal(certificate.split("-----")[2], (site.folder / "secrets/tls.pem").read_text().split("CERTIFICATE-----")[1].split("-----")[0],
                "the certificate served")
    text = subprocess.run(["openssl", "x509", "-noout", "-text", "-fingerprint", "-sha256"], input=certificate,
                          capture_output=True, text=True, check=True).stdout
    check(f"DNS:{site.domain}" in text, "the certificate is for another name")
    fingerprint = re.search(r"Fingerprint=(\S+)", text).group(1)
    check(fingerprint in site.make("status"), "make status shows another fingerprint")


def handshake(site, *options) -> bool:
    """Whether a client with some options gets a connection; at security level 0 it would speak anything itself."""
    return subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:443", "-servername", site.domain, *options],
                          stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


@test
def other_certificate(site):
    """An RSA certificate in tls.pem is kept and works with TLS 1.2 and 1.3; ciphers without forward secrecy are refused."""
    file = site.folder / "secrets/tls.pem"
    own = file.read_text()
    made = output("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "90", "-subj", "/CN=some authority",
                  "-addext", f"subjectAltName=DNS:{site.domain}", "-keyout", "-", "-out", "-")
    made = made[made.index("-----BEGIN"):]
    try:
        file.write_text(made)
        site.docker("restart", "nginx")
        site.make()
        check_equal(file.read_text(), made, "the other certificate")
        for kind in ("RSA", "ECDSA"):
            if kind == "ECDSA":
                file.write_text(own)
                site.docker("restart", "nginx")
                site.make()
            check(handshake(site, "-tls1_2") and handshake(site, "-tls1_3"), f"no connection with {kind}")
            for weak in ("AES128-GCM-SHA256", "AES128-SHA", "ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA", "DHE-RSA-AES128-GCM-SHA256",
                         "aNULL", "eNULL", "3DES"):
                check(not handshake(site, "-tls1_2", "-cipher", f"{weak}:@SECLEVEL=0"), f"{weak} is taken with {kind}")
    finally:
        file.write_text(own)
        site.docker("restart", "nginx")
    site.make()


@test
def certificate_is_renewed(site):
    """A certificate of make's own that expires soon, or is for another name, is made anew; another's is reported."""
    file = site.folder / "secrets/tls.pem"
    for days, name, issuer in ((20, site.domain, None), (90, "other.42.fr", None), (20, site.domain, "elsewhere")):
        made = output("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(days),
                      "-subj", f"/CN={issuer or name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", "-", "-out", "-")
        made = made[made.index("-----BEGIN"):]
        file.write_text(made)
        log = site.make()
        check_equal(file.read_text() == made, issuer is not None, f"{name} is left alone")
        check(("warning: " if issuer else "made secrets/tls.pem") in log, log[-800:])
        if not issuer:
            served = ssl.get_server_certificate(("127.0.0.1", 443))
            check(served.split("-----")[2] in file.read_text(), "the certificate served is not the new one")
    file.unlink()
    site.make()
    check("Fingerprint" in site.make("status") and site.status("/") == 200, "the site")


def open_ports():
    """Ports that something listens on in this network, beyond the tests' own on the loopback."""
    lines = output("ss", "-Hltn").splitlines()
    return {int(line.split()[3].rsplit(":", 1)[1]) for line in lines if not line.split()[3].startswith("127.")}


def refuses(port) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


@test
def only_443(site):
    """443 is the only open port; port 80 is refused, and a container that opened it would be seen."""
    check(refuses(80), "port 80 answers")
    check_equal(open_ports(), {443}, "open ports")
    site.docker("run", "--detach", "--name", "intruder", "--publish", "80:80", "--entrypoint", "sh", "nginx:inception", "-c",
                "printf 'events {} http { server { listen 80; } }' > /tmp/c && nginx -c /tmp/c -g 'daemon off;'")
    try:
        check(not refuses(80) and open_ports() == {80, 443}, "the intruder on port 80 is not seen")
    finally:
        site.docker("rm", "--force", "intruder")


@test
def forwarded_port(site):
    """Reached through a forwarded port, every link keeps that port, and redirections too."""
    page = site.curl("/", port=8443)
    hosts = set(re.findall(rf"https?://{re.escape(site.domain)}(?::\d+)?", page))
    check_equal(hosts, {f"https://{site.domain}:8443"}, "addresses of the site in its page")
    target = site.curl("/wp-admin/", "--output", "/dev/null", "--write-out", "%{redirect_url}", port=8443)
    check(target.startswith(f"https://{site.domain}:8443/wp-login.php"), f"/wp-admin/ leads to {target}")
    foreign = site.curl("/", "--header", "Host: evil.example")
    check("evil.example" not in foreign, "a foreign host name gets into the page")


@test
def name_resolves(site):
    """The name leads to this machine where /etc/hosts says so, and make status says it if not."""
    check(f"add to /etc/hosts: 127.0.0.1 {site.domain}" in site.make("status"), "no hint without an entry")
    before = Path("/etc/hosts").read_text()
    Path("/etc/hosts").write_text(f"{before}192.0.2.7 {site.domain}\n")
    check("leads to 192.0.2.7" in site.make("status"), "no hint with another machine's address")
    Path("/etc/hosts").write_text(before)
    with open("/etc/hosts", "a") as hosts:
        hosts.write(f"127.0.0.1 {site.domain}\n")
    check("/etc/hosts" not in site.make("status"), "still a hint with an entry")
    check_equal(socket.gethostbyname(site.domain), "127.0.0.1", site.domain)


def fetch_pages(domain, count, times, errors):
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection("127.0.0.1", 443, context=context, timeout=120)
    for _ in range(count):
        begin = time.monotonic()
        try:
            connection.request("GET", "/", headers={"Host": domain})
            response = connection.getresponse()
            if response.status != 200 or b"Inception" not in response.read():
                errors.append(response.status)
        except (OSError, http.client.HTTPException) as error:
            errors.append(error)
            return
        times.append(time.monotonic() - begin)


@test
def load(site):
    """1,000 page views, 16 at a time, without an error."""
    times, errors = [], []
    shares = [VIEWS // CONCURRENCY + (number < VIEWS % CONCURRENCY) for number in range(CONCURRENCY)]
    threads = [threading.Thread(target=fetch_pages, args=(site.domain, share, times, errors)) for share in shares]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - begin
    check_equal(len(times), VIEWS, "page views")
    check_equal(errors, [], "errors")
    cuts = statistics.quantiles(times, n=100)
    return f"{VIEWS / seconds:.0f} a second, half within {cuts[49] * 1000:.0f} ms, 99 % within {cuts[98] * 1000:.0f} ms"
