"""What the operator does with a running site: passwords, backup, restore, deleting."""

import os
import signal
import subprocess

from harness import check, check_equal, test, wait_until
from site_under_test import SERVICES, output


@test
def other_password(site):
    """A changed password with existing data: make says so and stops; the check in the container says so too."""
    old = site.secret("db_password")
    site.write_secret("db_password", "another one")
    message = site.make_fails()
    check("secrets/db_password.txt is not the one" in message and "make passwords" in message, message)
    # Started past make: no restart loop, and the health check has the message.
    site.docker("restart", "mariadb")
    # Checks before the server answers fail with another message.
    wait_until(lambda: any("make passwords" in entry["Output"] for entry in site.inspect("mariadb")["State"]["Health"]["Log"] if entry["ExitCode"]),
               "the health check names make passwords")
    check_equal(site.inspect("mariadb")["RestartCount"], 0, "restarts")
    site.write_secret("db_password", old)
    site.docker("restart", "mariadb")
    site.make()


@test
def new_passwords(site):
    """make passwords sets all of them, whatever their characters; the old ones are refused."""
    old = site.secret("db_root_password")
    new = {"db_password": "d'b \"\\ %s é`$x", "db_root_password": "ro'ot\\", "wp_admin_password": "ke'ep \\er\"&", "wp_author_password": "wr$iter 'x"}
    for name, value in new.items():
        site.write_secret(name, value)
    log = site.make("passwords")
    check("keeper: the password is set" in log and "writer: the password is set" in log, log[-500:])
    for value in new.values():
        check(value not in log, "a password is in the output")
    check_equal(site.sql("SELECT 1"), ["1"], "root with the new password")
    try:
        site.sql("SELECT 1", password=old)
    except PermissionError:
        pass
    else:
        check(False, "root's old password still works")
    check_equal(site.status("/"), 200, "the site")
    for login, name in (("keeper", "wp_admin_password"), ("writer", "wp_author_password")):
        check_equal(log_in(site, login, site.secret(name)), 302, f"login of {login}")
    check_equal(log_in(site, "keeper", "wrong"), 200, "login with a wrong password")


def log_in(site, login, password) -> int:
    """The answer's status: 302 leads to the dashboard, 200 is the form again."""
    return site.status("/wp-login.php", "--cookie", "wordpress_test_cookie=WP%20Cookie%20check", "--data-urlencode", f"log={login}",
                       "--data-urlencode", f"pwd={password}", "--data", "testcookie=1")


@test
def backup_and_restore(site):
    """backup saves database and files in one private file; restore brings both back, and refuses others."""
    file = f"/home/{site.login}/saved.tar.gz"
    site.shell(f"touch {site.data}/wordpress/wp-content/kept")
    site.sql("REPLACE INTO wp_options (option_name, option_value) VALUES ('mark', 'before')")
    site.make(f"backup FILE={file}")
    check_equal(oct(os.stat(file).st_mode & 0o777), "0o600", "mode of the backup")
    wait_until(lambda: site.all_healthy(), "all are healthy after the backup")
    site.sql("UPDATE wp_options SET option_value = 'after' WHERE option_name = 'mark'")
    site.shell(f"rm {site.data}/wordpress/wp-content/kept")
    check("CONFIRM=1" in site.make_fails(f"restore FILE={file}"), "restore did not ask")
    site.shell(f"head -c 100000 {file} > {file}.half; tar -C / -czf {file}.other etc/hostname")
    # The right folders, with nothing in them.
    site.shell(f"mkdir -p hollow/mariadb hollow/wordpress && tar -C hollow -czf {file}.hollow mariadb wordpress && rm -r hollow")
    for wrong in ("half", "other", "hollow"):
        check("error: " in site.make_fails(f"restore FILE={file}.{wrong} CONFIRM=1"), f"{wrong} was taken")
        check_equal(site.sql("SELECT option_value FROM wp_options WHERE option_name = 'mark'"), ["after"], "the data")
        check_equal(sorted(os.listdir(site.data)), ["mariadb", "wordpress"], "what a refused restore leaves")
    # The passwords were other ones when the backup was made.
    site.write_secret("db_password", "since the backup")
    site.make(f"restore FILE={file} CONFIRM=1")
    check(site.all_healthy(), "restore returned before every service was healthy")
    check_equal(site.sql("SELECT option_value FROM wp_options WHERE option_name = 'mark'"), ["before"], "the data")
    check((site.data / "wordpress/wp-content/kept").exists(), "the file is not back")
    # A crash between the two folders: one is swapped, the other is not. Then one before the old data is deleted.
    site.make("down")
    for swapped in (["mariadb"], ["mariadb", "wordpress"]):
        output("sh", "-euc", f"cd {site.data}; rm -f wordpress/wp-content/kept; mkdir restored replaced; tar -C restored -xzf {file}; chown -R {site.login}: restored")
        for folder in swapped:
            (site.data / folder).rename(site.data / "replaced" / folder)
            (site.data / "restored" / folder).rename(site.data / folder)
        site.make("passwords")
        check_equal(sorted(os.listdir(site.data)), ["mariadb", "wordpress"], "what is left of the restore")
        check((site.data / "wordpress/wp-content/kept").exists(), "the restore was not completed")
        check_equal(site.sql("SELECT option_value FROM wp_options WHERE option_name = 'mark'"), ["before"], "the data")
        check(site.all_healthy(), "not all are healthy")
    return f"{os.stat(file).st_size / 1e6:.0f} MB"


@test
def incomplete_backup(site):
    """backup fails, leaves no file and starts the services again where a folder or a part of the site is missing."""
    file = f"/home/{site.login}/incomplete.tar.gz"
    load = site.data / "wordpress/wp-load.php"
    load.rename(site.data / "wp-load.php")
    try:
        check("without wordpress/wp-load.php" in site.make_fails(f"backup FILE={file}"), "no word of the missing file")
    finally:
        (site.data / "wp-load.php").rename(load)
    check_equal(output("sh", "-c", f"ls {file}* 2>/dev/null", check=False), "", "files left")
    wait_until(lambda: site.all_healthy(), "all are healthy after the refused backup")
    (site.data / "wordpress").rename(site.data / "elsewhere")
    try:
        check("not everything could be saved" in site.make_fails(f"backup FILE={file}"), "no word of the missing folder")
    finally:
        (site.data / "elsewhere").rename(site.data / "wordpress")
    check_equal(output("sh", "-c", f"ls {file}* 2>/dev/null", check=False), "", "files left")
    site.make()
    check(site.all_healthy(), "not all are healthy")


@test
def interrupted_backup(site):
    """HUP, INT or TERM while backup saves: nothing is left of it, and the site runs again."""
    file = f"/home/{site.login}/interrupted.tar.gz"
    site.shell(f"head -c 300000000 /dev/urandom > {site.data}/wordpress/big")
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # Its own group, with the signals as a terminal's shell has them: Ctrl-C reaches make and all below it.
        make = subprocess.Popen(["su", "--login", site.login, "--command", f"cd {site.folder} && exec make backup FILE={file}"],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        wait_until(lambda: os.path.exists(f"{file}.new") and os.stat(f"{file}.new").st_size > 1_000_000, "backup saves")
        for process in output("pgrep", "--full", f"srcs/tools/data backup .*{file}").split():
            os.kill(int(process), number)
        check(make.wait(timeout=120) != 0, f"make succeeded after {number.name}")
        check_equal(output("sh", "-c", f"ls {file}* 2>/dev/null", check=False), "", f"files left after {number.name}")
        wait_until(lambda: site.all_healthy(), f"all are healthy after {number.name}")
        check_equal(site.docker("ps", "--quiet", "--filter", "name=inception-data"), "", "containers left")
    site.shell(f"rm {site.data}/wordpress/big")


@test
def deleting_asks(site):
    """fclean asks first, then deletes the data, other users' files too, without sudo; a new site can be made."""
    check("CONFIRM=1" in site.make_fails("fclean"), "fclean did not ask")
    check(site.all_healthy(), "fclean did something without CONFIRM=1")
    stranger = site.data / "wordpress/wp-content/stranger"
    stranger.mkdir()
    (stranger / "file").touch()
    os.chown(stranger, 12345, 12345)
    stranger.chmod(0o700)
    site.make("fclean CONFIRM=1")
    check_equal(output("ls", site.data), "", "what is left of the data")
    for what in (["ps", "--all", "--quiet"], ["volume", "ls", "--quiet"], ["images", "--quiet", "--filter", "reference=*:inception"]):
        check_equal(site.docker(*what), "", f"docker {' '.join(what)}")
    check((site.folder / "secrets/db_password.txt").exists(), "the secrets are gone")
