"""What an administrator finds in the machine: rules 6, 8, 9, 10, 11, 13 and how the containers are closed in."""

import json
import re
import subprocess

from harness import Failure, check, check_equal, test
from site_under_test import SERVICES, output

MAIN = {"nginx": "nginx", "wordpress": "php-fpm8.2", "mariadb": "mariadbd"}


@test
def services_are_pid_1(site):
    """PID 1 of each container is the service, and nothing else but its own processes run."""
    for service, program in MAIN.items():
        check_equal(output("cat", f"/proc/{site.main_process(service)}/comm").strip(), program, f"PID 1 of {service}")
        commands = site.docker("top", service, "-o", "pid,comm").split()[3::2]
        check_equal(set(commands), {program}, f"processes of {service}")


@test
def web_server_is_alone(site):
    """No image but nginx's holds a web server."""
    for service in ("wordpress", "mariadb"):
        found = site.docker("exec", service, "sh", "-c", "command -v nginx apache2 httpd lighttpd", check=False)
        check_equal(found.strip(), "", f"web servers of {service}")


@test
def containers_are_closed_in(site):
    """Containers run without root and capabilities, on read-only file systems, without new privileges."""
    for service in SERVICES:
        found = site.inspect(service)
        host = found["HostConfig"]
        check(host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["CapAdd"], f"{service}: {host['CapDrop']}")
        check("no-new-privileges:true" in host["SecurityOpt"], f"{service} may gain privileges")
        check_equal(host["RestartPolicy"]["Name"], "unless-stopped", f"restart of {service}")
        status = output("cat", f"/proc/{site.main_process(service)}/status")
        check(re.search(r"^Uid:\s+(?!0\b)\d+", status, re.MULTILINE), f"{service} runs as root")
        check_equal(re.search(r"^CapEff:\s+(\S+)", status, re.MULTILINE).group(1), "0" * 16, f"capabilities of {service}")
        denied = subprocess.run(["docker", "exec", service, "touch", "/usr/x"], capture_output=True, text=True)
        check("Read-only file system" in denied.stderr, f"{service} can write /usr")


@test
def volumes_are_in_home(site):
    """Both volumes are named ones below /home/LOGIN/data, and belong to LOGIN."""
    for name in ("mariadb", "wordpress"):
        volume = json.loads(site.docker("volume", "inspect", f"inception_{name}"))[0]
        check_equal(volume["Options"]["device"], f"/home/{site.login}/data/{name}", f"place of {name}")
    check((site.data / "wordpress/wp-load.php").is_file() and (site.data / "mariadb/data/wordpress").is_dir(), "the data is elsewhere")
    strangers = output("find", site.data, "!", "-user", site.login)
    check_equal(strangers, "", "files of others")
    for service in SERVICES:
        binds = [mount for mount in site.inspect(service)["Mounts"] if mount["Type"] == "bind" and "/run/secrets/" not in mount["Destination"]]
        check_equal(binds, [], f"binds of {service}")


@test
def network_is_declared(site):
    """All containers are on one bridge network of the project's own."""
    for service in SERVICES:
        check_equal(list(site.inspect(service)["NetworkSettings"]["Networks"]), ["inception_inception"], f"networks of {service}")
    check_equal(json.loads(site.docker("network", "inspect", "inception_inception"))[0]["Driver"], "bridge", "driver")


def two_users(site):
    """Fails unless there is one administrator, without admin in the name, and one other user."""
    rows = [row.split("\t") for row in site.sql(
        "SELECT user_login, meta_value FROM wp_users JOIN wp_usermeta ON ID = user_id WHERE meta_key = 'wp_capabilities'")]
    administrators = [login for login, role in rows if "administrator" in role]
    check(len(rows) >= 2 and len(administrators) == 1, f"users are {rows}")
    check("admin" not in administrators[0].lower(), f"the administrator is called {administrators[0]}")
    check(any('"author"' in role for _, role in rows), f"no author in {rows}")


def must_fail(check_function, site, what):
    try:
        check_function(site)
    except Failure:
        return
    raise Failure(f"the check does not see that {what}")


@test
def users(site):
    """Both users are in the database; the check sees an administrator called admin, and one user alone."""
    two_users(site)
    site.sql("UPDATE wp_users SET user_login = 'siteAdmin' WHERE user_login = 'keeper'")
    must_fail(two_users, site, "the administrator is called siteAdmin")
    site.sql("UPDATE wp_users SET user_login = 'keeper' WHERE user_login = 'siteAdmin'")
    site.sql("UPDATE wp_users SET ID = 99 WHERE user_login = 'writer'")
    must_fail(two_users, site, "the author has no role")
    site.sql("UPDATE wp_users SET ID = 2 WHERE user_login = 'writer'")
    two_users(site)


def root_needs_password(site):
    """Fails if root gets into the database without a password, or by one that is wrong."""
    for password in ("", "wrong"):
        for way in ([], ["--host=127.0.0.1"], ["--host=::1"]):
            done = subprocess.run(["docker", "exec", "--env", f"MYSQL_PWD={password}", "mariadb", "mariadb", "--user=root", *way,
                                   "--execute=SELECT 1"], capture_output=True, text=True)
            check(done.returncode != 0, f"root gets in with the password '{password}' {way}")
    check(len(site.sql("SHOW TABLES")) >= 12, "the database is empty")


@test
def root_is_refused(site):
    """root without a password is refused; the check sees one that has none."""
    root_needs_password(site)
    site.sql("ALTER USER root@localhost IDENTIFIED BY ''")
    must_fail(root_needs_password, site, "root has no password")
    password = site.secret("db_root_password")
    site.sql(f"ALTER USER root@localhost IDENTIFIED BY '{password}'", password="")
    root_needs_password(site)


@test
def secrets_stay_secret(site):
    """No secret is in an image, its history, a container's configuration, a process's arguments or a log."""
    secrets_are_nowhere(site, SERVICES)


def secrets_are_nowhere(site, services):
    values = site.secrets()
    values["tls"] = (site.folder / "secrets/tls.pem").read_text().splitlines()[1]
    places = {}
    for service in services:
        places[f"history of {service}"] = site.docker("history", "--no-trunc", f"{service}:inception")
        places[f"configuration of {service}"] = site.docker("inspect", service, f"{service}:inception")
        places[f"log of {service}"] = site.docker("logs", service)
        places[f"arguments in {service}"] = site.docker("top", service, "-o", "pid,args")
    places["make"] = (site.artefacts / "make.log").read_text()
    for place, text in places.items():
        for name, value in values.items():
            check(value not in text, f"{name} is in the {place}")
    check(images_hold(services, [value.encode() for value in values.values()]) is None, "a secret is in an image")
    check(images_hold(["wordpress"], [b"wp-includes/version.php"]) is not None, "the search in images finds nothing at all")


def images_hold(services, needles) -> bytes | None:
    """The first of some byte strings in the layers of the images."""
    saved = subprocess.Popen(["docker", "save", *(f"{service}:inception" for service in services)], stdout=subprocess.PIPE)
    pattern = re.compile(b"|".join(map(re.escape, needles)))
    tail, found = b"", None
    while chunk := saved.stdout.read(1 << 22):
        found = found or pattern.search(tail + chunk)
        tail = chunk[-200:]
    saved.wait()
    return found and found.group(0)
