"""The seat map, from the waiting room to a ticket."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from conftest import URL, check_weight, concert, headline, operator, picture


def seat(page, name):
    return page.locator(f'[data-seat="{name}"]')


def button(page, name):
    return page.get_by_role("button", name=name)


@pytest.fixture
def sale(queue):
    queue.concert = concert(queue)
    queue.tune(mode="open", hold_seconds=300)
    return queue


@pytest.fixture
def inside(sale, open_page):
    """Somebody whose turn it is, before the seats."""

    def inside(**options):
        page = open_page(sale.address(), **options)
        page.wait_for_url(f"**/buy/{sale.concert}")
        return page

    return inside


def test_from_the_waiting_room_to_a_paid_seat(sale, open_page):
    page = open_page(sale.address())
    expect(headline(page)).to_have_text("It is your turn")
    page.wait_for_url(f"**/buy/{sale.concert}")
    expect(page).to_have_title("A Night")

    seat(page, "A-3").click()
    seat(page, "A-4").click()
    expect(page.get_by_text("A-3, A-4 · ₩24,000")).to_be_visible()
    button(page, "Hold these seats").click()
    expect(page.get_by_role("timer")).to_have_text(re.compile("^4:5[0-9]$"))
    expect(button(page, "Pay")).to_be_disabled()
    button(page, "Add ₩24,000 to your balance").click()
    button(page, "Pay").click()
    expect(page.get_by_text("Paid: A-3, A-4")).to_be_visible()

    tier = operator("GET", f"/admin/concerts/{sale.concert}")
    assert (tier["seats_sold"], tier["seats_held"]) == (2, 0)
    assert operator("GET", "/admin/check")["ok"]


def test_two_want_one_seat_and_the_loser_is_offered_another(inside):
    ann, bob = inside(), inside()
    for page in (ann, bob):
        seat(page, "B-4").click()
    button(ann, "Hold these seats").click()
    expect(ann.get_by_role("timer")).to_be_visible()
    # Either the map or the answer to his click tells him; both offer the same.
    if button(bob, "Hold these seats").is_enabled():
        button(bob, "Hold these seats").click()
    expect(bob.get_by_role("status")).to_contain_text("Somebody was quicker: B-4.")
    expect(bob.get_by_role("status")).to_contain_text("B-3")
    expect(seat(bob, "B-4")).to_be_disabled()
    expect(seat(bob, "B-3")).to_have_attribute("aria-pressed", "true")
    button(bob, "Hold these seats").click()
    expect(bob.get_by_role("timer")).to_be_visible()
    assert bob.locator(".big >> visible=true").inner_text() == "B-3"


def test_what_others_do_is_seen_without_a_reload(inside):
    ann, bob = inside(), inside()
    expect(seat(bob, "C-1")).to_be_enabled()
    seat(ann, "C-1").click()
    button(ann, "Hold these seats").click()
    expect(seat(bob, "C-1")).to_be_disabled()
    expect(seat(bob, "C-1")).to_have_attribute("aria-label", "Seat C-1, stalls, ₩12,000, held by somebody")
    button(ann, "Let the seats go").click()
    expect(seat(bob, "C-1")).to_be_enabled()


def test_a_reload_finds_the_hold_and_the_clock_runs_out(sale, inside):
    sale.tune(hold_seconds=8, session_seconds=60)
    page = inside()
    button(page, "Best available").click()
    expect(page.get_by_text("A-4, A-5 · ₩24,000")).to_be_visible()
    button(page, "Hold these seats").click()
    expect(page.get_by_role("timer")).to_be_visible()
    page.reload()
    expect(headline(page)).to_have_text("A-4, A-5")
    expect(page.get_by_role("status")).to_have_text("The time to pay is over, and the seats are free again.", timeout=12_000)
    expect(button(page, "Hold these seats")).to_be_visible()


def test_who_has_no_turn_is_shown_to_the_line(sale, open_page):
    page = open_page(f"{URL}/buy/{sale.concert}")
    expect(headline(page)).to_have_text("It is not your turn yet")
    page.get_by_role("link", name="To the waiting room").click()
    page.wait_for_url(f"**/buy/{sale.concert}", timeout=15_000)
    expect(button(page, "Hold these seats")).to_be_visible()


def test_a_great_hall_is_drawn_where_it_is_seen(queue, open_page):
    queue.concert = concert(queue, rows=[f"{letter}{row}" for letter in "ABCDEFGHIJ" for row in range(20)], per_row=100)
    queue.tune(mode="open")
    page = open_page(queue.address())
    page.wait_for_url(f"**/buy/{queue.concert}")
    expect(page.locator(".line")).to_have_count(200)
    expect(seat(page, "A0-1")).to_be_enabled()
    assert page.locator("[data-seat]").count() < 10_000
    expect(seat(page, "J19-100")).to_have_count(0)
    page.locator(".line").last.scroll_into_view_if_needed()
    seat(page, "J19-100").click()
    expect(page.get_by_text("J19-100 · ₩12,000")).to_be_visible()
    button(page, "Hold these seats").click()
    expect(page.get_by_role("timer")).to_be_visible()
    assert operator("GET", f"/admin/concerts/{queue.concert}")["seats_held"] == 1


def test_the_hall_is_one_stop_of_the_keyboard(sale, inside):
    page = inside()
    expect(seat(page, "A-1")).to_be_enabled()
    button(page, "Best available").focus()
    page.keyboard.press("Tab")
    for key, name in (("ArrowRight", "A-2"), ("ArrowDown", "B-2"), ("ArrowLeft", "B-1"), ("ArrowUp", "A-1"), ("ArrowUp", "A-1")):
        page.keyboard.press(key)
        expect(seat(page, name)).to_be_focused()
    page.keyboard.press("Space")
    expect(page.get_by_text("A-1 · ₩12,000")).to_be_visible()
    page.keyboard.press("Tab")
    expect(button(page, "Hold these seats")).to_be_focused()


def test_an_aisle_parts_seats_and_tiers_are_told_apart(queue, open_page):
    plan = [("near", 30_000, ["A-1", "A-2", "A-5", "A-6", "A-7"]), ("odd", 9_000, ["B-7", "B-5", "B-3", "B-1"])]
    queue.concert = concert(queue, tiers=[{"name": name, "price": price, "seats": seats} for name, price, seats in plan])
    queue.tune(mode="open")
    page = open_page(queue.address())
    page.wait_for_url(f"**/buy/{queue.concert}")
    expect(page.locator(".hall .tier")).to_have_text(["near ₩30,000", "odd ₩9,000"])
    expect(page.locator(".aisle")).to_have_count(2)
    for together, said in ((3, "A-5, A-6, A-7 · ₩90,000"), (4, "B-7, B-5, B-3, B-1 · ₩36,000")):
        page.get_by_label("Seats together").fill(str(together))
        button(page, "Best available").click()
        expect(page.get_by_text(said)).to_be_visible()


@pytest.mark.parametrize("locale, said", [("en-GB", "Choose your seats"), ("ko-KR", "좌석을 선택하세요")])
def test_each_language_is_whole_and_accessible(inside, locale, said):
    page = inside(locale=locale)
    expect(page.get_by_role("heading", name=said)).to_be_visible()
    seat(page, "A-1").click()
    check_weight(page)
    picture(page, f"buy-{locale[:2]}")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


def test_of_several_concerts_one_is_chosen(sale, open_page):
    other = concert(sale)
    page = open_page(sale.address())
    expect(headline(page)).to_have_text("It is your turn")
    doors = page.get_by_role("link", name="Go on")
    expect(doors).to_have_count(2)
    doors.last.click()
    page.wait_for_url(f"**/buy/{other}")
    expect(seat(page, "A-1")).to_be_visible()


def test_a_reload_finds_the_ticket(inside):
    page = inside()
    seat(page, "B-1").click()
    button(page, "Hold these seats").click()
    button(page, "Add ₩12,000 to your balance").click()
    button(page, "Pay").click()
    expect(page.get_by_text("Paid: B-1")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Paid: B-1")).to_be_visible()
    expect(button(page, "Hold these seats")).to_be_hidden()
