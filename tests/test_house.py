"""The house rules of docs/architecture.md, section 7, as tests."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from steadytrain import cli, events

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "steadytrain"
MODULES = sorted(PACKAGE.rglob("*.py"))
WITH_TORCH = ("train", "adapters", "lab")
PURE = ("stats", "text", "judge")
IMPURE_MODULES = {"time", "random", "os", "logging", "threading", "subprocess", "socket"}
GROUND = {
    "acknowledgements",
    "absences",
    "actions",
    "cadence",
    "codec",
    "causes",
    "chinese",
    "control",
    "disks",
    "durable",
    "errors",
    "goodput",
    "goodput_words",
    "journal",
    "metrics",
    "news",
    "options",
    "phrases",
    "plans",
    "progress",
    "ranges",
    "recipes",
    "replaying",
    "sayings",
    "signals",
    "slots",
    "spans",
    "standing",
    "status",
    "stints",
    "stories",
    "vitals",
    "wording",
    "stats",
    "text",
    "judge",
}

PUBLIC_NAMES = {
    "steadytrain": [
        "CheckpointError",
        "FeedError",
        "Finding",
        "JournalError",
        "Judge",
        "SettingError",
        "SteadytrainError",
        "Watch",
        "__version__",
        "replay",
    ],
    "steadytrain.train": [
        "Batch",
        "DataOrder",
        "Feed",
        "Panel",
        "Ranks",
        "Session",
        "WarmupStableDecay",
        "Waypoints",
        "branch_step",
    ],
    "steadytrain.panels": ["FixedPanel", "PanelSegment", "PanelSequence", "draw", "named"],
    "steadytrain.text": ["Habits", "Profile", "Verdict", "lint", "nearest"],
}
LARGE = {
    "train/session",
    "train/checkpoints",
}  # architecture, section 8
COMMANDS = [
    "analyze",
    "board",
    "chaos",
    "demo",
    "doctor",
    "lint",
    "panel",
    "remedy",
    "replay",
    "report",
    "run",
    "show",
    "status",
    "tell",
    "watch",
]


def _name(path):
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def _room(name):
    return name.split("/")[0] if "/" in name else None


def _imports(path, *, at_top=False):
    """Modules that a file imports, as dotted names; with `at_top` only those at import time."""
    tree = ast.parse(path.read_text())
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if at_top and id(node) in inside:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _own(path):
    """Rooms and ground-floor modules of this package that a file imports."""
    for name in _imports(path):
        if name.startswith("steadytrain."):
            yield name.split(".")[1]


@pytest.mark.parametrize("path", MODULES, ids=_name)
class TestEveryModule:
    def test_torch_is_imported_only_where_tensors_are(self, path):
        if _room(_name(path)) in WITH_TORCH or _name(path) == "launch/workers":
            return  # the workers are PyTorch's elastic agent's; loaded when a run starts
        at_top = set(_imports(path, at_top=True))
        assert not {name for name in at_top if name.split(".")[0] == "torch"}

    def test_what_concludes_has_no_clock_no_chance_and_no_disk(self, path):
        if _room(_name(path)) not in PURE:
            return
        assert not {name.split(".")[0] for name in _imports(path)} & IMPURE_MODULES

    def test_siblings_in_the_judge_do_not_know_each_other(self, path):
        name = _name(path)
        composers = ("judge/judge", "judge/treatment", "judge/outlook", "judge/__init__")
        if _room(name) != "judge" or name in composers:
            return
        found = {one for one in _imports(path) if one.startswith("steadytrain.judge")}
        # What a detector is, what evidence is, what is remembered: words that siblings share.
        words = ("detectors", "evidence", "looks", "rung", "seen", "situation", "state")
        shared = tuple(f"steadytrain.judge.{word}" for word in words)
        assert all(one.startswith(shared) for one in found)

    def test_rooms_do_not_import_each_other(self, path):
        forbidden = {
            "train": {"launch", "board", "tell", "lab", "adapters", "cli"},
            "launch": {"train", "board", "tell", "lab", "adapters", "cli"},
            "board": {"train", "launch", "tell", "lab", "adapters", "cli"},
            "tell": {"train", "launch", "board", "lab", "adapters", "cli"},
            "judge": {
                "train",
                "launch",
                "board",
                "tell",
                "lab",
                "journal",
                "replaying",
                "cli",
                "text",
                "chinese",  # what is concluded is written in one language, whoever reads it
                "sayings",
            },
            # `numbers` breaks a Session inside a rank, `campaign` compares what two have saved.
            "chaos": {"board", "tell", "adapters", "cli"}
            | ({"train"} if _name(path) not in ("chaos/numbers", "chaos/campaign") else set()),
            "stats": set(GROUND) - {"stats", "errors"} | {"train", "launch", "board", "lab"},
            "text": set(GROUND) - {"text", "stats", "errors"} | {"train", "launch", "board", "lab"},
        }
        assert not set(_own(path)) & forbidden.get(_room(_name(path)), set())

    def test_a_function_hides_no_import_but_in_the_command_line(self, path):
        allowed = {
            "cli",  # keeps the command line quick
            "launch/supervisor",  # PyTorch's agent, so that the rest of launch/ needs no torch
            "launch/workers",
            "lab/documents",  # pyarrow and datasets are extras
        }
        if _name(path) in allowed:
            return
        assert set(_imports(path)) == set(_imports(path, at_top=True))

    def test_a_file_is_not_two_files(self, path):
        most = 640 if _name(path) in LARGE else 400
        assert len(path.read_text().splitlines()) <= most

    def test_code_is_ascii(self, path):
        chinese = (
            "goodput_words",
            "panel_words",
            "phrases",
            "wording",
            "spans",
            "status",
            "stories",
            "tell/words",
        )
        if (
            _name(path) in (*chinese, "board/page", "board/remedies")
            or _room(_name(path)) == "chinese"
        ):
            return  # the Chinese phrases
        path.read_text(encoding="utf-8").encode("ascii")


def test_no_circle_of_imports():
    graph = {}
    for path in MODULES:
        name = _name(path).removesuffix("/__init__").replace("/", ".")
        known = {_name(other).removesuffix("/__init__").replace("/", ".") for other in MODULES}
        found = {one.removeprefix("steadytrain.") for one in _imports(path, at_top=True)}
        graph[name] = (found & known) - {name}
    done, path_now = set(), []

    def visit(name):
        assert name not in path_now, f"circle: {' -> '.join([*path_now, name])}"
        if name in done:
            return
        path_now.append(name)
        for other in graph[name]:
            # A package's face imports its rooms; the rooms import each other, not the face.
            if not name.startswith(f"{other}."):
                visit(other)
        path_now.pop()
        done.add(name)

    for name in graph:
        visit(name)


@pytest.mark.parametrize(
    "statement",
    [
        "import steadytrain",
        "from steadytrain import recipes, replay",
        "from steadytrain.text import lint; assert lint('hello world, this is fine').verdict",
        "from steadytrain.board.report import write_report",
        "from steadytrain.board.zoom import write_zoom",
        "from steadytrain.board.app import make_app",
        "from steadytrain.readers.discovery import discover",
        "from steadytrain.panels import FixedPanel, draw",
        "from steadytrain import Watch; Watch().update(1, 2.0)",
        "from steadytrain import cli",
        "import steadytrain.launch.supervisor",
        "from steadytrain.tell import companion, telling",
        "from steadytrain import metrics, status",
        "from steadytrain.chaos import command, inside, outside, trial, verdict",
    ],
)
def test_the_torch_free_parts_work_without_torch(statement):
    blocked = "import sys; sys.modules['torch'] = None; "
    subprocess.run([sys.executable, "-c", blocked + statement], check=True)


@pytest.mark.parametrize("module", PUBLIC_NAMES, ids=str)
def test_public_names_are_a_frozen_list(module):
    found = __import__(module, fromlist=["*"])
    assert sorted(found.__all__) == sorted(PUBLIC_NAMES[module])


def test_commands_are_a_frozen_list():
    actions = cli._parser()._subparsers._group_actions[0]
    assert sorted(actions.choices) == COMMANDS


def test_event_kinds_are_a_frozen_list():
    golden = {path.stem for path in (ROOT / "tests" / "golden" / "events").glob("*.json")}
    assert {kind.__name__ for kind in events.KINDS} == golden


def test_a_journal_is_opened_for_writing_at_one_place_per_process():
    writers = {
        _name(path): path.read_text().count("journal.Journal(")
        + path.read_text().count(" Journal(home")
        for path in MODULES
    }
    assert {name for name, count in writers.items() if count} <= {
        "train/memory",
        "launch/supervisor",
        "tell/ledger",
    }


def test_the_board_writes_no_journal():
    for path in (PACKAGE / "board").rglob("*.py"):
        assert "Journal" not in {one.split(".")[-1] for one in _imports(path)}


def test_one_broad_except_exists():
    broad = [
        f"{_name(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException"))
    ]
    allowed = (
        "train/memory:",
        "train/checkpoints:",
        "train/crew:",
    )  # the fence; DCP raises BaseException
    assert all(place.startswith(allowed) for place in broad)
    assert sum(place.startswith("train/memory:") for place in broad) == 1
