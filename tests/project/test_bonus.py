"""The bonus services: make bonus."""

import re
import subprocess

from harness import check, check_equal, test, wait_until
from site_under_test import SERVICES
from test_guest import secrets_are_nowhere
from test_operator import log_in

BONUS = ["redis", "ftp", "adminer", "website", "mail"]


@test
def bonus_starts(site):
    """make bonus starts five more services, each from its own image, as closed in as the others."""
    site.make("bonus")
    check(site.all_healthy(SERVICES + BONUS), "make bonus returned before every service was healthy")
    for service in BONUS:
        found = site.inspect(service)
        check_equal(found["Config"]["Image"], f"{service}:inception", "image")
        check(found["HostConfig"]["ReadonlyRootfs"] and found["HostConfig"]["CapDrop"] == ["ALL"], f"{service} is open")
        check(found["Config"]["User"].split(":")[0] not in ("", "0"), f"{service} runs as root")


@test
def bonus_secrets_stay_secret(site):
    """No secret is in the images, configurations, arguments or logs of the bonus services either."""
    secrets_are_nowhere(site, BONUS)


def hits(site):
    text = site.docker("exec", "redis", "sh", "-c", 'REDISCLI_AUTH=$(cat /run/secrets/redis_password) redis-cli info stats')
    return int(re.search(r"keyspace_hits:(\d+)", text).group(1))


@test
def object_cache(site):
    """WordPress really reads its objects from Redis, which wants a password; without Redis the site still works."""
    site.curl("/")
    before = hits(site)
    site.curl("/")
    gained = hits(site) - before
    check(gained > 10, f"a page view read {gained} objects")
    check("NOAUTH" in site.docker("exec", "redis", "redis-cli", "dbsize"), "Redis answers without a password")
    site.sql("UPDATE wp_options SET option_value = 'Changed behind its back' WHERE option_name = 'blogname'")
    check("Changed behind" not in site.curl("/"), "the page was not made from cached objects")
    site.docker("exec", "redis", "sh", "-c", 'REDISCLI_AUTH=$(cat /run/secrets/redis_password) redis-cli flushall')
    check("Changed behind" in site.curl("/"), "the page does not follow the database")
    site.sql("UPDATE wp_options SET option_value = 'Inception' WHERE option_name = 'blogname'")
    site.docker("stop", "redis")
    check("<title>Inception" in site.curl("/"), "without Redis the page is wrong")
    site.docker("start", "redis")
    wait_until(lambda: site.health("redis") == "healthy", "redis is healthy")
    return f"{gained} objects for a page view"


def ftp(site, *options, password=None, check=True):
    user = f"{site.login}:{site.secret('ftp_password') if password is None else password}"
    return subprocess.run(["curl", "-sS", "--insecure", "--max-time", "30", "--user", user, *options],
                          capture_output=True, text=True, check=check)


@test
def file_transfer(site):
    """FTP with TLS reads and writes the site's files; without TLS or with a wrong password it does not."""
    listing = ftp(site, "--ssl-reqd", "ftp://127.0.0.1/").stdout
    check("wp-load.php" in listing, listing)
    upload = site.artefacts / "upload.txt"
    upload.write_text("sent by FTP\n")
    ftp(site, "--ssl-reqd", "--upload-file", str(upload), "ftp://127.0.0.1/wp-content/")
    check_equal(site.curl("/wp-content/upload.txt"), "sent by FTP\n", "the file by HTTPS")
    check(ftp(site, "ftp://127.0.0.1/", check=False).returncode != 0, "it works without TLS")
    check(ftp(site, "--ssl-reqd", "ftp://127.0.0.1/", password="wrong", check=False).returncode == 67, "a wrong password is taken")


@test
def adminer(site):
    """Adminer logs in to the site's database, and shows its tables."""
    jar = f"/tmp/adminer-{site.login}"
    options = ["--cookie", jar, "--cookie-jar", jar, "--location"]
    page = site.curl("/adminer/", *options, "--data-urlencode", "auth[driver]=server", "--data-urlencode", "auth[username]=wordpress",
                     "--data-urlencode", f"auth[password]={site.secret('db_password')}", "--data-urlencode", "auth[db]=wordpress")
    check("wp_posts" in page, "no tables after login")
    refused = site.curl("/adminer/", "--cookie-jar", f"{jar}2", "--cookie", f"{jar}2", "--location", "--data-urlencode", "auth[driver]=server",
                        "--data-urlencode", "auth[username]=wordpress", "--data-urlencode", "auth[password]=wrong")
    check("Access denied" in refused and "wp_posts" not in refused, "a wrong password is taken")


@test
def passwords_reach_the_cache(site):
    """make passwords counts at once with a user in the object cache, where a login leaves it: the old one is refused."""
    old = site.secret("wp_author_password")
    new = f"{old} 'other'"
    check_equal(log_in(site, "writer", old), 302, "login")
    site.write_secret("wp_author_password", new)
    log = site.make("passwords")
    check("writer: the password is set" in log, log[-500:])
    check_equal(log_in(site, "writer", old), 200, "login with the old password")
    check_equal(log_in(site, "writer", new), 302, "login with the new password")


@test
def cache_is_not_stale(site):
    """make, a change, make bonus: what Redis kept from before the change is not shown."""
    site.curl("/")
    site.make()
    check(site.health("redis") == "healthy", "redis is not running any more, so this proves nothing")
    site.sql("UPDATE wp_options SET option_value = 'Changed without the cache' WHERE option_name = 'blogname'")
    site.make("bonus")
    check("Changed without" in site.curl("/"), "the page is made from what the cache kept")
    site.sql("UPDATE wp_options SET option_value = 'Inception' WHERE option_name = 'blogname'")
    site.docker("restart", "redis")
    wait_until(lambda: site.health("redis") == "healthy", "redis is healthy")


@test
def static_site(site):
    """The static site is served, without PHP in its image."""
    page = site.curl("/website/")
    check("How this site is made" in page and site.status("/website/style.css") == 200, page[:200])
    check_equal(site.docker("exec", "website", "sh", "-c", "ls /usr/lib | grep php; command -v php", check=False), "", "PHP in the image")


@test
def mails_are_kept(site):
    """The mail that the site sends for a lost password can be read with make mail."""
    site.curl("/wp-login.php?action=lostpassword", "--data", "user_login=writer")
    text = site.make("mail")
    check("Subject: [Inception] Password Reset" in text and f"https://{site.domain}/wp-login.php?action=rp" in text, text)


@test
def bonus_can_be_dropped(site):
    """make down and make leave the mandatory services alone; bonus addresses are not found then."""
    site.make("down")
    site.make()
    check(site.all_healthy(), "not all are healthy")
    check_equal(sorted(site.docker("ps", "--format", "{{.Names}}").split()), sorted(SERVICES), "containers")
    for path, status in (("/", 200), ("/adminer/", 404), ("/website/", 404)):
        check_equal(site.status(path), status, path)
    check(not (site.data / "wordpress/wp-content/object-cache.php").is_symlink(), "the object cache is left")
