"""The desk's concerts, schedules, audit and health: what an operator plans there, and what comes of it."""

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from conftest import ADMIN_KEY, ADMIN_URL, URL, check_weight, concert, operator, picture

SEOUL = "Asia/Seoul"


@pytest.fixture
def at_tab(open_page):
    """An operator who has shown the key, and opens the desk at one of its tabs."""

    def at_tab(tab, **options):
        page = open_page(f"{ADMIN_URL}/admin", **options)
        page.locator("input[name=key]").fill(ADMIN_KEY)
        page.locator("input[name=key]").press("Enter")
        page.wait_for_selector(".tabs")
        page.goto(f"{ADMIN_URL}/admin#{tab}")
        page.reload()
        return page

    return at_tab


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def tab(page):
    """The one that is shown; the others are only hidden."""
    return page.locator("[data-tab] >> visible=true")


def turn_to(page, name):
    """What is looked for afterwards is not found in the tab that was shown before, which goes a frame later."""
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.locator(f"[data-tab={name.lower()}]")).to_be_visible()
    expect(tab(page)).to_have_count(1)


def seats(page):
    return page.locator("[data-seat]")


def a_form(page, queue, title="A New Night", starts=timedelta(days=3)):
    """A new concert, but for its tiers and rows."""
    button(page, "New concert").click()
    page.get_by_label("Title").fill(title)
    page.get_by_label("Place").fill("The Barn")
    page.get_by_label("Starts at").fill((datetime.now() + starts).strftime("%Y-%m-%dT20:00"))
    page.locator("form").get_by_label("Queue").select_option(queue.name)


def a_tier(page, at, name, price):
    page.get_by_label("Name", exact=True).nth(at).fill(name)
    page.get_by_label("Price (KRW)").nth(at).fill(price)


def some_rows(page, first, count, seats, tier):
    page.get_by_label("First row").fill(first)
    page.get_by_label("How many rows").fill(str(count))
    page.get_by_label("Seats", exact=True).first.fill(seats)
    page.get_by_label("Tier", exact=True).first.select_option(label=tier)
    button(page, "Add rows").click()


def test_a_concert_is_planned_by_rows_and_a_buyer_sees_it(queue, at_tab, open_page):
    page = at_tab("concerts")
    a_form(page, queue)
    a_tier(page, 0, "Stalls", "12,000")
    button(page, "Add a tier").click()
    a_tier(page, 1, "Circle", "8000")
    some_rows(page, "A", 2, "1-4, 7-10", "Stalls")
    some_rows(page, "C", 1, "6", "Circle")
    some_rows(page, "D", 1, "9-10", "Stalls")
    expect(seats(page)).to_have_count(24)
    expect(page.get_by_role("img", name="A hall of 24 seats in 4 rows")).to_be_visible()
    tiers = ["Stalls ₩12,000", "Circle ₩8,000", "Stalls ₩12,000"]
    expect(page.locator(".hall .tier")).to_have_text(tiers)
    expect(page.get_by_role("row", name="All 24 ₩264,000")).to_be_visible()
    button(page, "Put on sale").click()
    expect(page.get_by_role("status")).to_have_text("“A New Night” is on sale.")
    card = page.get_by_role("article", name="A New Night")
    expect(card.get_by_role("row", name="Stalls ₩12,000 18 0 0")).to_be_visible()
    expect(card.get_by_role("row", name="All 24 0 0")).to_be_visible()

    made = next(one for one in operator("GET", "/admin/concerts")["concerts"] if one["queue"] == queue.name)
    queue.tune(mode="open")
    buyer = open_page(queue.address())
    buyer.wait_for_url(f"**/buy/{made['concert_id']}")
    expect(buyer.locator(".line")).to_have_text(["A1234" + "78910", "B1234" + "78910", "C123456", "D910"])
    expect(buyer.locator(".hall .tier")).to_have_text(tiers)
    buyer.locator('[data-seat="C-3"]').click()
    expect(buyer.get_by_text("C-3 · ₩8,000")).to_be_visible()

    turn_to(page, "Audit")
    expect(page.get_by_text("put a concert on sale").first).to_be_visible()
    expect(page.get_by_text("Title: A New Night · Place: The Barn").first).to_be_visible()


def test_what_is_wrong_is_told_at_the_field_and_nothing_is_sold(queue, at_tab):
    page = at_tab("concerts")
    a_form(page, queue, title="")
    a_tier(page, 0, "Stalls", "a lot")
    some_rows(page, "A", 2, "5", "Stalls")
    page.get_by_label("Seats of row B").fill("five")
    button(page, "Put on sale").click()
    expect(page.get_by_label("Price (KRW)")).to_have_accessible_description("Write a price such as 120, or 99.50 where the currency has cents.")
    expect(page.get_by_label("Price (KRW)")).to_be_focused()
    expect(page.get_by_label("Seats of row B")).to_have_accessible_description("These are no seat numbers. Write 20, or 1-8, 11-20.")

    page.get_by_label("Price (KRW)").fill("0")
    page.get_by_label("Seats of row B").fill("5")
    button(page, "Put on sale").click()
    expect(page.get_by_label("Title")).to_have_accessible_description("From 1 to 200 characters.")
    expect(page.get_by_label("Title")).to_be_focused()
    expect(page.get_by_label("Price (KRW)")).to_have_accessible_description("A whole number from 1 to 1000000000.")
    expect(page.get_by_label("Place")).to_have_accessible_description("")

    page.get_by_label("Title").fill("Now it has one")
    page.get_by_label("Price (KRW)").fill("9000")
    page.get_by_label("Name of row A").fill("1")
    page.get_by_label("Name of row B").fill("1")
    button(page, "Put on sale").click()
    expect(page.get_by_label("Name of row").nth(1)).to_have_accessible_description("There are two seats 1-1.")
    sold = operator("GET", "/admin/concerts")["concerts"]
    assert queue.name not in [one["queue"] for one in sold]


def test_rows_are_changed_together_and_one_by_one(queue, at_tab):
    page = at_tab("concerts")
    a_form(page, queue)
    a_tier(page, 0, "Near", "5000")
    button(page, "Add a tier").click()
    a_tier(page, 1, "Far", "1000")
    some_rows(page, "Y", 4, "10", "Near")
    names = page.locator('[data-part="name"]')
    assert [names.nth(at).input_value() for at in range(4)] == ["Y", "Z", "AA", "AB"]
    page.get_by_label("Choose row AA").check()
    page.get_by_label("Choose row AB").check()
    expect(page.get_by_text("Rows chosen: 2")).to_be_visible()
    bulk = page.get_by_role("group", name="Rows chosen")
    bulk.get_by_label("Tier").select_option(label="Far")
    button(page, "Give them this tier").click()
    bulk.get_by_label("Seats").fill("3-8")
    button(page, "Give them these seats").click()
    expect(page.get_by_role("row", name="All 32 ₩112,000")).to_be_visible()
    button(page, "Remove row Z").click()
    button(page, "Row AB closer to the stage").click()
    expect(button(page, "Row AB closer to the stage").or_(button(page, "Row AA closer to the stage")).first).to_be_visible()
    assert [names.nth(at).input_value() for at in range(3)] == ["Y", "AB", "AA"]
    page.get_by_label("Tier of row Y").select_option(label="Far")
    expect(page.get_by_role("row", name="Near 0 ₩0")).to_be_visible()
    button(page, "Put on sale").click()
    expect(page.get_by_role("status")).to_be_visible()
    made = next(one for one in operator("GET", "/admin/concerts")["concerts"] if one["queue"] == queue.name)
    assert [(tier["name"], tier["seats"]) for tier in made["tiers"]] == [("Far", 22)]


def test_a_great_plan_stays_usable(queue, at_tab):
    page = at_tab("concerts")
    a_form(page, queue, title="The Arena")
    a_tier(page, 0, "Everywhere", "10000")
    some_rows(page, "A1", 200, "100", "Everywhere")
    expect(page.get_by_text("₩200,000,000").first).to_be_visible()
    assert seats(page).count() < 10_000
    page.get_by_label("Seats of row A1", exact=True).fill("98")
    expect(page.get_by_text("₩199,980,000").first).to_be_visible()
    button(page, "Put on sale").click()
    expect(page.get_by_role("status")).to_have_text("“The Arena” is on sale.")
    assert operator("GET", "/admin/concerts")["concerts"][-1]["seats_total"] == 19_998


def test_a_concert_is_changed_and_its_queue_is_not_while_it_has_bookings(queue, at_tab, open_page):
    told = concert(queue)
    queue.tune(mode="open")
    buyer = open_page(queue.address())
    buyer.wait_for_url(f"**/buy/{told}")
    buyer.locator('[data-seat="A-1"]').click()
    button(buyer, "Hold these seats").click()
    expect(buyer.get_by_role("timer")).to_be_visible()

    page = at_tab("concerts")
    card = page.get_by_role("article").filter(has_text=queue.name)
    expect(card.get_by_role("row", name="stalls ₩12,000 23 1 0")).to_be_visible()
    button(card, "Change").click()
    page.get_by_label("Place").fill("The Barn")
    page.locator("form").get_by_label("Queue").select_option("main")
    button(page, "Save").click()
    expect(page.locator("form").get_by_label("Queue")).to_have_accessible_description("A concert with bookings stays in its queue.")
    assert operator("GET", f"/admin/concerts/{told}")["place"] == "The Hall"
    page.locator("form").get_by_label("Queue").select_option(queue.name)
    button(page, "Save").click()
    expect(card).to_contain_text("The Barn")
    assert operator("GET", f"/admin/concerts/{told}")["place"] == "The Barn"

    button(card, "Change").click()
    page.get_by_label("Starts at").fill("2020-01-01T20:00")
    asked = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    button(page, "Save").click()
    assert "nobody can buy seats of this concert" in asked[0]
    assert operator("GET", f"/admin/concerts/{told}")["starts_at"] > 1_700_000_000


def test_an_opening_is_planned_and_happens(queue, at_tab, open_page):
    queue.tune(mode="closed")
    page = at_tab("schedules", timezone_id=SEOUL)
    tab(page).get_by_label("Queue").select_option(queue.name)
    expect(tab(page).get_by_text("Nothing is planned.")).to_be_visible()
    tab(page).get_by_label("Mode").select_option("open")
    tab(page).get_by_label("Admissions per second").fill("7.5")
    tab(page).get_by_label("When").fill("2020-01-01T00:00")
    button(page, "Plan it").click()
    expect(tab(page).get_by_label("When")).to_have_accessible_description(re.compile("A time in the future, at most 3660 days ahead.$"))
    assert operator("GET", f"/admin/queues/{queue.name}/schedule")["pending"] == []

    # The desk writes whole seconds.
    tab(page).get_by_label("When").fill((datetime.now(ZoneInfo(SEOUL)) + timedelta(seconds=3)).strftime("%Y-%m-%dT%H:%M:%S"))
    button(page, "Plan it").click()
    expect(page.get_by_role("status")).to_contain_text("Planned for")
    expect(page.get_by_role("heading", name="Done")).to_be_visible(timeout=15_000)
    expect(tab(page).get_by_text("made · ")).to_contain_text("Admissions per second: 7.5")
    expect(tab(page).get_by_text("Nothing is planned.")).to_be_visible()
    policy = operator("GET", f"/admin/queues/{queue.name}")["policy"]
    assert (policy["mode"], policy["rate_per_second"]) == ("open", 7.5)

    turn_to(page, "Audit")
    tab(page).get_by_label("Queue").select_option(queue.name)
    expect(tab(page).get_by_text("planned a change")).to_be_visible()
    expect(tab(page).get_by_text("Admissions per second: 50 → 7.5")).to_be_visible()
    expect(tab(page).get_by_text("closed: nobody joins, nobody is let in → open: people join and are let in")).to_be_visible()


def test_what_is_wrong_is_told_in_the_language_of_the_page(queue, at_tab):
    page = at_tab(f"schedules/{queue.name}", locale="ko-KR", timezone_id=SEOUL)
    tab(page).get_by_label("시각").fill("2020-01-01T00:00")
    tab(page).get_by_label("초당 입장").fill("30000")
    button(page, "예약").click()
    expect(tab(page).get_by_label("시각")).to_have_accessible_description(re.compile("지금부터 3660일 이내의 시각으로 정해 주세요.$"))
    expect(tab(page).get_by_label("초당 입장")).to_have_accessible_description("0 이상 20000 이하로 입력해 주세요.")


def test_a_plan_is_changed_and_taken_back(queue, at_tab):
    page = at_tab(f"schedules/{queue.name}", timezone_id=SEOUL)
    tab(page).get_by_label("Mode").select_option("open")
    tab(page).get_by_label("When").fill("2030-05-01T20:00")
    button(page, "Plan it").click()
    entry = page.get_by_role("listitem").filter(has_text="May 1, 2030")
    expect(entry).to_contain_text("8:00:00 PM GMT+9 · Mode: open")
    button(entry, "Change").click()
    tab(page).get_by_label("Admissions per second").fill("20")
    tab(page).get_by_label("Seconds until the rate is reached").fill("600")
    button(page, "Save").click()
    expect(entry).to_contain_text("Mode: open: people join and are let in · Admissions per second: 20 · Seconds until the rate is reached: 600")
    [planned] = operator("GET", f"/admin/queues/{queue.name}/schedule")["pending"]
    assert planned["at"] == "2030-05-01T11:00:00.000Z"
    assert (planned["policy"], planned["ramp_seconds"]) == ({"mode": "open", "rate_per_second": 20}, 600)
    page.once("dialog", lambda dialog: dialog.accept())
    button(entry, "Take back").click()
    expect(tab(page).get_by_text("Nothing is planned.")).to_be_visible()
    assert operator("GET", f"/admin/queues/{queue.name}/schedule")["pending"] == []


def test_the_audit_goes_back_as_far_as_one_asks(queue, at_tab):
    for seats_max in range(1, 61):
        queue.tune(seats_per_booking_max=seats_max)
    page = at_tab("audit")
    tab(page).get_by_label("Queue").select_option(queue.name)
    changes = tab(page).get_by_text("Seats per booking:")
    expect(changes).to_have_count(50)
    expect(changes.first).to_have_text("Seats per booking: 59 → 60")
    button(page, "Earlier entries").click()
    expect(changes).to_have_count(61)
    expect(tab(page).get_by_text(f"made a queue · queue {queue.name}")).to_be_visible()
    expect(button(page, "Earlier entries")).to_be_hidden()


def test_health_says_how_the_instance_is(at_tab):
    page = at_tab("health")
    expect(page.get_by_role("row", name="Clock of the database well")).to_be_visible()
    expect(page.get_by_text("they come")).to_be_visible()
    button(page, "Check the books").click()
    expect(page.get_by_text("Everything adds up")).to_be_visible()
    health = operator("GET", "/admin/health")
    expect(page.get_by_text(health["version"], exact=True)).to_be_visible()


@pytest.mark.parametrize("locale", ["en-GB", "ko-KR"])
@pytest.mark.parametrize("tab", ["concerts", "form", "schedules", "audit", "health"])
def test_each_tab_is_whole_and_accessible(queue, at_tab, locale, tab):
    concert(queue)
    page = at_tab("concerts" if tab == "form" else tab, locale=locale)
    expect(page.locator("section .card >> visible=true").first).to_be_visible()
    check_weight(page)
    if tab == "form":
        page.locator("section button >> visible=true").first.click()
        page.locator("button[x-on\\:click=addRows]").click()
        expect(seats(page).first).to_be_visible()
        page.locator(".acts button >> visible=true").first.click()
        expect(page.locator("[aria-invalid=true] >> visible=true").first).to_be_visible()
    picture(page, f"desk-{tab}-{locale[:2]}")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
