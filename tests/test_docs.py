"""Every command, option, event and file is documented; both READMEs tell the same."""

import re
import subprocess
from pathlib import Path

import pytest

from steadytrain import cli, control, events, plans
from steadytrain.chaos.kinds import CHECKLISTS, KINDS
from steadytrain.chaos.plan import built_in
from steadytrain.lab import faults

ROOT = Path(__file__).parents[1]
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
class TestBothReadmes:
    def test_every_command_is_shown(self, readme):
        text = readme.read_text()
        actions = cli._parser()._subparsers._group_actions[0]
        assert all(f"steadytrain {name}" in text for name in actions.choices)

    def test_every_demo_option_is_shown(self, readme):
        text = readme.read_text()
        demo = cli._parser()._subparsers._group_actions[0].choices["demo"]
        options = {name for action in demo._actions for name in action.option_strings}
        assert all(name in text for name in options - {"-h", "--help"})

    def test_every_source_file_has_a_caption_in_the_tree(self, readme):
        text = readme.read_text()
        (tree,) = [part for part in text.split("```")[1::2] if "src/steadytrain/" in part]
        for path in sorted((ROOT / "src" / "steadytrain").rglob("*.py")):
            if path.name == "__init__.py":
                continue
            assert re.search(rf"^\s+{re.escape(path.name)}\s+\S", tree, re.M), path.name

    def test_links_lead_somewhere(self, readme):
        for target in re.findall(r"\]\(([^)#]+)\)", readme.read_text()):
            if "://" not in target:
                assert (ROOT / target).exists(), target


def test_every_event_is_in_the_architecture():
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert all(f"`{kind.__name__}`" in text for kind in events.KINDS)


@pytest.mark.parametrize("command", ["tell", "status", "watch"])
def test_every_option_of_telling_is_documented(command):
    text = (ROOT / "docs" / "alerts.md").read_text()
    parser = cli._parser()._subparsers._group_actions[0].choices[command]
    options = {name for action in parser._actions for name in action.option_strings}
    assert all(name in text for name in options - {"-h", "--help"})


def test_every_fault_kind_and_option_of_chaos_is_documented():
    text = (ROOT / "docs" / "chaos.md").read_text()
    parser = cli._parser()._subparsers._group_actions[0].choices["chaos"]
    options = {name for action in parser._actions for name in action.option_strings}
    assert all(name in text for name in options - {"-h", "--help"})
    assert all(f"| `{kind.name}` | {kind.does}" in text for kind in KINDS.values())
    assert all(f"`{name}`" in text for name in built_in())
    assert all(
        f"| {theirs} | {ours} |" in text
        for one in CHECKLISTS.values()
        for theirs, ours in one.items()
    )


def test_every_option_of_the_report_is_documented():
    text = (ROOT / "docs" / "report.md").read_text()
    parser = cli._parser()._subparsers._group_actions[0].choices["report"]
    options = {name for action in parser._actions for name in action.option_strings}
    assert all(f"`{name}" in text for name in options - {"-h", "--help"})


def test_every_action_that_a_person_can_order_is_documented_with_its_example():
    text = (ROOT / "docs" / "remedies.md").read_text()
    orders = [one for one in plans.PHRASES if one.opening not in ("skip update", "ask")]
    assert all(f"`{one.example}`" in text for one in orders)
    assert all(f"`{mode}`" in text for mode in control.MODES)


def test_every_fault_is_in_the_demos_help():
    demo = cli._parser()._subparsers._group_actions[0].choices["demo"]
    text = " ".join(action.help or "" for action in demo._actions)
    assert all(name in text for name in faults.ALL)


def test_every_bench_says_what_it_measures():
    scripts = [path for path in (ROOT / "bench").glob("*.py") if path.name != "machine.py"]
    assert scripts
    assert all(path.read_text().startswith('"""') for path in scripts)


def test_nothing_names_a_path_of_one_machine():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".txt") and path.exists():
            assert "/ro" + "ot/" not in path.read_text(), name
