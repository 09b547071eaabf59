"""A real browser before a real Usher: `scripts/browser` starts both. Each story has a queue of its own."""

import json
import os
import time
import urllib.request
from itertools import count
from pathlib import Path
from urllib.parse import urljoin

import pytest

URL, ADMIN_URL, ADMIN_KEY = (os.environ[name] for name in ("USHER_URL", "USHER_ADMIN_URL", "USHER_ADMIN_KEY"))
PICTURES = Path("var/browser")
WIDTHS = (360, 1280)
# A browser reports every refusal to the console. A wrong key, a line that takes nobody, a turn that is over, a seat that is gone and a
# change that came too late or does not fit are part of the stories.
REFUSED, EXPECTED = "Failed to load resource", (401, 403, 409, 410, 412, 422)
numbers = count(1)


def operator(method, path, body=None, at=ADMIN_URL):
    """What an operator does over the API."""
    headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(at + path, method=method, data=data, headers=headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


PRICE = 12_000


def concert(queue, rows=("A", "B", "C"), per_row=8, tiers=None):
    """A concert of its own for a story, sold by its queue."""
    tiers = tiers or [{"name": "stalls", "price": PRICE, "seats": {"rows": list(rows), "per_row": per_row}}]
    told = {"title": "A Night", "place": "The Hall", "starts_at": int(time.time()) + 86_400, "queue": queue.name}
    return operator("POST", "/admin/concerts", {**told, "tiers": tiers})["concert_id"]


class Queue:
    def __init__(self, name, **policy):
        self.name = name
        operator("POST", f"/admin/queues/{name}", policy)

    def tune(self, **policy):
        operator("PUT", f"/admin/queues/{self.name}/policy", policy)

    def address(self, **query):
        said = "&".join(f"{name}={value}" for name, value in query.items())
        return f"{URL}/wait/{self.name}" + (f"?{said}" if said else "")

    def waiting(self):
        return operator("GET", f"/admin/queues/{self.name}")["waiting"]


@pytest.fixture
def queue():
    return Queue(f"story-{next(numbers)}", mode="paused")


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    return {**browser_type_launch_args, "executable_path": "/usr/bin/chromium", "args": ["--no-sandbox"]}


@pytest.fixture
def open_page(new_context):
    """Opens an address as somebody new would. Whatever a page does that it may not, fails the story."""
    wrong = []

    def watch(page, home):
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("console", lambda said: said.type in ("error", "warning") and not said.text.startswith(REFUSED)
                and wrong.append(f"{said.type}: {said.text}"))
        page.on("response", lambda answer: answer.status >= 400 and answer.status not in EXPECTED
                and wrong.append(f"{answer.status}: {answer.url}"))
        page.on("request", lambda request: request.url.startswith((home, "data:")) or wrong.append(request.url))
        return page

    def open_page(address, context=None, **options):
        context = context or new_context(**{"locale": "en-GB", **options})
        page = watch(context.new_page(), urljoin(address, "/"))
        page.goto(address)
        return page

    yield open_page
    assert wrong == []


def headline(page):
    return page.locator(".big >> visible=true")


def check_weight(page):
    """What a page costs to load, compressed; answers of the API are not part of it."""
    loaded = page.evaluate("""
        [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
            .filter(entry => !/\\/(queues?|concerts|users|token|balance|admin(?!\\/desk))\\//.test(entry.name))
            .map(entry => entry.encodedBodySize)""")
    assert len(loaded) >= 5 and 20_000 < sum(loaded) < 60_000, loaded


def picture(page, name):
    """For people to look at: the page as it is, on a phone and on a desk, by day and by night."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            page.screenshot(path=PICTURES / f"{name}-{width}-{scheme}.png", full_page=True)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name}: {wide} px wide on a screen of {width}"
