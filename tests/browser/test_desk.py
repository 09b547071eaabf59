"""The operators' desk, as operators use it."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from conftest import ADMIN_KEY, ADMIN_URL, operator, picture


def test_the_key_opens_the_desk_and_nothing_else_does(open_page):
    page = open_page(f"{ADMIN_URL}/admin")
    key = page.get_by_label("The operators’ key")
    key.fill("not the key")
    key.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This is not the operators’ key.")
    key.fill(ADMIN_KEY)
    key.press("Enter")
    expect(page.get_by_role("heading", name="Queues")).to_be_visible()
    assert page.url == f"{ADMIN_URL}/admin"
    page.get_by_role("link", name="Health").click()
    expect(page.get_by_role("heading", name="Health")).to_be_visible()
    expect(page.get_by_role("heading", name="Queues")).to_be_hidden()
    assert "usher_desk" not in page.evaluate("document.cookie")
    page.get_by_role("button", name="Sign out").click()
    expect(key).to_be_visible()
    page.reload()
    expect(key).to_be_visible()
