"""Options of the commands that only read: runs, logs, corpora; `cli.py` says what each does."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from steadytrain.errors import SettingError

LANGS = ("en", "zh")
LEVELS = ("info", "warning", "critical")
CHANNELS = "feishu, lark, dingtalk, wecom, slack, webhook, mail, apprise"

Action = Callable[[argparse.Namespace], int]
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_EXAMPLES = """\
Addresses and keys come from the environment or a file, never from the command line:

  export STEADYTRAIN_FEISHU_URL=https://open.feishu.cn/open-apis/bot/v2/hook/...
  export STEADYTRAIN_FEISHU_SECRET=...
  steadytrain tell --test --to feishu
  steadytrain tell runs/r1 --to feishu --to mail=critical --quiet 22:30-08:00 --lang zh
  steadytrain tell runs/r1 --acknowledge incident-3 --as Ada

docs/alerts.md lists what each channel needs.
"""


def add_lang(
    command: argparse.ArgumentParser, name: str = "--lang", *, says: str = "of what is shown"
) -> None:
    """`--lang`; where it is left out, STEADYTRAIN_LANG says which language, else it is English.

    Raises:
        SettingError: STEADYTRAIN_LANG is neither en nor zh.
    """
    usual = os.environ.get("STEADYTRAIN_LANG") or "en"
    if usual not in LANGS:
        raise SettingError(
            f"STEADYTRAIN_LANG={usual} is no language that is spoken here. Write en or zh."
        )
    command.add_argument(name, choices=LANGS, default=usual, help=f"{says} ({usual})")


def add_report(commands: Commands, action: Action) -> None:
    """`steadytrain report`."""
    report = commands.add_parser(
        "report", help="write a run's report, or that of two runs, as HTML or Markdown"
    )
    report.add_argument("home", type=Path, metavar="RUN", help="folder of the run")
    report.add_argument(
        "--against", type=Path, metavar="RUN", help="another run, to compare the two"
    )
    report.add_argument(
        "--format", choices=["html", "md"], default="html", help="one HTML file, or Markdown (html)"
    )
    report.add_argument(
        "--out", type=Path, metavar="FILE", help="where to (RUN/report.html or .md); - prints it"
    )
    add_lang(report)
    report.set_defaults(action=action)


def add_tell(commands: Commands, action: Action) -> None:
    """`steadytrain tell`."""
    tell = commands.add_parser("tell", help="tell people what a run's journal says, where they are")
    tell.set_defaults(action=action)
    tell.formatter_class = argparse.RawDescriptionHelpFormatter
    tell.epilog = _EXAMPLES
    tell.add_argument("home", type=Path, nargs="?", metavar="RUN", help="folder of the run")
    tell.add_argument(
        "--to",
        action="append",
        default=[],
        metavar="CHANNEL",
        help=f"{CHANNELS}; feishu:night for one of several, mail=critical for its level",
    )
    tell.add_argument("--secrets", type=Path, metavar="FILE", help="NAME=VALUE lines; mode 600")
    tell.add_argument("--level", choices=LEVELS, default="info", help="from which on (info)")
    tell.add_argument("--quiet", metavar="HH:MM-HH:MM", help="only what is critical")
    tell.add_argument("--zone", metavar="NAME", help="of --quiet: Asia/Shanghai (this machine's)")
    minutes = {
        "--cooldown": (5.0, "between two alerts of a kind; those meanwhile are one (5)"),
        "--escalate-after": (30.0, "an incident that nobody acknowledged is critical (30)"),
        "--silent-after": (None, "without progress is an alert (10 of its slowest steps, least 5)"),
        "--no-checkpoint-after": (None, "without a checkpoint is one (3 of the longest, least 60)"),
    }
    for name, (default, says) in minutes.items():
        tell.add_argument(name, type=float, default=default, metavar="MINUTES", help=says)
    tell.add_argument("--link", default="", metavar="URL", help="of the board, put into messages")
    add_lang(tell)
    tell.add_argument("--plain-http", action="store_true", help="allow http:// in your own network")
    tell.add_argument("--stay", action="store_true", help="go on when the run has ended")
    tell.add_argument("--beside", type=int, metavar="PID", help="the supervisor: tell if it dies")
    tell.add_argument("--test", action="store_true", help="send a test message, say what came back")
    tell.add_argument("--dry-run", action="store_true", help="print what the journal would ask for")
    tell.add_argument(
        "--acknowledge", metavar="THREAD", help="say that you have seen it: incident-3, or all"
    )
    tell.add_argument("--as", dest="name", default="", metavar="NAME", help="who has seen it")
    tell.add_argument("--why", default="", metavar="WORDS", help="kept in the journal")


def add_beside(run: argparse.ArgumentParser) -> None:
    """The arguments of `steadytrain run` that ask for one."""
    run.add_argument(
        "--tell",
        action="append",
        default=[],
        metavar="CHANNEL",
        help="tell people, in a process of its own; see: steadytrain tell --help",
    )
    run.add_argument("--tell-secrets", type=Path, metavar="FILE", help="as of tell --secrets")
    add_lang(run, "--tell-lang", says="of what people are told")


def add_status(commands: Commands, action: Action) -> None:
    """`steadytrain status`."""
    status = commands.add_parser("status", help="say in some lines how a run is")
    status.set_defaults(action=action)
    status.add_argument("home", type=Path, metavar="RUN")
    status.add_argument("--json", action="store_true", help="print one JSON object")
    status.add_argument("--metrics", action="store_true", help="print it for Prometheus")
    add_lang(status)


def add_watch(commands: Commands, action: Action) -> None:
    """`steadytrain watch`, which needs a library more."""
    watch = commands.add_parser("watch", help="see a run live in a terminal")
    watch.set_defaults(action=action)
    watch.add_argument("home", type=Path, metavar="RUN")
    add_lang(watch)
    watch.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="redraw (1)")
    watch.add_argument("--once", action="store_true", help="draw once")


def add_analyze(commands: Commands, action: Action) -> None:
    analyze = commands.add_parser(
        "analyze", help="find what went wrong in the log of any run, whatever tool wrote it"
    )
    analyze.add_argument("paths", nargs="+", metavar="PATH", help="log files, folders, patterns")
    analyze.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="NAME=TAG",
        help="take this series as loss, grad_norm, lr, update, tokens_per_second or as the loss of "
        "a domain NAME, whatever it is called",
    )
    analyze.add_argument(
        "--steps-per-false-alarm",
        type=float,
        default=30_000.0,
        metavar="N",
        help="about one false alarm in so many calm rows (30000)",
    )
    analyze.add_argument("--json", action="store_true", help="print one JSON object a run")
    analyze.add_argument("--html", type=Path, metavar="FILE", help="write curves that zoom")
    add_lang(analyze, says="of the text; JSON and curves are English")
    analyze.set_defaults(action=action)


def add_lint(commands: Commands, action: Action) -> None:
    lint = commands.add_parser("lint", help="say what is wrong with the documents of a corpus")
    lint.add_argument("paths", nargs="+", metavar="PATH", help="files, folders, patterns")
    lint.add_argument("--domain", metavar="NAME", help="what the text should be: zh, en, code")
    lint.add_argument("--json", action="store_true", help="print one JSON object per document")
    lint.add_argument("--workers", type=int, default=1, metavar="N", help="processes (1)")
    lint.add_argument(
        "--out", type=Path, metavar="FOLDER", help="write verdicts and a skip list; resumable"
    )
    lint.add_argument("--column", default="text", metavar="NAME", help="field of the text (text)")
    lint.add_argument(
        "--tokenizer", metavar="PATH", help="tokenizer.json, its folder, or 'bytes', for token ids"
    )
    add_lang(lint, says="of the report")
    lint.set_defaults(action=action)


def add_show(commands: Commands, action: Action) -> None:
    show = commands.add_parser("show", help="print the sequences of a step, the oddest first")
    show.add_argument("home", type=Path)
    show.add_argument("--step", type=int, required=True)
    show.add_argument("--order", metavar="MODULE:FUNCTION", help="gives the run's data order")
    show.add_argument("--top", type=int, default=12, metavar="N", help="sequences to print (12)")
    show.add_argument("--json", action="store_true", help="all of them, a JSON object each")
    add_lang(show)
    show.set_defaults(action=action)
