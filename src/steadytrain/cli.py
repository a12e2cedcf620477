"""The command line: `steadytrain COMMAND`; `steadytrain --help` lists the commands.

Imports stand inside the commands, so that `steadytrain --help` and the torch-free commands are
quick and work where torch is not installed.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from steadytrain import __version__, options
from steadytrain.errors import SettingError, SteadytrainError
from steadytrain.options import Commands


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Errors on purpose are one line, without a trace."""
    given = sys.argv[1:] if arguments is None else arguments
    # What follows `--` is another program's command line.
    own, mark, command = _split(given)
    lang = "en"
    try:
        options = _parser(given[0] if given else None).parse_args(own)
        options.command_line = command if mark else []
        lang = getattr(options, "lang", lang)
        status: int = options.action(options)
    except SteadytrainError as error:
        from steadytrain.sayings import say

        print(f"steadytrain: {say(str(error), lang)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def _parser(named: str | None = None) -> argparse.ArgumentParser:
    """The words of every command; of one alone if it is named: it waits for no other's modules."""
    parser = argparse.ArgumentParser(
        prog="steadytrain",
        description="Watches a language model's pre-training, understands what goes wrong, "
        "repairs it, and proves that the repair held.",
    )
    parser.add_argument("--version", action="version", version=f"steadytrain {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    adders: dict[str, Callable[[Commands], None]] = {
        "demo": _add_demo,
        "run": _add_run,
        "chaos": _add_chaos,
        "remedy": _add_remedy,
        "tell": lambda some: options.add_tell(some, _tell),
        "status": lambda some: options.add_status(some, _status),
        "watch": lambda some: options.add_watch(some, _watch),
        "analyze": lambda some: options.add_analyze(some, _analyze),
        "panel": _add_panel,
        "replay": _add_replay,
        "report": lambda some: options.add_report(some, _report),
        "board": _add_board,
        "lint": lambda some: options.add_lint(some, _lint),
        "show": lambda some: options.add_show(some, _show),
        "doctor": _add_doctor,
    }
    for name, add in adders.items():
        if named not in adders or name == named:
            add(commands)
    return parser


def _add_demo(commands: Commands) -> None:
    demo = commands.add_parser(
        "demo", help="train a small model on real text, break it in nine ways, watch it heal"
    )
    demo.add_argument("--steps", type=int, default=700, help="updates of each run (700)")
    demo.add_argument("--seed", type=int, default=0, help="of data, weights and faults (0)")
    demo.add_argument(
        "--faults",
        help="comma-separated (one of each sort): garbled, newlines, encoded, repetition, markup, "
        "wrong-domain; the same in half of a domain's documents for 400 updates: shard-garbled, "
        "shard-newlines, shard-encoded, shard-repetition, shard-markup, shard-wrong-domain; "
        "repeated-batch, mixture, leak (panel text is trained on), outbreak, logits, "
        "learning-rate, gradient, weights, moments, optimizer, adam-reset, betas, epsilon, rank, "
        "flip-weight, flip-gradient, flip-moment, flip-square (one bit of one rank), "
        "kill, freeze, tear; a fault in the text may name its domain: garbled:en",
    )
    demo.add_argument("--no-faults", action="store_true", help="only train, and watch")
    demo.add_argument(
        "--domain",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="text of a domain: a file or folder of txt, md, jsonl, parquet, or hf:NAME; "
        "replaces or adds one; / makes a hierarchy",
    )
    demo.add_argument("--home", type=Path, help="folder for the runs (runs/demo-DATE)")
    options.add_lang(demo, says="of messages and report")
    demo.add_argument("--json", action="store_true", help="print one JSON object at the end")
    demo.set_defaults(action=_demo)


def _add_chaos(commands: Commands) -> None:
    from steadytrain.chaos import command

    command.add_to(commands, _chaos)


def _add_run(commands: Commands) -> None:
    from steadytrain.launch import command

    says = "start a training script, restart it when it dies or hangs"
    run = commands.add_parser("run", help=says)
    command.add_arguments(run)
    options.add_lang(run, says="of the supervisor's lines")
    options.add_beside(run)
    run.set_defaults(action=_run)


def _add_remedy(commands: Commands) -> None:
    from steadytrain import persons

    remedy = commands.add_parser(
        "remedy", help="show what a run proposes; accept, refuse or order a remedy while it goes on"
    )
    persons.add_arguments(remedy)
    remedy.set_defaults(action=persons.run)


def _add_panel(commands: Commands) -> None:
    from steadytrain import looking

    panel = commands.add_parser(
        "panel", help="perplexity of a fixed panel: of a run at any step, a checkpoint, a model"
    )
    looking.add_arguments(panel)
    panel.set_defaults(action=_panel)


def _add_replay(commands: Commands) -> None:
    replay = commands.add_parser("replay", help="reach every judgment of a run again and compare")
    replay.add_argument("home", type=Path)
    replay.add_argument("--json", action="store_true")
    replay.set_defaults(action=_replay)


def _add_board(commands: Commands) -> None:
    from steadytrain.board import options as board_options

    board = commands.add_parser(
        "board", help="serve a live board of runs to a browser; works with no network"
    )
    board_options.add_arguments(board)
    board.set_defaults(action=_board)


def _add_doctor(commands: Commands) -> None:
    doctor = commands.add_parser("doctor", help="say what is installed and what each part needs")
    doctor.add_argument("home", nargs="?", type=Path, help="try whether a run can live there")
    options.add_lang(doctor)
    doctor.set_defaults(action=_doctor)


def _demo(options: argparse.Namespace) -> int:
    _need("torch", "rich", extra="lab")
    from steadytrain.lab import demo

    return demo.run(
        demo.Settings(
            home=options.home,
            steps=options.steps,
            seed=options.seed,
            fault_names=demo.choose_faults(options.faults, none=options.no_faults),
            domains=options.domain,
            lang=options.lang,
            as_json=options.json,
        )
    )


def _run(options: argparse.Namespace) -> int:
    if not options.command_line:
        raise SettingError(
            "no training script was named, so there is nothing to run. "
            "Write: steadytrain run --home runs/r1 -- train.py --your-options"
        )
    _need("torch", "psutil", extra="train")
    from steadytrain.launch import command
    from steadytrain.launch.supervisor import Supervisor
    from steadytrain.tell import companion

    os.environ["STEADYTRAIN_LANG"] = options.lang
    supervisor = Supervisor(**command.arguments(options))
    with companion.beside(options):
        return supervisor.run()


def _chaos(options: argparse.Namespace) -> int:
    from steadytrain.chaos import command

    if options.list:
        print(command.describe(options.lang))
        return 0
    settings = command.settings(options)
    _need("torch", "psutil", "rich", extra="lab")
    from steadytrain.chaos import campaign

    return campaign.run(settings)


def _tell(options: argparse.Namespace) -> int:
    from steadytrain.tell import telling

    return telling.run(options)


def _status(options: argparse.Namespace) -> int:
    from steadytrain import status

    return status.run(options)


def _watch(options: argparse.Namespace) -> int:
    _need("rich", extra="lab")
    from steadytrain import screen

    return screen.run(
        options.home, lang=options.lang, every_seconds=options.every, is_live=not options.once
    )


def _analyze(options: argparse.Namespace) -> int:
    from steadytrain.analysis import analyze
    from steadytrain.board.summary import summarize
    from steadytrain.board.zoom import write_zoom
    from steadytrain.errors import LogError
    from steadytrain.readers.discovery import discover
    from steadytrain.sayings import say

    given = _pairs(options.tag)
    found = discover(options.paths)
    analyses = []
    refused = [f"{path}: {why}" for path, why in found.refused]
    strangers = []
    for run in found.runs:
        try:
            analyses.append(
                analyze(run, given=given, steps_per_false_alarm=options.steps_per_false_alarm)
            )
        except LogError as error:
            strangers.append((run.name, error))
    if not analyses and strangers:
        raise strangers[0][1]
    refused += [f"{name}: it holds no training loss" for name, _ in strangers]
    for line in refused:
        print(f"steadytrain: {say(f'left out: {line}', options.lang)}", file=sys.stderr)
    if not analyses:
        return 2
    for one in analyses:
        print(json.dumps(one.plain()) if options.json else summarize(one, options.lang))
    if options.html is not None:
        write_zoom(analyses, options.html)
        print(f"curves: {options.html}", file=sys.stderr)
    return 1 if any(one.troubles for one in analyses) else 0


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = {}
    for one in given:
        name, mark, tag = one.partition("=")
        if not (name and mark and tag):
            raise SettingError(
                f"--tag {one!r} does not say which series is what. Write --tag loss=my_loss."
            )
        pairs[name] = tag
    return pairs


def _panel(options: argparse.Namespace) -> int:
    from steadytrain import looking

    match looking.asked(options):
        case "run":
            return looking.show(options)
        case "checkpoint":
            _need("torch", "xxhash", extra="train")
            from steadytrain.train import measuring

            return looking.show_checkpoint(options, measuring.measure)
    _need("torch", "transformers", extra="hf")
    from steadytrain.adapters import huggingface

    return looking.show_model(options, huggingface.look)


def _replay(options: argparse.Namespace) -> int:
    from steadytrain.replaying import replay

    results = replay(options.home)
    differs = False
    for result in results:
        differs = differs or bool(result.differences)
        if options.json:
            print(
                json.dumps(
                    {
                        "writer": result.writer,
                        "events": result.events,
                        "judgments": result.judgments,
                        "differences": [
                            {"index": d.index, "recorded": d.recorded, "reached": d.reached}
                            for d in result.differences
                        ],
                    }
                )
            )
            continue
        verdict = "all the same" if not result.differences else f"{len(result.differences)} differ"
        print(f"{result.writer}: {result.events} events, {result.judgments} judgments: {verdict}")
        for difference in result.differences[:10]:
            print(f"  {difference.index} recorded {difference.recorded}")
            print(f"  {difference.index} reached  {difference.reached}")
    return 1 if differs else 0


def _report(options: argparse.Namespace) -> int:
    from steadytrain.board import report

    told = {"against": options.against, "kind": options.format, "lang": options.lang}
    if options.out == Path("-"):
        print(report.report(options.home, **told), end="")
    else:
        print(report.write_report(options.home, options.out, **told))
    return 0


def _board(options: argparse.Namespace) -> int:
    _need("starlette", "uvicorn", extra="board")
    from steadytrain.board import options as wishes
    from steadytrain.board import serve

    return serve.run(wishes.settings(options))


def _lint(options: argparse.Namespace) -> int:
    from steadytrain.corpora import linting

    return linting.run(
        linting.Settings(
            paths=tuple(options.paths),
            domain=options.domain,
            column=options.column,
            tokenizer=options.tokenizer,
            workers=options.workers,
            out=options.out,
            as_json=options.json,
            lang=options.lang,
        )
    )


def _show(options: argparse.Namespace) -> int:
    from steadytrain import show

    return show.run(
        options.home,
        options.step,
        order=options.order,
        top=options.top,
        as_json=options.json,
        lang=options.lang,
    )


def _doctor(options: argparse.Namespace) -> int:
    from steadytrain import doctor

    return doctor.run(options.home, options.lang)


def _need(*modules: str, extra: str) -> None:
    from importlib import util

    missing = [name for name in modules if util.find_spec(name) is None]
    if missing:
        raise SettingError(
            f"{', '.join(missing)} is not installed, and this command needs it. "
            f"Write: pip install 'steadytrain[{extra}]'"
        )


def _split(given: list[str]) -> tuple[list[str], bool, list[str]]:
    if "--" not in given:
        return given, False, []
    at = given.index("--")
    return given[:at], True, given[at + 1 :]


if __name__ == "__main__":
    sys.exit(main())
