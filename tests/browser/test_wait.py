"""The waiting room, as people meet it."""

import json
import time
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from conftest import Queue, check_weight, headline, numbers, picture


def test_somebody_waits_is_told_and_goes_on(queue, open_page):
    queue.tune(message="Doors at eight.\nBring a coat.")
    page = open_page(queue.address(target="/concerts"))
    expect(headline(page)).to_have_text("You are next")
    expect(page.get_by_text("The line is paused")).to_be_visible()
    expect(page.get_by_text("Bring a coat.")).to_be_visible()
    expect(page).to_have_title("You are next")

    queue.tune(message="It goes on.", mode="open")
    expect(headline(page)).to_have_text("It is your turn")
    expect(page).to_have_title("● It is your turn")
    page.wait_for_url("**/concerts")


def test_places_are_in_order_and_the_line_moves(queue, open_page):
    pages = [open_page(queue.address()) for _ in range(3)]
    for page, said in zip(pages, ("You are next", "You are number 2 in line", "You are number 3 in line")):
        expect(headline(page)).to_have_text(said)
    expect(pages[2].locator("progress")).to_have_attribute("value", "33")
    pages[0].once("dialog", lambda dialog: dialog.accept())
    pages[0].get_by_role("button", name="Leave the line").click()
    expect(headline(pages[0])).to_have_text("You have left the line")
    queue.tune(active_max=1, mode="open")
    expect(headline(pages[1])).to_have_text("It is your turn")
    expect(headline(pages[2])).to_have_text("You are next")


def test_a_reload_a_closed_tab_and_a_broken_line_keep_the_place(queue, open_page, new_context):
    context = new_context(locale="en-GB")
    for waiting in range(2):
        expect(headline(open_page(queue.address()))).to_contain_text("line" if waiting else "next")
    page = open_page(queue.address(), context)
    mine = "You are number 3 in line"
    expect(headline(page)).to_have_text(mine)
    page.reload()
    expect(headline(page)).to_have_text(mine)
    page.close()
    page = open_page(queue.address(), context)
    expect(headline(page)).to_have_text(mine)
    page.route("**/queue/events", lambda route: route.abort())
    page.reload()
    expect(headline(page)).to_have_text(mine)
    queue.tune(mode="open")
    expect(headline(page)).to_have_text("It is your turn", timeout=10_000)
    queue.tune(mode="paused")
    assert queue.waiting() == 0


def test_a_place_goes_to_another_device(queue, open_page, new_context):
    phone, desk = new_context(locale="en-GB"), new_context(locale="en-GB")
    expect(headline(open_page(queue.address()))).to_have_text("You are next")
    page = open_page(queue.address(target="/concerts"), phone)
    expect(headline(page)).to_have_text("You are number 2 in line")
    page.get_by_text("Take your place to another device").click()
    code = page.get_by_alt_text("The link to your place as a QR code")
    page.wait_for_function("image => image.complete && image.naturalWidth > 100", arg=code.element_handle())

    phone.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    other = open_page(link, desk)
    expect(headline(other)).to_have_text("You are number 2 in line")
    assert "token" not in other.url and "target" in other.url
    assert queue.waiting() == 2


def test_without_a_script_there_is_a_place_all_the_same(queue, open_page):
    page = open_page(queue.address(target="/concerts"), java_script_enabled=False)
    page.get_by_role("button", name="Take a place in line").click()
    expect(headline(page)).to_have_text("You are number 1 in line")
    assert "The line is paused" in page.locator("noscript .card").inner_text()
    queue.tune(mode="open")
    # The page refreshes itself.
    expect(headline(page)).to_have_text("It is your turn", timeout=40_000)
    page.get_by_role("link", name="Go on").click()
    assert page.url.endswith("/concerts")


def test_who_comes_too_late_is_told_and_may_come_again(queue, open_page):
    queue.tune(mode="open", claim_seconds=1, session_seconds=1)
    page = open_page(queue.address())
    expect(headline(page)).to_have_text("It is your turn")
    expect(page).to_have_title("● It is your turn")
    queue.tune(mode="paused")
    deadline = time.monotonic() + 10
    while page.evaluate("usher.ask('/queue').then(answer => answer.status)") != 410:
        assert time.monotonic() < deadline, "the turn does not end"
    page.reload()
    expect(headline(page)).to_have_text("Your turn is over")
    page.get_by_role("button", name="Take a new place").click()
    expect(headline(page)).to_have_text("You are next")


def test_a_line_that_takes_nobody_says_so(open_page):
    queue = Queue(f"story-{next(numbers)}", mode="closed")
    # The browser itself reports the refusal.
    page = open_page(queue.address(), java_script_enabled=False)
    page.get_by_role("button", name="Take a place in line").click()
    expect(page.get_by_role("heading")).to_have_text("This does not work")


@pytest.mark.parametrize("locale, said", [("en-GB", "You are next"), ("ko-KR", "다음이 고객님 차례입니다")])
def test_each_language_is_whole_and_accessible(queue, open_page, locale, said):
    page = open_page(queue.address(target="/concerts"), locale=locale)
    expect(headline(page)).to_have_text(said)
    check_weight(page)
    page.locator("summary").click()
    picture(page, f"wait-{locale[:2]}")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    words = json.loads(Path(f"web/lang/{locale[:2]}.json").read_text())
    other = {"en": "한국어", "ko": "English"}[words and locale[:2]]
    page.get_by_role("link", name=other).click()
    expect(headline(page)).not_to_have_text(said)
    assert "target" in page.url
