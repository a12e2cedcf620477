import ast
import html
import json
import re
import string
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadytrain import causes, cli, codec, deaths, events, plans, sayings
from steadytrain.board import cases, looks, stories
from steadytrain.board.report import write_report
from steadytrain.board.watched import Watched
from steadytrain.chaos import kinds
from steadytrain.chinese.words import WORDS
from steadytrain.errors import SettingError
from steadytrain.events import Cause, Diagnosis, ExaminedSequence, PanelDrawn, Remedy
from steadytrain.judge import schedule
from steadytrain.sayings import SENTENCES, TABLES, say, translated
from steadytrain.wording import SILENT, sentence

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "steadytrain"
SHAPES = {english: chinese for table in TABLES for english, chinese in table.items()}

JUDGE = sorted((PACKAGE / "judge").glob("*.py"))
OTHERS = {
    "control": "SettingError PermissionError", "slots": "SlotError OSError ValueError",
    "standing": "SettingError", "panels/drawing": "", "panels/overlap": "", "launch/stacks": "",
    "train/checkpoints": "CheckpointError", "train/crew": "CheckpointError", "train/desk": "SettingError",
    "train/looks": "", "train/manifest": "CheckpointError", "train/mapped": "CheckpointError",
    "train/found": "CheckpointError", "train/restores": "", "train/snapshots": "CheckpointError",
    "train/survivors": "", "train/writer": "CheckpointError", "launch/courier": "CheckpointError",
    "analysis": "", "board/summary": "", "chaos/verdict": "",
    "text/belonging": "", "text/encoded": "", "text/garbled": "", "text/lint": "", "text/misread": "",
    "text/repetition": "",
}  # fmt: skip
"""Files beside the judge's whose sentences come into a journal or onto a console, and errors that
do."""

INTERNAL = {
    "lr up", "lr down", "share up", "share down", "outlier batch", "slow divergence",
    "level shift", "new level", "rolled back", "no durable checkpoint", "not reproducible",
    "restored state differs", "loss not comparable", "device memory", "host memory",
    "shared memory", "given up", "another model", "another home", "new home", "the run began with",
}  # fmt: skip
"""Names that code compares with, and that nobody reads."""

NOT_TOLD = re.compile(
    r"holds no journal of a run|goes on without|is refused: |^the (word|control folder) |Current thread"
    r"|torch.distributed is|unexpected pos|states do not lie in shared memory"
    r"|takes no part in copies|^the state of \{\}$|does not tell what states|was turned away"
)
"""Of other rooms: what a command or a console says, and never a journal."""


CONSOLE = [
    *sorted((PACKAGE / "launch").glob("*.py")),
    PACKAGE / "chaos/campaign.py",
    PACKAGE / "chaos/command.py",
]


VALUES = {
    *deaths.SORTS.values(), *schedule._WORDS.values(), *causes.ALL, *causes.PATTERNS,
    *(phrase.says for phrase in plans.PHRASES),
    *(one.does for one in kinds.KINDS.values()), *kinds.ENDS.values(),
}  # fmt: skip


def _skeleton(text):
    return re.sub(r"\{[^{}]*\}", "{}", text)


def _literal(node):
    if isinstance(node, ast.Constant):
        return node.value
    return "".join(one.value if isinstance(one, ast.Constant) else "{}" for one in node.values)


def _texts(path, errors=()):
    """Every string of a file that could be a sentence for people."""
    tree = ast.parse(path.read_text())
    passed = set()
    for node in ast.walk(tree):
        inner = ()
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inner = (node.value,)
        elif isinstance(node, ast.JoinedStr):
            formats = [
                one.format_spec for one in node.values if isinstance(one, ast.FormattedValue)
            ]
            inner = [one for one in node.values if isinstance(one, ast.Constant)]
            inner += [one for spec in formats if spec for one in ast.walk(spec)]
        elif (
            isinstance(node, ast.Raise)
            and getattr(getattr(node.exc, "func", 0), "id", "") not in errors
        ) or (isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "compile"):
            inner = ast.walk(node)
        elif isinstance(node, ast.arg | ast.FunctionDef) and isinstance(
            note := getattr(node, "annotation", None) or getattr(node, "returns", None),
            ast.Constant,
        ):
            inner = (note,)
        passed |= {id(one) for one in inner}
    for node in ast.walk(tree):
        if id(node) in passed or not isinstance(node, ast.JoinedStr | ast.Constant):
            continue
        if isinstance(node, ast.Constant) and not isinstance(node.value, str):
            continue
        text = _literal(node)
        words = re.findall(r"[A-Za-z]{2,}", text.replace("{}", " . "))
        if " " in text.strip() and len(words) >= 2:
            yield text


KNOWN = {_skeleton(one) for one in SHAPES} | set(WORDS) | INTERNAL


@pytest.mark.parametrize("path", JUDGE, ids=lambda path: path.stem)
def test_every_sentence_of_the_judge_has_a_chinese_shape(path):
    assert not [text for text in _texts(path) if text not in KNOWN]


@pytest.mark.parametrize("name", OTHERS)
def test_so_has_what_others_write_into_a_journal(name):
    texts = _texts(PACKAGE / f"{name}.py", OTHERS[name].split())
    assert not [text for text in texts if text not in KNOWN and not NOT_TOLD.search(text)]


@pytest.mark.parametrize("path", CONSOLE, ids=lambda path: path.stem)
def test_so_has_every_line_that_a_command_says(path):
    """Whatever is given to `say` or `tell` as it stands."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    said = [
        _literal(call.args[0])
        for call in calls
        if getattr(call.func, "id", "") in ("say", "tell")
        and call.args
        and isinstance(call.args[0], ast.JoinedStr | ast.Constant)
    ]
    assert not [text for text in said if text not in KNOWN]


@pytest.mark.parametrize("name", sorted(VALUES))
def test_so_has_every_name_in_a_table(name):
    assert name in SHAPES or name in WORDS


@pytest.fixture(scope="module")
def written():
    """The skeleton of every string of the package."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "chinese":
            for node in ast.walk(ast.parse(path.read_text())):
                is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
                if is_text or isinstance(node, ast.JoinedStr):
                    found.add(_literal(node))
    return found


def test_no_shape_is_of_a_sentence_that_nobody_writes(written):
    assert not [one for one in SHAPES if _skeleton(one) not in written]


def test_no_word_is_one_that_nobody_writes(written):
    assert not [one for one in WORDS if one not in written]


_same = [
    (one, one) for one in ("3", "0.25", "-1.5", "+0.031", "1e-08", "nan", "inf", "1,024", "12%")
]
_sentence = [
    ("no evidence could be gathered", "未能取得证据"),
    ("its texts are as usual", "其文本与往常无异"),
    ("step 12", "第 12 步"),
    ("the cause is not known", "原因不明"),
]
_free = [(one, one) for one in ("runs/r1", "a.py:12", "layers.0.attn", "中文", "ValueError('x')")]
FILLS = {
    "n": st.sampled_from(_same),
    "i": st.sampled_from([(one, one) for one in ("remedy-3", "a0001-s00000090")]),
    "w": st.sampled_from(
        [("loss:zh, grad norm", "损失（zh）、梯度范数"), ("rise", "上升"), ("embedding", "嵌入层")]
    ),
    "l": st.sampled_from([("zh, en", "zh、en"), ("code", "code")]),
    "c": st.sampled_from(_sentence),
    "s": st.sampled_from([*_sentence, ("step 12; more evidence", "第 12 步；进一步的证据")]),
    "t": st.sampled_from([*_sentence, *_free]),
    None: st.sampled_from(_free),
}


ONE, ONE_WORD = (
    ("signal", "direction"),
    st.sampled_from([("loss:zh", "损失（zh）"), ("rise", "上升")]),
)
GAPS = ("n", "i", "l", None)


def _holes(english):
    pieces = sayings._pieces(english)
    return [one for pair in zip(pieces[1::3], pieces[2::3], strict=True) for one in pair]


@pytest.mark.parametrize("english", SHAPES)
class TestEveryShape:
    def test_says_in_chinese_what_it_says_in_english(self, english):
        holes = {name for _, name, _, _ in string.Formatter().parse(english) if name}
        assert holes == {
            name for _, name, _, _ in string.Formatter().parse(SHAPES[english]) if name
        }

    def test_is_set_as_chinese_is(self, english):
        """Wide marks; numbers and Latin names with a gap on both sides, Chinese words with none."""
        own, kinds = r"[\u4e00-\u9fff]", dict(zip(*[iter(_holes(english))] * 2, strict=True))
        chinese = re.sub(
            r"\{(\w+)\}", lambda hole: "9" if kinds[hole[1]] in GAPS else "\u4e2d", SHAPES[english]
        )
        assert not re.search(rf"{own}[A-Za-z0-9]|[A-Za-z0-9%]{own}|{own}[,;:?!()]", chinese)
        is_head = "  " in chinese.strip()  # of a table
        assert is_head or not re.search(rf"{own} {own}", chinese)

    @settings(max_examples=12, deadline=None)
    @given(data=st.data())
    def test_is_found_again_in_what_is_written(self, english, data):
        holes = zip(*[iter(_holes(english))] * 2, strict=True)
        told = {
            name: data.draw(ONE_WORD if kind == "w" and name in ONE else FILLS[kind])
            for name, kind in holes
        }
        written = re.sub(r":\w\}", "}", english).format(**{k: a for k, (a, _) in told.items()})
        assert say(written, "zh") == SHAPES[english].format(**{k: b for k, (_, b) in told.items()})


def _read(folder):
    for path in sorted(folder.rglob("*.jsonl")):
        for line in path.read_text().splitlines():
            yield codec.decode(line.encode())


def _unknown(value, lang="zh"):
    """Sentences in an event, or in a part of it, that stay English."""
    if isinstance(value, str):
        return [value] if value and say(value, lang) == value else []
    if isinstance(value, tuple):
        return [one for part in value for one in _unknown(part)]
    names = SENTENCES.get(type(value), ())
    return [one for name in names for one in _unknown(getattr(value, name))]


class TestTranslated:
    def test_knows_every_sentence_of_the_golden_journals(self):
        found = list(_read(ROOT / "tests" / "golden" / "journals"))
        assert sum(bool(SENTENCES.get(type(one))) for one in found) > 20
        quoted = {"incident-1", "the logits grow"}  # an id, and a person's own words
        assert {one for event in found for one in _unknown(event)} <= quoted

    def test_leaves_names_and_english_alone(self):
        cause = Cause(
            name="bad text", confidence=0.9, domain="zh", evidence=("its texts are as usual",)
        )
        event = Diagnosis(incident="incident-1", step=3, causes=(cause,))
        assert translated(event, "en") is event
        (seen,) = translated(event, "zh").causes
        assert (seen.name, seen.domain) == ("bad text", "zh")
        assert seen.evidence == ("其文本与往常无异",)

    def test_leaves_what_it_does_not_know(self):
        remedy = Remedy(
            id="remedy-1", incident="incident-1", step=1, due=3, rung=0, cause="x", plan=(),
            why="because I say so",
        )  # fmt: skip
        assert translated(remedy, "zh") == remedy

    def test_every_text_of_an_event_is_a_sentence_or_a_name(self):
        assert {name for names in SENTENCES.values() for name in names} & NAMES == set()
        structs = [*events.KINDS, Cause, ExaminedSequence, events.PanelMove, events.Trial]
        for kind in structs:
            for field in msgspec.structs.fields(kind):
                if field.type in (str, str | None, tuple[str, ...], tuple[str, ...] | None):
                    known = (*SENTENCES.get(kind, ()), *NAMES, *QUOTED.get(kind, ()))
                    assert field.name in known, f"{kind.__name__}.{field.name}"


NAMES = {
    "topic", "signal", "direction", "id", "signals", "directions", "change", "name", "domain", "domains",
    "defect", "incident", "pattern", "remedy", "source", "verdict", "path", "digest", "differs_in",
    "phase", "run", "model", "panel", "layers", "order", "can", "checkpoint", "replaces", "tokenizer",
    "origin", "rng", "home", "who", "words", "checked", "digests", "thread", "threads", "channel", "reference",
    "host", "hosts",
}  # fmt: skip
QUOTED = {
    events.AlertSent: ("notes", "title", "text", "why"),  # as it was sent
    events.JudgingEnded: ("reason",),  # an exception
    PanelDrawn: ("why",),  # what the user wrote
    Cause: ("name",), Remedy: ("cause",), events.Proposal: ("cause",),
}  # fmt: skip


class TestSay:
    def test_says_several_sentences_in_one(self):
        differences = "epsilon is 1e-06, on record is 1e-08; the optimizer has counted 3 updates, 4 are on record"
        assert (
            say(differences, "zh")
            == "epsilon 为 1e-06，记录为 1e-08；优化器计数为 3 次更新，记录为 4 次"
        )

    def test_knows_a_list_of_signals(self):
        text = (
            "update, lr ratio, loss:zh, grad norm:embedding, grad norm: rise, changed, not finite"
        )
        assert say(text, "zh") == (
            "更新幅度、学习率与计划之比、损失（zh）、梯度范数（嵌入层）、梯度范数：上升、被改动、非有限"
        )

    def test_quotes_what_is_quoted(self):
        text = "draw 5, a{x}/more evidence:3: read back it is text: <b>no pattern fits</b>; step 3"
        assert say(text, "zh") == (
            "数据序号 5，a{x}/more evidence:3：还原后是正常文本：<b>no pattern fits</b>; step 3"
        )

    @pytest.mark.parametrize(
        "part", ["draw 5, ", "x: ", "rank 3: ", "; ", ", since ", "a would accept "]
    )
    def test_is_quick_whatever_the_text(self, part):
        began = time.process_time()
        for size in (10, 100, sayings.LONGEST // len(part)):
            say("x" + part * size, "zh")
        assert time.process_time() - began < 2.0

    def test_passes_over_a_text_that_is_too_long(self):
        text = "draw 5, a: " + "x" * sayings.LONGEST
        assert say(text, "zh") == text

    @pytest.mark.parametrize(
        "plan", ["", "fly", "lr", "lr x", "lr 0.5 hold", "lr 0.5 fold 3", "roll back 3; roll back 4",
                 "exclude rank x", "skip draws x", "reset moments now", "lr 0.5 hold 3 hold 4", "epsilon 0"]
    )  # fmt: skip
    def test_answers_a_wrong_plan(self, plan):
        with pytest.raises(SettingError) as caught:
            plans.parse(plan, after=10)
        assert not re.search(r"[a-z] (is|must|means|stands) ", say(str(caught.value), "zh"))


class TestEveryKindOfEvent:
    @pytest.mark.parametrize("kind", events.KINDS, ids=lambda kind: kind.__name__)
    def test_has_words_in_both_languages_or_is_silent(self, kind):
        event = codec.decode((ROOT / "tests/golden/events" / f"{kind.__name__}.json").read_bytes())
        english, chinese = sentence(event), sentence(event, lang="zh")
        assert (english is None) == (chinese is None) == (kind in SILENT)
        if chinese is not None and kind is not events.Advice:
            assert re.search("[\u4e00-\u9fff]", chinese)
            assert english != chinese


GOLDEN = sorted(one.parent for one in (ROOT / "tests" / "golden" / "journals").glob("*/journal"))


def _said(value):
    """Every sentence of an event that has a Chinese form."""
    if isinstance(value, str):
        return {value} if say(value, "zh") != value else set()
    if isinstance(value, tuple):
        return {one for part in value for one in _said(part)}
    names = SENTENCES.get(type(value), ())
    return {one for name in names for one in _said(getattr(value, name))}


@pytest.mark.parametrize("home", GOLDEN, ids=lambda home: home.name)
class TestEveryPlaceThatShowsAJournal:
    """None of the English sentences of a journal is left in Chinese."""

    @pytest.fixture
    def english(self, home):
        found = {one for event in _read(home) for one in _said(event) if " " in one}
        assert len(found) >= 5
        return found

    def test_the_report(self, home, english, tmp_path):
        page = write_report(home, tmp_path / "report.html", lang="zh").read_text()
        assert not {one for one in english if html.escape(one) in page}

    def test_what_waits_for_a_person(self, home, english, capsys):
        cli.main(["remedy", str(home), "--lang", "zh"])
        assert not {one for one in english if one in capsys.readouterr().out}

    def test_the_status(self, home, english, capsys):
        cli.main(["status", str(home), "--lang", "zh"])
        assert not {one for one in english if one in capsys.readouterr().out}

    def test_the_alerts(self, home, english, capsys):
        cli.main(["tell", str(home), "--dry-run", "--lang", "zh"])
        assert not {one for one in english if one in capsys.readouterr().out}

    def test_the_board(self, home, english):
        one = Watched(id="r", home=home)
        one.catch_up(seconds=9)
        names = {event.id for _, event in one.of(events.Incident)}
        with one.lock:
            told = [cases.standing(one, "zh"), looks.looks(one, "zh"), stories.lines(one, "zh")]
            told += [cases.incident(one, name, "zh") for name in names]
        assert not {one for one in english if one in json.dumps(told, ensure_ascii=False)}
