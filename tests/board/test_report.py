"""The report: everything on record, in one file, and harmless whatever the training text holds."""

import json
import math
import re

import numpy as np
import pytest

from steadytrain.actions import RollBack
from steadytrain.board import series
from steadytrain.board.charts import Line, chart
from steadytrain.board.hypertext import visible
from steadytrain.board.report import write_report
from steadytrain.control import Inbox, Word, send
from steadytrain.errors import JournalError, SettingError
from steadytrain.events import (
    Advice,
    AttemptBegan,
    PanelRecord,
    PersonSaid,
    ProcessExited,
    Proposal,
    RemedyDone,
    RunEnded,
)
from steadytrain.journal import Journal
from steadytrain.wording import sentence
from tests import looks, rig
from tests.samples import EVERY_KIND, began, record


@pytest.fixture(scope="module")
def healed(tmp_path_factory):
    home = tmp_path_factory.mktemp("report") / "run"
    rig.train(home, steps=80, garbled=range(40 * rig.BATCH, 43 * rig.BATCH))
    with Journal(home, "supervisor") as book:
        book.append(ProcessExited(generation=0, rank=0, pid=7, signal="SIGKILL", step=12))
    return home


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_page_tells_the_whole_story_without_a_network(healed, tmp_path, lang):
    page = write_report(healed, tmp_path / f"{lang}.html", lang=lang).read_text()
    assert f'<html lang="{lang}">' in page
    assert 'id="incident-1"' in page
    assert page.count("<svg") >= 6
    assert "SIGKILL" in page
    assert not re.search(r'(src|href)="(https?:)?//', page)
    assert "words:" in page  # the sequences' sources


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_markdown_tells_the_same_story(healed, tmp_path, lang):
    path = write_report(healed, tmp_path / f"{lang}.md", kind="md", lang=lang)
    text = path.read_text()
    assert "SIGKILL" in text
    assert "## incident-1" in text
    assert "```text" in text
    assert not re.search(r"<[a-z]", re.sub(r"```.*?```", "", text, flags=re.S))
    assert text.count("\n## ") == 6


def test_text_from_training_data_is_never_markup(healed, tmp_path):
    (path,) = (healed / "incidents" / "incident-1").glob("*.json")
    texts = json.loads(path.read_text())
    texts[0]["text"] = '<script>alert(1)</script>"\u202e\u200b\x00'
    texts[0]["source"] = '"><img src=x onerror=alert(1)>'
    path.write_text(json.dumps(texts))
    page = write_report(healed, tmp_path / "hostile.html").read_text()
    assert "<script>" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
    assert "\\u202e" in page


def test_invisible_characters_are_shown():
    assert visible("a\u200b\n") == "a<i>\\u200b</i><i>&#x23ce;</i>\n"


def test_a_run_in_progress_is_reported_as_such(tmp_path):
    with Journal(tmp_path, "rank0") as book:
        book.append(began())
        book.append(AttemptBegan(attempt=1, step=0, draw=0, cause="start"))
    assert "is at step 0" in write_report(tmp_path).read_text()


def test_a_folder_without_a_run_is_an_error(tmp_path):
    with pytest.raises(JournalError, match="nothing to report"):
        write_report(tmp_path)


def test_a_place_that_cannot_be_written_is_said_with_another(tmp_path):
    with Journal(tmp_path, "rank0") as book:
        book.append(began())
    with pytest.raises(SettingError, match="--out -"):
        write_report(tmp_path, tmp_path / "no" / "folder" / "r.html")


def test_values_that_are_not_finite_are_marked_and_not_dropped(tmp_path):
    with Journal(tmp_path, "rank0") as book:
        book.append(began())
        for step in range(1, 50):
            book.append(record(step, (2.0, 2.0, math.nan if step == 30 else 2.0)))
    assert 'class="held"' in write_report(tmp_path).read_text()


def test_too_few_sequences_are_said_to_be_too_few(tmp_path):
    with Journal(tmp_path, "rank0") as book:
        book.append(began(("zh",)))
        book.append(record(1, (2.0,)))
        losses = tuple(2.0 + 0.1 * index for index in range(12))
        book.append(
            PanelRecord(attempt=1, step=1, nll=(24.0,), tokens=(12,), bytes=(12,), losses=(losses,))
        )
    assert "zh: 12 sequences tell" in write_report(tmp_path).read_text()


def test_a_one_step_spike_among_a_quarter_million_survives():
    x = np.arange(250_000, dtype=np.float64)
    y = np.full(250_000, 2.0)
    y[123_456] = 9.0
    shown_x, shown_y = series.decimate(x, y, buckets=700)
    assert len(shown_x) <= 1400
    assert shown_y.max() == 9.0
    assert shown_x[shown_y.argmax()] == 123_456


def test_short_series_are_drawn_as_they_are():
    x = np.arange(5.0)
    assert series.decimate(x, x, buckets=700)[1] is x


def test_what_a_rollback_gave_up_is_not_on_the_surviving_branch():
    events = [
        AttemptBegan(attempt=1, step=0, draw=0, cause="start"),
        *[record(step, (2.0,)) for step in range(1, 11)],
        RemedyDone(remedy="remedy-1", attempt=1, step=6, restored_step=5),
        AttemptBegan(attempt=2, step=5, draw=160, cause="rollback"),
        *[record(step, (1.0,), attempt=2) for step in range(6, 13)],
        RunEnded(attempt=2, step=12),
    ]
    run = series.collect(events, ("all",))
    assert run.steps[run.kept].tolist() == list(range(1, 13))
    assert run.steps[~run.kept].tolist() == [6, 7, 8, 9, 10]


@pytest.mark.parametrize("event", EVERY_KIND, ids=lambda event: type(event).__name__)
def test_both_languages_speak_of_the_same_events(event):
    english, chinese = sentence(event, lang="en"), sentence(event, lang="zh")
    assert (english is None) == (chinese is None)
    if english is not None and english != "t":
        assert re.search("[\u4e00-\u9fff]", chinese)
        assert "\n" not in english


def test_what_persons_said_and_what_waits_for_them_is_told(tmp_path):
    with Journal(tmp_path, "rank0") as book:
        book.append(began())
        book.append(AttemptBegan(attempt=1, step=0, draw=0, cause="start"))
        book.append(
            PersonSaid(id="1", who="ada as <b>boss</b>", verb="ask", step=3, words="slowly")
        )
        book.append(
            Proposal(
                id="remedy-1",
                incident="incident-1",
                step=9,
                rung=0,
                cause="bad text",
                plan=(RollBack(to_step=5),),
                why="it is bad",
            )
        )
    inbox = Inbox(tmp_path)
    name = send(tmp_path, Word(verb="order", plan="warp 9"))
    inbox.refuse(name, "no action <i>")
    page = write_report(tmp_path).read_text()
    assert "step 3: ada as &lt;b&gt;boss&lt;/b&gt; sets the mode to &#x27;ask&#x27;: slowly" in page
    assert (
        "waits for a person: step 9: remedy-1 is proposed: roll back to step 5: it is bad" in page
    )
    assert f"a word that was refused: {name}: no action &lt;i&gt;" in page


def test_a_run_that_nobody_spoke_to_has_no_section_of_persons(healed, tmp_path):
    assert "What persons said" not in write_report(healed, tmp_path / "r.html").read_text()


class TestThePanel:
    def test_numbers_changes_and_remarks_are_there_in_both_languages(self, tmp_path):
        steps = range(0, 1000, 100)
        events = looks.run(
            ("zh/news", "zh/wiki", "code"), [lambda step, at=at: at + 1 / (1 + step) for at in (1.0, 2.0, 3.0)], steps
        )  # fmt: skip
        with Journal(tmp_path, "rank0") as book:
            for event in events:
                book.append(event)
        page = write_report(tmp_path).read_text()
        assert "bits/byte" in page
        assert "since step 0" in page
        assert "since step 800, the look before" in page
        assert "<td>\u2003zh</td>" in page
        assert "较第 0 步" in write_report(tmp_path, lang="zh").read_text()

    def test_a_look_that_is_not_finite_is_told_and_leaves_the_other_looks_drawn(self, tmp_path):
        bad = looks.look(10, [2.0])
        bad = PanelRecord(
            attempt=1, step=10, nll=(math.nan,), tokens=bad.tokens, bytes=bad.bytes, losses=((math.nan,) * 200,)
        )  # fmt: skip
        with Journal(tmp_path, "rank0") as book:
            for event in (began(("zh",)), looks.look(0, [2.0]), bad):
                book.append(event)
        page = write_report(tmp_path).read_text()
        assert "the loss of 200 of 200 sequences is not finite" in page
        assert 'd="M' in page

    def test_looks_at_an_older_version_are_faint(self, tmp_path):
        with Journal(tmp_path, "rank0") as book:
            for event in (
                began(("zh",)), looks.drawn([200]), looks.look(0, [2.0]), looks.look(10, [1.9]),
                looks.drawn([60], version=2, why="cleaner"), looks.look(10, [1.8], version=2, count=60),
            ):  # fmt: skip
                book.append(event)
        page = write_report(tmp_path).read_text()
        assert 'class="faint"' in page
        assert "(cleaner)" in page

    def test_names_of_domains_are_never_markup(self, tmp_path):
        with Journal(tmp_path, "rank0") as book:
            for event in (began(("<b>",)), looks.look(0, [2.0]), looks.look(10, [1.9])):
                book.append(event)
        assert "<b>" not in write_report(tmp_path).read_text().split("The fixed panel")[1]


def test_what_follows_from_the_looks_is_foretold_with_a_band(tmp_path):
    events = looks.run(("zh",), [lambda step: 1 + 1 / (1 + step)], range(0, 2000, 100))
    with Journal(tmp_path, "rank0") as book:
        for event in events:
            book.append(event)
    page = write_report(tmp_path).read_text()
    assert "The pale continuation" in page
    assert page.count('class="band"') == 2  # of the looks, and of what comes


def test_the_account_is_a_bar_a_table_and_what_follows_from_it(tmp_path):
    with Journal(tmp_path, "rank0") as book:
        book.append(began(("zh",)))
        book.append(AttemptBegan(attempt=1, step=0, draw=0, cause="start"))
        for step in range(1, 40):
            book.append(record(step, (2.0,), seconds=10.0))
        book.append(AttemptBegan(attempt=2, step=30, draw=0, cause="restart"))
        for step in range(31, 35):
            book.append(record(step, (2.0,), seconds=10.0, attempt=2))
        book.append(Advice(topic="mixing", text="give <zh> more"))
    page = write_report(tmp_path).read_text()
    assert '<i class="productive" style="flex:' in page
    assert "undone and made again" in page
    assert "undid 9 updates on 9,000 tokens" in page
    assert "give &lt;zh&gt; more" in page
    chinese = write_report(tmp_path, lang="zh").read_text()
    assert "作废重做" in chinese


def test_a_damaged_journal_is_reported_all_the_same(tmp_path):
    with Journal(tmp_path, "rank0") as book:
        book.append(began(("zh",)))
        for step in range(1, 40):
            book.append(record(step, (2.0,)))
    (path,) = (tmp_path / "journal").glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[7] = b"\x00" * 30 + b"\n"
    path.write_bytes(b"".join(lines) + b'{"v":1,"torn')
    page = write_report(tmp_path).read_text()
    assert "is at step 39" in page
    assert "1 lines of the journal cannot be read" in page


def test_a_band_on_a_logarithmic_axis_lies_about_its_curve():
    x = np.array([0.0, 1.0])
    band = (np.array([90.0, 9.0]), np.array([110.0, 11.0]))
    drawn = chart("p", [Line(name="zh", x=x, y=np.array([100.0, 10.0]), band=band)], log=True)
    numbers = [
        float(one)
        for one in re.findall(r'class="band".*? d="M([^"]*)Z"', drawn)[0].replace("L", " ").split()
    ]
    high, low = numbers[1], numbers[7]
    curve = float(re.search(r'stroke="[^"]+" d="M\S+ ([\d.]+)L', drawn)[1])
    assert high < curve < low  # down the page
