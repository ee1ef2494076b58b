"""The status page in Debian's Chromium: nothing is executed, fetched or wider than the screen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from browser import Browser
from web_server import NASTY, History, Server, served

from lunasched.history.report import Kind, Report
from lunasched.history.run import Result, Trigger
from lunasched.jobs.model import Channel, ChannelType
from lunasched.store import Store
from lunasched.web.pages import job_url

LONG = "a-name-without-an-end-" + "x" * 120
SCREENS = [(width, dark) for width in (1280, 390) for dark in (False, True)]
FAINT = 4.5
"""The least contrast of text (WCAG 2.1, 1.4.3)."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Jobs of every look, the one with a nasty name in all of them."""
    database = tmp_path_factory.mktemp("web") / "lunasched.db"
    with Store.open(database, durable=False) as store:
        history = History(store)
        job = history.job(NASTY, command=NASTY, tags=["<b>", "db"], env={"A": NASTY})
        for number in range(60):
            failed = Result.EXIT_CODE if number % 9 == 0 else Result.SUCCESS
            history.run(NASTY, number * 1500, failed, took=number * 7, exit_code=3, output=NASTY)
        store.starts.put(
            job, unit="u", trigger=Trigger.TIMER, slot=None, due_at=history.now, now=history.now
        )
        store.outbox.put(
            Report(kind=Kind.FAILURE, job=NASTY, host="box", at=history.now, timezone="UTC"),
            Channel(ChannelType.EXEC, NASTY),
            job=NASTY,
            key="k",
            cause="c",
            now=history.now,
        )
        history.job(LONG, command="y" * 300, tags=["z" * 80])
        history.run(LONG, 4000, Result.STOPPED, output="w" * 4000)
        history.run(LONG, 3000, None)
        history.job("skipped", enabled=False)
        history.run("skipped", 100, Result.SKIPPED)
        history.job("never")
        with served(database) as running:
            yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


PAGES = {
    "jobs": "/",
    "found": "/?q=script&state=failed&refresh=on",
    "nothing found": "/?q=nothing",
    "nasty": job_url(NASTY),
    "long": job_url(LONG),
    "never": "/jobs/never",
    "run": f"/runs/{1:032x}",
    "long run": f"/runs/{61:032x}",
    "missing": "/nowhere",
}


@pytest.mark.parametrize(("width", "dark"), SCREENS)
@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_a_page(browser: Browser, server: Server, path: str, width: int, dark: bool) -> None:
    browser.look(width=width, dark=dark)
    status = browser.open(f"http://127.0.0.1:{server.port}{path}")
    assert status == (404 if path == "/nowhere" else 200)
    expected = [f"http://127.0.0.1:{server.port}/"]
    assert [url[: len(expected[0])] for url in browser.requests()] == expected
    # A page that is not there is itself a message of the console.
    said = [one for one in browser.complaints() if "status of 404" not in one]
    assert said == []
    assert browser.run("document.scripts.length") == 0
    assert browser.run("document.title")
    assert browser.run("document.documentElement.lang") == "en"
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run(_SPILT) == []
    assert browser.run(f"({_CONTRASTS})({FAINT})") == []
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    red = int(background.removeprefix("rgb(").partition(",")[0])
    assert red < 64 if dark else red > 192


def test_the_nasty_name_is_text(browser: Browser, server: Server) -> None:
    browser.open(f"http://127.0.0.1:{server.port}{job_url(NASTY)}")
    assert browser.run("document.querySelector('h1').textContent") == NASTY
    browser.open(f"http://127.0.0.1:{server.port}/runs/{1:032x}")
    assert browser.run("document.querySelector('pre').textContent") == NASTY


def test_searching_with_the_form(browser: Browser, server: Server) -> None:
    browser.look(width=1280, dark=False)
    browser.open(f"http://127.0.0.1:{server.port}/")
    browser.run("document.querySelector('#q').focus()")
    browser.call("Input.insertText", text="never")
    browser.events.clear()
    key = {"key": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
    browser.call("Input.dispatchKeyEvent", type="keyDown", **key)
    browser.wait_for_load()
    names = "[...document.querySelectorAll('table .name')].map(one => one.textContent)"
    assert browser.run(names) == ["never"]
    assert browser.complaints() == []


@pytest.mark.parametrize("width", [1280, 390])
def test_what_a_screen_reader_is_told(browser: Browser, server: Server, width: int) -> None:
    """Rows stay rows where the style makes cards of them; pictures and fields have names."""
    browser.look(width=width, dark=False)
    browser.open(f"http://127.0.0.1:{server.port}/")
    nodes: list[dict[str, Any]] = browser.call("Accessibility.getFullAXTree")["nodes"]
    told = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"] and "role" in node
    ]
    roles = [role for role, _ in told]
    assert roles.count("rowheader") == 4
    assert roles.count("main") == roles.count("heading") - 1 == 1
    pictures = [name for role, name in told if role in ("img", "image")]
    assert any(re.search(r"\d+ runs, \d+ failed", name) for name in pictures)
    for role, name in told:
        if role in ("link", "searchbox", "combobox", "button", "img", "image", "heading", "row"):
            assert name or role == "row", role


_SPILT = """
[...document.querySelectorAll('.tile, .badge, button, select')]
    .filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.outerHTML)
"""

# Every element that has text of its own, against what is painted behind it.
_CONTRASTS = """
least => {
    const numbers = text => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
    const behind = one => {
        for (; one; one = one.parentElement) {
            const color = numbers(getComputedStyle(one).backgroundColor);
            if (color.length < 4 || color[3] > 0) return color;
        }
        return [255, 255, 255];
    };
    const faint = [];
    for (const one of document.querySelectorAll('body *')) {
        const own = [...one.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (!own || !one.getClientRects().length || one.closest('.unseen, .skip, title')) continue;
        const style = getComputedStyle(one);
        const ink = numbers(one.namespaceURI.includes('svg') ? style.fill : style.color);
        const [a, b] = [light(ink), light(behind(one))].sort((x, y) => y - x);
        const contrast = (a + .05) / (b + .05);
        if (contrast < least) faint.push([one.outerHTML.slice(0, 80), contrast]);
    }
    return faint;
}
"""
