"""What people do on the site, in a real browser."""

from browser import Browser
from harness import check, check_equal, test, wait_until

COMMENT = "A comment that was typed into a browser."
PAGE_TITLE = "A page that was edited"


def log_in(browser, site, login, secret):
    browser.open(f"https://{site.domain}/wp-login.php")
    browser.type("#user_login", login)
    browser.type("#user_pass", site.secret(secret))
    browser.click("#wp-submit")
    wait_until(lambda: "/wp-admin" in browser.address(), f"{login} is logged in")


@test
def screenshot(site):
    """The front page is drawn with its theme; a screenshot is kept."""
    with Browser() as browser:
        browser.open(f"https://{site.domain}/")
        browser.screenshot(site.artefacts / "front-page.png")
        check_equal(browser.run("return document.documentElement.lang"), "en-US", "language")
        loaded = browser.run("return [...document.styleSheets].length + document.fonts.size")
        check(loaded > 3, "no styles are loaded")
        check(browser.run("return document.querySelector('.wp-site-blocks h1, .wp-block-site-title').innerText") != "", "no title")
    check((site.artefacts / "front-page.png").stat().st_size > 10_000, "the screenshot is empty")


@test
def author_comments(site):
    """The author logs in and posts a comment, which is there at once."""
    with Browser() as browser:
        log_in(browser, site, "writer", "wp_author_password")
        browser.open(f"https://{site.domain}/hello-world/")
        browser.type("#comment", COMMENT)
        browser.run("document.querySelector('#comment').scrollIntoView()")
        browser.click("#commentform [type=submit]")
        wait_until(lambda: COMMENT in browser.run('return document.body.innerText'), "the comment is on the page")
        browser.run("document.querySelector('.wp-block-comments, #comments').scrollIntoView()")
        browser.screenshot(site.artefacts / "comment.png")
        browser.open(f"https://{site.domain}/wp-admin/plugins.php")
        check("Plugins" not in browser.text("title") and "not allowed" in browser.text(), "an author may manage plugins")
    check(COMMENT in site.comments(), "the comment is not in the database")


@test
def administrator_edits(site):
    """The administrator edits a page in the editor, and visitors see it."""
    with Browser() as browser:
        log_in(browser, site, "keeper", "wp_admin_password")
        page = site.sql("SELECT ID FROM wp_posts WHERE post_name = 'sample-page'")[0]
        browser.open(f"https://{site.domain}/wp-admin/post.php?post={page}&action=edit")
        browser.find(".editor-post-publish-button")
        browser.run("wp.data.dispatch('core/edit-post').toggleFeature('welcomeGuide')")
        title = browser.find(".editor-post-title__input")
        wait_until(lambda: not browser.call("POST", "/elements", {"using": "css selector", "value": ".components-modal__frame"}),
                   "the welcome is closed")
        browser.call("POST", f"{title}/click", {})
        browser.run("getSelection().selectAllChildren(document.querySelector('.editor-post-title__input'))")
        browser.call("POST", f"{title}/value", {"text": PAGE_TITLE})
        browser.click(".editor-post-publish-button:not([aria-disabled=true])")
        wait_until(lambda: browser.run("const e = wp.data.select('core/editor'); return !e.isSavingPost() && e.didPostSaveRequestSucceed()"),
                   "the page is saved")
        browser.screenshot(site.artefacts / "editor.png")
    check(PAGE_TITLE in site.curl("/sample-page/"), "visitors do not see the new title")
