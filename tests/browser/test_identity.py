"""Where a shop says who people are: an Usher of its own, that believes nobody without an identity."""

import base64
import hmac
import json
import os
import re
import subprocess
import time

import pytest
from playwright.sync_api import expect

from conftest import headline, operator

KEY = os.urandom(16).hex().encode()
CONCERT = {"title": "A Night", "place": "The Hall", "tiers": [{"name": "stalls", "price": 900, "seats": ["1", "2", "3"]}]}


def identity(user, **claims):
    """What the shop's identity provider signs for somebody."""
    told = ({"alg": "HS256", "typ": "JWT"}, {"sub": str(user), "exp": int(time.time()) + 600, **claims})
    signed = b".".join(coded(json.dumps(part).encode()) for part in told)
    return (signed + b"." + coded(hmac.digest(KEY, signed, "sha256"))).decode()


def coded(part):
    return base64.urlsafe_b64encode(part).rstrip(b"=")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The waiting room's address, and the concert it leads to."""
    key = tmp_path_factory.mktemp("shop") / "identity.key"
    key.write_bytes(KEY)
    command = ["scripts/with-usher", "sh", "-c", 'echo "$USHER_URL $USHER_ADMIN_URL"; exec sleep 300']
    told = {**os.environ, "USHER_AUTH": "jwt", "USHER_JWT_KEY_FILE": str(key)}
    with subprocess.Popen(command, env=told, stdout=subprocess.PIPE, text=True) as server:
        url, admin_url = server.stdout.readline().split()
        concert = operator("POST", "/admin/concerts", {**CONCERT, "starts_at": int(time.time()) + 86_400}, admin_url)
        yield f"{url}/wait/main", f"**/buy/{concert['concert_id']}"
        server.terminate()


def click(page, name):
    page.get_by_role("button", name=name).click()


def hold(page, seat, address):
    page.wait_for_url(address)
    page.locator(f'[data-seat="{seat}"]').click()
    click(page, "Hold these seats")
    expect(page.get_by_role("timer")).to_be_visible()


def test_who_is_known_buys_and_nobody_sees_the_identity(shop, open_page):
    wait, buy = shop
    page = open_page(f"{wait}#identity={identity(4711, scope='balance:charge')}")
    assert "identity" not in page.url
    hold(page, "1", buy)
    click(page, re.compile("^Add "))
    click(page, "Pay")
    expect(page.get_by_text("Paid: 1")).to_be_visible()


def test_who_may_not_charge_a_balance_is_told_where_to_go(shop, open_page):
    wait, buy = shop
    page = open_page(f"{wait}#identity={identity(4712)}")
    hold(page, "2", buy)
    click(page, re.compile("^Add "))
    expect(page.get_by_text("Please add money where you buy otherwise.")).to_be_visible()
    expect(page.get_by_role("timer")).to_be_visible()


@pytest.mark.parametrize("said", ["", "#identity=no.such.thing", f"#identity={identity(4713, exp=1)}"])
def test_who_is_not_known_is_sent_to_the_shop(shop, open_page, said):
    page = open_page(shop[0] + said)
    expect(page.get_by_text("We do not know who you are.")).to_be_visible()
    expect(headline(page)).not_to_have_text("It is your turn")
