"""Other people's machines: the project of another login, in a clone of its own. The last tests: the site is down."""

import sandbox
from harness import check, check_equal, test
from site_under_test import SERVICES, Site, output


@test
def other_login(site):
    """A login with a dash gets a site of its own name, data and user; going back leaves both as they are."""
    site.make("down")
    # As the evaluation does: images and volumes of before are gone.
    site.docker("volume", "rm", "inception_mariadb", "inception_wordpress", check=False)
    sandbox.add_user("t-login2")
    output("usermod", "--append", "--groups", site.login, "t-login2")
    other = Site("t-login2", site.source, site.artefacts, site.engine)
    other.clone()
    log = other.make()
    check("https://t-login2.42.fr" in log and other.all_healthy(), log[-800:])
    check("<title>Inception" in other.curl("/") and "t-login2.42.fr" in other.curl("/"), "the page")
    check_equal(sorted(other.sql("SELECT user_email FROM wp_users")), ["keeper@t-login2.42.fr", "writer@t-login2.42.fr"], "users")
    check_equal(output("find", other.data, "!", "-user", "t-login2"), "", "files of others")
    check_equal(sorted(other.docker("ps", "--format", "{{.Names}}").split()), sorted(SERVICES), "containers")
    other.make("clean")
    site.make()
    check(site.all_healthy() and f"//{site.domain}" in site.curl("/"), "the first login's site")
