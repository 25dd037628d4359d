"""The evaluation's last step: a service's port is changed, all is built again and still works."""

import re
import time

from harness import check, check_equal, test, wait_until
from site_under_test import output

CHANGES = [
    ("srcs/docker-compose.yml", r'"443:443"', '"8443:4443"'),
    ("srcs/requirements/nginx/conf/nginx.conf", r"listen 443 ", "listen 4443 "),
    ("srcs/docker-compose.yml", r"FPM_PORT: 9000", "FPM_PORT: 9009"),
    ("srcs/docker-compose.yml", r"DB_PORT: 3306", "DB_PORT: 3309"),
]


def listening(site, service) -> set[int]:
    """Ports that processes of a container listen on, beyond its loopback's."""
    tables = output("cat", *(f"/proc/{site.main_process(service)}/net/{name}" for name in ("tcp", "tcp6")))
    return {int(port, 16) for port in re.findall(r": (?:0{8}|0{32}):(\w{4}) \S+ 0A", tables)}


@test
def ports_can_change(site):
    """nginx's ports, php-fpm's and MariaDB's are changed, each in its place: make, and the site works."""
    before = {file: (site.folder / file).read_text() for file, *_ in CHANGES}
    try:
        for file, pattern, replacement in CHANGES:
            text, count = re.subn(pattern, replacement, (site.folder / file).read_text())
            check_equal(count, 1, f"places of {pattern}")
            (site.folder / file).write_text(text)
        begin = time.monotonic()
        log = site.make()
        seconds = time.monotonic() - begin
        check(site.all_healthy(), "not all are healthy")
        check(f"https://{site.domain}:8443" in log, "make does not say the new port")
        for service, port in (("nginx", 4443), ("wordpress", 9009), ("mariadb", 3309)):
            check_equal(listening(site, service), {port}, f"ports of {service}")
        site.sql("UPDATE wp_options SET option_value = '' WHERE option_name = 'cron'")
        ask = ["curl", "-sS", "--insecure", "--connect-to", "::127.0.0.1:8443", f"https://{site.domain}:8443/hello-world/"]
        page = output(*ask)
        check("Inception" in page and f"{site.domain}:8443" in page, page[:300])
        # A view finds what is due, and has the site call itself.
        wait_until(lambda: output(*ask) and "wp-cron.php" in site.docker("logs", "nginx"), "the scheduler reaches the site")
    finally:
        for file, text in before.items():
            (site.folder / file).write_text(text)
        site.make()
    check_equal(site.status("/"), 200, "the site at its old port")
    return f"{seconds:.0f} s"
