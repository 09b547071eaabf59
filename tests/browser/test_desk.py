"""The operators' desk, as operators use it."""

import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from conftest import ADMIN_KEY, ADMIN_URL, URL, check_weight, headline, numbers, operator, picture

PEOPLE = 4_000_000
TABS = ("Queues", "Concerts", "Schedules", "Audit", "Health")


@pytest.fixture
def at_the_desk(open_page):
    """An operator who has shown the key."""

    def at_the_desk(queue="", **options):
        page = open_page(f"{ADMIN_URL}/admin", **options)
        page.locator("input[name=key]").fill(ADMIN_KEY)
        page.locator("input[name=key]").press("Enter")
        page.wait_for_selector(".tabs")
        if queue:
            page.goto(f"{ADMIN_URL}/admin#queues/{queue.name}")
            page.wait_for_function("name => document.querySelector('select')?.value === name", arg=queue.name)
        page.wait_for_function("() => document.querySelector('[data-plot=waiting]')?.plot?.data[0].length > 0")
        return page

    return at_the_desk


def crowd(queue, people):
    """So many take a place, and wait without asking again."""

    def join(_):
        urllib.request.urlopen(f"{URL}/token/{PEOPLE + next(numbers)}?queue={queue.name}").close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(join, range(people)))


def drawn(page, plot, series):
    """The newest value of what a plot draws."""
    return page.evaluate("([plot, series]) => document.querySelector(`[data-plot=${plot}]`).plot.data[series].at(-1)", [plot, series])


def until_drawn(page, plot, series, holds):
    page.wait_for_function(
        f"([plot, series]) => (value => {holds})(document.querySelector(`[data-plot=${{plot}}]`).plot.data[series].at(-1))",
        arg=[plot, series], timeout=15_000)


def admitted(queue):
    return operator("GET", f"/admin/queues/{queue.name}")["admitted_total"]


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
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out").click()
    expect(key).to_be_visible()
    page.reload()
    expect(key).to_be_visible()


def test_each_tab_is_shown_by_its_address_and_by_the_keyboard(at_the_desk):
    page = at_the_desk()
    for name in TABS:
        link = page.get_by_role("link", name=name, exact=True)
        link.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
        expect(link).to_have_attribute("aria-current", "page")
        assert page.url.endswith(f"#{name.lower()}")
    page.reload()
    expect(page.get_by_role("heading", name="Health", exact=True)).to_be_visible()
    page.goto(f"{ADMIN_URL}/admin#%")
    expect(page.get_by_role("heading", name="Queues", exact=True)).to_be_visible()


def test_a_tab_that_could_not_be_fetched_comes_by_itself(at_the_desk):
    page = at_the_desk()
    page.context.set_offline(True)
    page.get_by_role("link", name="Audit", exact=True).click()
    expect(page.get_by_role("alert").first).to_contain_text("Usher does not answer")
    page.context.set_offline(False)
    expect(page.get_by_role("heading", name="Audit", exact=True)).to_be_visible()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_rate_is_turned_and_the_plot_follows_within_a_second(queue, at_the_desk, record_property):
    crowd(queue, 250)
    queue.tune(mode="open", rate_per_second=2, burst=8)
    page = at_the_desk(queue)
    until_drawn(page, "rate", 2, "value === 2")
    expect(page.locator("[data-plot=waiting] b")).to_have_text(str(drawn(page, "waiting", 1)))
    rate = page.get_by_role("spinbutton", name="Rate a second")
    rate.fill("40")
    expect(page.locator(".preview")).to_contain_text("instead of in about")
    took = page.evaluate("""async () => {
        const { plot } = document.querySelector('[data-plot=rate]');
        const until = async holds => {
            while (!holds()) await new Promise(requestAnimationFrame);
            return performance.now() - began;
        };
        const began = performance.now();
        [...document.querySelectorAll('button')].find(button => button.textContent === 'Apply').click();
        return [await until(() => plot.data[2].at(-1) === 40), await until(() => plot.data[1].at(-1) > 20)];
    }""")
    print("the line of the set rate followed after %d ms, people after %d ms" % tuple(took))
    assert took[0] < 1_000 and took[1] < 3_000, took
    expect(page.locator("[data-plot=rate] b")).to_contain_text("of 40")


def test_a_pause_stops_the_line_at_one_click(queue, at_the_desk):
    crowd(queue, 120)
    queue.tune(mode="open", rate_per_second=10, burst=2)
    page = at_the_desk(queue)
    until_drawn(page, "rate", 1, "value > 5")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    until_drawn(page, "rate", 1, "value === 0")
    before = admitted(queue)
    assert before < 120 and drawn(page, "waiting", 1) == 120 - before
    expect(page.get_by_text("Paused", exact=True).first).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    until_drawn(page, "rate", 1, "value > 5")
    assert admitted(queue) > before


def test_a_pause_lets_nobody_join_who_might_not_before_and_keeps_what_is_typed(queue, at_the_desk):
    queue.tune(mode="draining")
    page = at_the_desk(queue)
    page.get_by_label("Message to everybody").fill("We are sorry.")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Closed", exact=True).first).to_be_visible()
    policy = operator("GET", f"/admin/queues/{queue.name}/policy")
    assert (policy["mode"], policy["message"]) == ("closed", "")
    expect(page.get_by_label("Message to everybody")).to_have_value("We are sorry.")
    page.get_by_role("button", name="Apply").last.click()
    expect(page.get_by_role("button", name="Pause")).to_be_hidden()
    page.wait_for_function("() => document.querySelector('[name=message]').value === 'We are sorry.'")
    until_drawn(page, "waiting", 1, "value === 0")
    assert operator("GET", f"/admin/queues/{queue.name}/policy")["message"] == "We are sorry."


def test_who_comes_second_is_told_who_was_quicker(queue, at_the_desk):
    page = at_the_desk(queue)
    rate = page.get_by_role("spinbutton", name="Rate a second")
    expect(rate).to_have_value("50")
    rate.fill("30")
    queue.tune(rate_per_second=9)
    until_drawn(page, "rate", 2, "value === 9")
    expect(rate).to_have_value("30")
    page.get_by_role("button", name="Apply").first.click()
    notice = page.get_by_role("status").filter(has_text="Somebody was quicker: operator")
    expect(notice).to_contain_text("rate_per_second: 50 → 9")
    expect(rate).to_have_value("9")
    assert operator("GET", f"/admin/queues/{queue.name}/policy")["rate_per_second"] == 9
    rate.fill("30")
    page.get_by_role("button", name="Apply").first.click()
    until_drawn(page, "rate", 2, "value === 30")


def test_people_hear_the_message_and_are_let_in_by_hand(queue, at_the_desk, open_page):
    person = open_page(queue.address(target="/concerts"))
    expect(headline(person)).to_have_text("You are next")
    page = at_the_desk(queue)
    page.get_by_label("Message to everybody").fill("Doors at eight.")
    page.get_by_role("button", name="Apply").last.click()
    expect(person.get_by_text("Doors at eight.")).to_be_visible()
    page.get_by_role("spinbutton", name="People").fill("1")
    page.get_by_role("button", name="Let in").click()
    expect(page.get_by_text("Granted: 1")).to_be_visible()
    expect(headline(person)).to_have_text("It is your turn")


@pytest.mark.parametrize("locale, said", [("en-GB", "Rate and cap"), ("ko-KR", "속도와 정원")])
def test_each_language_is_whole_and_accessible(queue, at_the_desk, locale, said):
    crowd(queue, 30)
    queue.tune(mode="open", rate_per_second=3, burst=1)
    page = at_the_desk(queue, locale=locale)
    expect(page.get_by_role("heading", name=said)).to_be_visible()
    until_drawn(page, "rate", 1, "value > 1")
    check_weight(page)
    picture(page, f"desk-{locale[:2]}")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
