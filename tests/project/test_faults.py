"""Crashes, reboots and interrupted starts: rules 10 and 14."""

import os
import signal
import time

from harness import Failure, check, check_equal, test, wait_until
from site_under_test import SERVICES
from test_people import COMMENT


def comes_back(site, service, seconds=60):
    """Kills a container's PID 1 from outside; fails unless the service is healthy again as another process."""
    before = site.main_process(service)
    check(before > 0, f"{service} is not running")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: site.main_process(service) not in (0, before) and site.health(service) == "healthy",
               f"{service} is healthy again", seconds)


@test
def crash(site):
    """PID 1 of each service is killed and the service comes back; the check sees one that does not."""
    for service in SERVICES:
        comes_back(site, service)
        # The engine counts a container that ran 10 s as started well, and restarts the others ever later.
    wait_until(lambda: site.status("/") == 200, "the site answers")
    site.docker("update", "--restart=no", "wordpress")
    try:
        comes_back(site, "wordpress", 4)
    except Failure:
        pass
    else:
        raise Failure("the check does not see that wordpress stays down")
    site.docker("update", "--restart=unless-stopped", "wordpress")
    site.docker("start", "wordpress")
    wait_until(lambda: site.health("wordpress") == "healthy", "wordpress is healthy")


@test
def clean_stop(site):
    """Each service ends within 10 s of SIGTERM with exit code 0."""
    for service in SERVICES:
        begin = time.monotonic()
        site.docker("stop", "--time", "30", service)
        seconds = time.monotonic() - begin
        check(seconds < 10, f"{service} took {seconds:.1f} s")
        check_equal(site.inspect(service)["State"]["ExitCode"], 0, f"exit code of {service}")
    site.make("start")
    wait_until(lambda: site.all_healthy(), "all are healthy")


@test
def down_and_up(site):
    """make down and make again keep what was written, and the certificate."""
    certificate = (site.folder / "secrets/tls.pem").read_text()
    site.make("down")
    check_equal(site.docker("ps", "--all", "--quiet"), "", "containers after make down")
    site.make()
    check(COMMENT in site.comments() and COMMENT in site.curl("/hello-world/"), "the comment is gone")
    check_equal((site.folder / "secrets/tls.pem").read_text(), certificate, "certificate")


def survives_reboot(site, seconds=60):
    """Restarts the engine; fails unless all is up again with what was written."""
    site.engine.restart()
    wait_until(lambda: site.all_healthy(), "every service is healthy", seconds)
    wait_until(lambda: COMMENT in site.curl("/hello-world/", check=False), "the comment is on the site", 30)


@test
def reboot(site):
    """After the engine restarts, all is up again with the comment; the check sees what stays down."""
    site.docker("update", "--restart=no", "nginx")
    try:
        survives_reboot(site, 6)
    except Failure:
        pass
    else:
        raise Failure("the check does not see that nginx stays down")
    site.docker("update", "--restart=unless-stopped", "nginx")
    site.docker("start", "nginx")
    # A program that has not set its signal handlers yet does not hear the engine's, as PID 1.
    wait_until(lambda: site.health("nginx") == "healthy", "nginx is healthy")
    survives_reboot(site)


@test
def clean_and_re(site):
    """make re makes all containers anew; make clean removes containers, images and volumes; both keep the data."""
    before = [site.inspect(service)["Id"] for service in SERVICES]
    site.make("re")
    after = [site.inspect(service)["Id"] for service in SERVICES]
    check(site.all_healthy() and not set(before) & set(after), "containers are not new, or not healthy")
    check(COMMENT in site.comments(), "the comment is gone after make re")
    site.make("clean")
    for what in (["ps", "--all", "--quiet"], ["volume", "ls", "--quiet"], ["images", "--quiet", "--filter", "reference=*:inception"],
                 ["network", "ls", "--quiet", "--filter", "name=inception"]):
        check_equal(site.docker(*what), "", f"docker {' '.join(what)}")
    check((site.data / "mariadb/data/wordpress").is_dir() and (site.data / "wordpress/wp-load.php").is_file(), "the data is gone")
    site.make()
    check(COMMENT in site.comments(), "the comment is gone after make clean")


@test
def evaluation_cleaning(site):
    """The evaluation's cleaning of all containers, images, volumes and networks loses nothing either."""
    site.shell("docker stop $(docker ps -qa); docker rm $(docker ps -qa); docker rmi -f $(docker images -qa); "
               "docker volume rm $(docker volume ls -q); docker network rm $(docker network ls -q) 2>/dev/null; true")
    check_equal(site.docker("images", "--quiet"), "", "images")
    site.make()
    check(COMMENT in site.comments(), "the comment is gone")


@test
def other_releases(site):
    """An image with an older WordPress than the site leaves it; one with a newer updates it, after a crash too."""
    version, marker, unfinished = (site.data / "wordpress" / name for name in ("wp-includes/version.php", ".installed-release", ".updating-release"))
    theme = site.data / "wordpress/wp-content/themes/twentytwentythree/style.css"
    text, release, content = version.read_text(), marker.read_text(), theme.read_text()

    def starts():
        site.docker("restart", "wordpress")
        wait_until(lambda: site.all_healthy(["wordpress"]), "wordpress is healthy")

    def claims(number):
        return text.replace(f"wp_version = '{release.strip()}'", f"wp_version = '{number}'")

    check(claims("99.9") != text, "version.php has another form")
    # Updated from the dashboard: the marker still has the release that it was installed with.
    marker.write_text("1.0\n")
    version.write_text(claims("99.9"))
    starts()
    check_equal(version.read_text(), claims("99.9"), "version.php of a newer site")
    # Older than the image, and an update that was killed when version.php was there already.
    for found in (claims("1.0"), text):
        version.write_text(found)
        marker.write_text("1.0\n")
        if found == text:
            unfinished.write_text(release)
        theme.write_text("/* the site's own */\n")
        (site.data / "wordpress/wp-load.php").write_text("<?php // old\n")
        starts()
        check_equal((version.read_text(), marker.read_text()), (text, release), "the updated release")
        check("old" not in (site.data / "wordpress/wp-load.php").read_text(), "wp-load.php is not replaced")
        check_equal(theme.read_text(), "/* the site's own */\n", "the site's own content")
        check(not unfinished.exists(), "the mark of an update is left")
    theme.write_text(content)
    check_equal(site.status("/"), 200, "the site")


@test
def crash_loop(site):
    """A service that can never start ends make at once, with its reason."""
    file = site.folder / "srcs/requirements/nginx/conf/nginx.conf"
    text = file.read_text()
    file.write_text(text.replace("worker_processes auto;", "worker_processes nonsense;"))
    try:
        begin = time.monotonic()
        message = site.make_fails()
        seconds = time.monotonic() - begin
        check('"worker_processes" directive invalid value' in message and seconds < 120, message[-1500:])
        # A compose that only waits, as it does if it never looks in between two of the attempts.
        site.shell("printf '#!/bin/sh\\nexec sleep 100\\n' > ~/waits && chmod 755 ~/waits")
        site.docker("restart", "nginx")
        message = site.shell("! COMPOSE=~/waits srcs/tools/up && rm ~/waits")
        check("nginx was restarted 5 times" in message, message)
    finally:
        file.write_text(text)
    site.make()
    check(site.all_healthy(), "not all are healthy")
    return f"{seconds:.0f} s"


@test
def foreign_database(site):
    """A database with tables of others but no site is not touched, and make says so."""
    site.sql("RENAME TABLE wp_options TO their_options")
    site.docker("stop", "wordpress")
    message = site.make_fails()
    tables = site.sql("SHOW TABLES")
    check("their_options" in tables and "wp_posts" in tables, f"tables are {tables}")
    site.sql("RENAME TABLE their_options TO wp_options")
    check("holds tables but not a site" in message, message[-1500:])
    site.make()


@test
def killed_first_start(site):
    """SIGKILL in each phase of the first start, one start after the other: the last one completes it."""
    site.make("fclean CONFIRM=1")
    database, files = site.data / "mariadb", site.data / "wordpress"
    table = database / "data/wordpress"
    # What shows that a phase is reached; what shows, after the kill, that the start was not finished.
    phases = {
        "mariadb": ((lambda: (database / "fresh").exists(),
                     lambda: (database / "fresh/mysql/proc.frm").exists(),
                     lambda: (database / "fresh/wordpress").exists()),
                    (lambda: not (database / "data").exists(),) * 3),
        "wordpress": ((lambda: (files / "wp-includes").exists(),
                       lambda: (table / "wp_users.frm").exists(),
                       lambda: (table / "wp_posts.frm").exists()),  # the last one: from here on they are filled
                      (lambda: not (files / ".installed-release").exists(),
                       lambda: (table / "site_installation_unfinished.frm").exists(),
                       lambda: (table / "site_installation_unfinished.frm").exists())),
    }
    for service, (reached, unfinished) in phases.items():
        # A phase is short, so a kill may come too late. That was no test, and it begins anew.
        check(any(kill_in_phases(site, service, reached, unfinished) for _ in range(5)), f"{service}: always too late")
    site.make()
    check_equal(sorted(site.sql("SELECT user_login FROM wp_users")), ["keeper", "writer"], "users")
    check_equal(site.status("/hello-world/"), 200, "the first post")
    check("site_installation_unfinished" not in site.sql("SHOW TABLES"), "the mark of an unfinished installation is left")
    return f"{sum(len(reached) for reached, _ in phases.values())} kills"


@test
def stopped_first_start(site):
    """SIGTERM during mariadb's first start ends it within seconds, with nothing half done; the next start begins anew."""
    site.docker("rm", "--force", *SERVICES, check=False)
    site.shell(f"rm -rf {site.data}/mariadb {site.data}/wordpress")
    prepare(site, "mariadb")
    site.docker("start", "mariadb")
    wait_until(lambda: (site.data / "mariadb/fresh").exists(), "the first start")
    begin = time.monotonic()
    site.docker("stop", "mariadb")
    seconds = time.monotonic() - begin
    check(seconds < 20, f"{seconds:.0f} s")
    check_equal(site.inspect("mariadb")["State"]["ExitCode"], 143, "exit code")
    site.make()
    check_equal(site.status("/hello-world/"), 200, "the first post")
    return f"{seconds:.1f} s"


def kill_in_phases(site, service, reached, unfinished) -> bool:
    """Begins a first start and kills PID 1 when it reaches a phase, for each; whether all kills came in time."""
    site.docker("rm", "--force", *SERVICES, check=False)
    site.shell(f"rm -rf {site.data}/mariadb {site.data}/wordpress")
    prepare(site, service)
    site.docker("update", "--restart=no", service)
    for is_reached, is_unfinished in zip(reached, unfinished):
        site.docker("start", service)
        end = time.monotonic() + 60
        while not is_reached():
            check(time.monotonic() < end, f"{service} never gets there")
        process = site.main_process(service)
        if process == 0:
            return False
        os.kill(process, signal.SIGKILL)
        if not is_unfinished():
            return False
        site.docker("wait", service)
    return True


def prepare(site, service):
    """Starts what a service needs, and makes the service's container, which has its first start before it."""
    site.shell("make prepare")
    compose = "docker compose --file srcs/docker-compose.yml"
    if service == "wordpress":
        site.shell(f"{compose} up --detach --wait mariadb")
        site.shell(f"{compose} up --no-deps --no-start wordpress")
    else:
        site.shell(f"{compose} up --no-deps --no-start {service}")
