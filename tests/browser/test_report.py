"""The report in a real browser: accessible, in both languages and themes, on a phone."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from steadytrain import events as ev
from steadytrain.board.report import write_report
from tests.board.rig import Writer, write_incident
from tests.board.test_app import HOSTILE


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    root = tmp_path_factory.mktemp("reports")
    made = []
    for name in ("one", "other"):
        home = root / name
        write_incident(home, text=HOSTILE)
        around = Writer(home, "supervisor")
        around.add(ev.ProcessExited(generation=0, rank=0, pid=1, signal="SIGKILL", step=3))
        around.add(ev.Restart(generation=1, cause="c", wait_seconds=1.0, why=HOSTILE))
        made.append(home)
    return made


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("is_pair", [False, True], ids=["alone", "compared"])
def test_the_page_passes_axe_runs_no_script_and_fits_a_phone(
    browser, homes, tmp_path, lang, theme, is_pair
):
    path = write_report(
        homes[0], tmp_path / "r.html", against=homes[1] if is_pair else None, lang=lang
    )
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=theme)
    page = context.new_page()
    heard, asked = [], []
    page.on("dialog", lambda one: (heard.append(one.message), one.dismiss()))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda one: asked.append(one.url))
    page.goto(path.as_uri())
    assert heard == []
    assert asked == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1366, "height": 820})
    found = Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"][:90] for node in one["nodes"]][:3]) for one in found] == []
    context.close()
