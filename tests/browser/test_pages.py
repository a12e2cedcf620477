"""The board in a real browser: every page, both languages and themes, live, by hand and by key."""

import json
import re
import time
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe

from steadytrain import actions as ac
from steadytrain import control
from steadytrain import events as ev
from tests.board.rig import TOKEN, Served, step, until, write_incident, write_run
from tests.board.test_app import HOSTILE

PAGES = ["", "/incidents", "/incident/incident-1", "/perplexity", "/machines", "/data"]
DESKTOP, PHONE = {"width": 1366, "height": 820}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    writer = write_incident(root / "asks", mode="ask", text=HOSTILE)
    writer.add(
        ev.Proposal(id="remedy-1", incident="incident-1", step=39, rung=0, cause="bad text",
                    plan=(ac.RollBack(to_step=35),), why="return to before the corrupt sequences"),
        *(ev.PanelRecord(attempt=1, step=at, nll=(800.0 - at, 900.0), tokens=(400, 400), bytes=(900, 900),
                         losses=(tuple(2.0 + 0.01 * n for n in range(40)),) * 2) for at in (0, 20, 40)),
    )  # fmt: skip
    write_run(root / "calm", 300)
    with Served(root) as one:
        one.root = root
        one.has_read("asks", "calm")
        yield one


class Visitor:
    """Opens pages in contexts of their own, and hears their complaints."""

    def __init__(self, browser, served):
        self.browser, self.served = browser, served
        self.complaints, self.contexts = [], []

    def __call__(self, path, *, on=None, lang="en", theme="light", size=DESKTOP):
        context = self.browser.new_context(
            viewport=size, color_scheme=theme, locale="zh-CN" if lang == "zh" else "en-US",
            reduced_motion="reduce",
        )  # fmt: skip
        self.contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console", lambda one: self.complaints.append(one.text) if is_complaint(one) else None
        )
        page.goto(f"{(on or self.served).url}/#token={TOKEN}")
        page.wait_for_selector("main table")
        page.evaluate("where => { location.hash = where; }", path)
        return page

    def leave(self):
        for context in self.contexts:
            context.close()
        assert self.complaints == []


@pytest.fixture
def visit(browser, served):
    one = Visitor(browser, served)
    yield one
    one.leave()


@pytest.fixture(
    scope="module",
    params=[(lang, theme) for lang in ("en", "zh") for theme in ("light", "dark")],
    ids="-".join,
)
def dressed(request, browser, served):
    """A page that is gone through from end to end, as a person would, in each language and theme."""
    one = Visitor(browser, served)
    lang, theme = request.param
    yield one("#/", lang=lang, theme=theme), lang
    one.leave()


def is_complaint(message):
    """All but what a test does on purpose: a board that stops, a word that is refused."""
    meant = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "status of 422")
    return message.type in ("error", "warning") and not any(one in message.text for one in meant)


def run(name, page="", query=""):
    return f"#/run/{quote(name, safe='')}{page}{query}"


def wait(page, expression, arg=None, *, seconds=30.0):
    """Until a script says so; the board's own rules forbid what wait_for_function does."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression, arg):
        assert time.monotonic() < end, f"waited in vain for {expression} {arg or ''}"
        page.wait_for_timeout(50)


def settle(page):
    """Until the page has what it asked for."""
    page.wait_for_load_state("domcontentloaded")
    wait(page, "!document.querySelector('main .empty')?.textContent.match(/Reading|读取中/)")
    page.wait_for_timeout(250)


@pytest.mark.parametrize("path", ["#/", *[run("asks", page) for page in PAGES]])
def test_every_page_passes_axe_speaks_its_language_and_fits_a_phone(dressed, path):
    page, lang = dressed
    page.set_viewport_size(DESKTOP)
    page.evaluate("where => { location.hash = where; }", path)
    page.wait_for_selector("main .runs" if path == "#/" else "main .run .status")
    settle(page)
    found = Axe().run(page).response["violations"]
    told = [(one["id"], [node["html"][:120] for node in one["nodes"]][:3]) for one in found]
    assert told == []
    assert lang == "en" or english_left(page) == []
    page.set_viewport_size(PHONE)
    page.wait_for_timeout(150)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def english_left(page):
    """English words of the dictionary that a Chinese page shows all the same."""
    return page.evaluate(
        """async () => {
          const { WORDS } = await import('/static/words.js');
          const shown = [...document.querySelectorAll('main *:not(option):not(code)')]
            .flatMap((one) => [...one.childNodes]).filter((one) => one.nodeType === 3).map((one) => one.textContent.trim());
          const english = new Set(Object.entries(WORDS.en).filter(([key, text]) => text !== WORDS.zh[key] && text.length > 3).map(([, text]) => text));
          return shown.filter((text) => english.has(text));
        }"""
    )


class TestCurves:
    def test_a_window_is_asked_for_again_when_it_is_drawn_by_hand(self, visit):
        page = visit(run("calm"))
        page.wait_for_selector(".u-over")
        over = page.locator(".u-over").first.bounding_box()
        with page.expect_request(
            lambda one: "first=" in one.url and "/api/series" in one.url
        ) as asked:
            y = over["y"] + 60
            page.mouse.move(over["x"] + 0.5 * over["width"], y)
            page.mouse.down()
            page.mouse.move(over["x"] + 0.75 * over["width"], y, steps=6)
            page.mouse.up()
        first, last = (
            int(re.search(rf"{name}=(\d+)", asked.value.url)[1]) for name in ("first", "last")
        )
        assert 140 <= first <= 160
        assert 215 <= last <= 235
        assert f"first={first}" in page.url  # so that it can be sent on
        page.locator(".u-over").first.dblclick()
        wait(page, "!location.hash.includes('first=')")

    def test_keys_change_axis_scale_and_smoothing(self, visit):
        page = visit(run("calm"))
        page.wait_for_selector(".u-over")
        for key in ("x", "l", "s", "o", "y"):
            page.keyboard.press(key)
        wait(page, "location.hash.includes('axis=tokens')")
        for part in ("log=1", "span=10", "overlay=1", "trim=1"):
            assert part in page.url
        page.keyboard.press("?")
        page.wait_for_selector("dialog[open]")
        page.keyboard.press("Escape")
        page.keyboard.press("h")
        page.wait_for_selector(".runs table")

    def test_another_run_is_laid_over_and_compared(self, visit):
        page = visit(run("calm"))
        page.locator("select").nth(2).select_option("asks")
        page.wait_for_selector(".compared")
        assert page.locator(".compared tbody th").inner_text() == "asks"

    def test_events_stand_above_the_steps_that_they_belong_to(self, visit):
        page = visit(run("asks"))
        page.wait_for_selector(".u-over")
        plot, strip = (
            page.locator(one).first.bounding_box() for one in (".u-over", ".heat canvas")
        )
        assert abs(plot["x"] - strip["x"]) < 1.5
        assert abs(plot["width"] - strip["width"]) < 3

    def test_values_at_the_cursor_are_told_on_every_chart(self, visit):
        page = visit(run("calm"))
        page.wait_for_selector(".u-over")
        over = page.locator(".u-over").first.bounding_box()
        page.mouse.move(over["x"] + 0.5 * over["width"], over["y"] + 50)
        page.wait_for_selector(".readout .where")
        assert len(page.locator(".readout .where").all()) >= 3


@pytest.mark.slow
def test_a_zoom_reveals_a_spike_of_one_step_in_250000(visit, tmp_path):
    write_run(tmp_path / "long", 137_420).add(
        step(137_421, (9.0, 9.0)), *(step(at) for at in range(137_422, 250_001))
    )
    with Served(tmp_path) as one:
        until(lambda: one.json("/api/runs")["runs"][0]["read"] is None, seconds=120)
        page = visit(run("long"), on=one)
        page.wait_for_selector(".u-over")
        page.evaluate(
            "where => { location.hash = where; }", run("long", query="?first=137400&last=137440")
        )
        wait(page, "document.querySelector('.stride')?.textContent === 'every step'", seconds=20)
        over = page.locator(".u-over").first.bounding_box()
        page.mouse.move(over["x"] + over["width"] * 21 / 40, over["y"] + 50)
        wait(page, "document.querySelector('.readout .where')?.textContent === '137,421'")
        assert "9.0000" in page.locator(".readout").first.inner_text()


class TestALiveRun:
    def test_is_seen_as_it_goes_on_rotates_and_ends_torn(self, visit, tmp_path):
        writer = write_run(tmp_path / "live", 10)
        with Served(tmp_path) as one:
            one.has_read("live")
            page = visit(run("live"), on=one)
            shown = "(text) => document.querySelector('.progress b')?.textContent === text"
            wait(page, shown, arg="10")
            writer.add(*(step(at) for at in range(11, 31)))
            wait(page, shown, arg="30", seconds=20)
            writer.rotate()
            writer.add(step(31))
            wait(page, shown, arg="31", seconds=20)
            writer.tear()
            writer.rotate()
            writer.add(ev.AttemptBegan(attempt=2, step=28, draw=224, cause="restart", checkpoint="a0001-s28"),
                       step(29, attempt=2))  # fmt: skip
            wait(page, shown, arg="29", seconds=20)
            page.wait_for_selector(".lane .return", timeout=20_000)
            wait(page, "document.querySelector('.feed').textContent.includes('a0001-s28')")
            writer.add(ev.RunEnded(attempt=2, step=29))
            page.wait_for_selector(".state.plain", timeout=20_000)

    def test_a_remedy_is_accepted_by_a_click_and_its_fate_told(self, visit, tmp_path):
        writer = write_incident(tmp_path / "asks", mode="ask")
        plan = (ac.RollBack(to_step=35),)
        writer.add(ev.Proposal(id="remedy-1", incident="incident-1", step=39, rung=0, cause="bad text",
                               plan=plan, why="return to before it"))  # fmt: skip
        inbox = control.Inbox(tmp_path / "asks")
        with Served(tmp_path) as one:
            one.has_read("asks")
            page = visit(run("asks", "/incident/incident-1"), on=one)
            page.fill(".needs input", "looks right")
            page.click(".needs button.main")
            until(lambda: inbox.waiting())
            (name,) = inbox.waiting()
            word = inbox.open(name).word
            assert (word.verb, word.remedy, word.words) == ("accept", "remedy-1", "looks right")
            page.wait_for_selector(".fate")
            writer.add(
                ev.PersonSaid(id=name, who="me", verb="accept", step=40, remedy="remedy-1"),
                ev.Remedy(id="remedy-1", incident="incident-1", step=40, due=42, rung=0, cause="bad text",
                          plan=plan, why="accepted"),
            )  # fmt: skip
            inbox.take(name)
            page.wait_for_selector(".needs", state="detached", timeout=20_000)
            wait(
                page,
                "document.body.textContent.includes('me accepts remedy-1') || document.querySelector('.remedy-card')",
            )

    def test_what_the_run_would_refuse_is_told_before_it_is_said(self, visit, served):
        page = visit(run("asks", "/incident/incident-1"))
        page.fill("textarea", "make it better")
        page.click(".word button[type=button]")
        page.wait_for_selector(".fate.bad")
        page.fill("textarea", "z-loss 1e-4")
        page.click(".word button[type=button]")
        page.wait_for_selector(".fate.good")
        assert control.Inbox(served.root / "asks").waiting() == []


def test_hostile_text_is_shown_and_does_nothing(visit):
    page = visit(run("asks", "/incident/incident-1"))
    page.wait_for_selector(".passage pre")
    assert "<script>" in page.locator(".passage pre").first.inner_text()
    assert page.locator(".passage script, .passage img").count() == 0
    assert "owned" not in page.title()
    assert "U+202E" in page.locator(".passage pre").first.inner_text()


def test_a_visitor_without_the_token_sees_a_door(browser, served):
    context = browser.new_context()
    page = context.new_page()
    page.goto(served.url)
    page.wait_for_selector("form.gate")
    page.fill("form.gate input", "wrong")
    page.click("form.gate button")
    page.wait_for_selector("form.gate .bad")
    page.fill("form.gate input", TOKEN)
    page.click("form.gate button")
    page.wait_for_selector(".runs table")
    assert TOKEN not in page.url
    assert TOKEN not in json.dumps(context.cookies())
    context.close()
