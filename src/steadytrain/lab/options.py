"""The lab's options on a command line, and what their words mean."""

import argparse
from pathlib import Path
from typing import Literal, get_args

from steadytrain import ramps
from steadytrain.errors import SettingError
from steadytrain.judge.state import Mode
from steadytrain.ramps import Ramp

Shape = Literal["wsd", "cosine"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name a run, but not its folder or its faults."""
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--domain", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument(
        "--mixture",
        metavar="PLAN",
        help="planned shares of the domains: 0.2,0.4,0.4@0;0.5,0.25,0.25@600 (or @600-900)",
    )
    parser.add_argument("--batch-size", type=int, default=32, help="of a micro-batch, all ranks")
    parser.add_argument("--ramp", metavar="STEP:N,...", help="micro-batches of later updates")
    parser.add_argument("--peak", type=float, default=4e-3, help="learning rate")
    parser.add_argument("--schedule", choices=get_args(Shape), default="wsd")
    parser.add_argument(
        "--rates",
        metavar="UPDATE:RATE,...",
        help="learning rate by straight lines instead: 0:0,50:4e-3,900:4e-3,1000:2e-4,1030:4e-3",
    )
    parser.add_argument(
        "--branch-from", metavar="HOME@STEP", help="begin from a checkpoint of another run"
    )
    parser.add_argument("--z-loss", type=float, default=0.0, help="coefficient")
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--heads", type=int, default=3)
    parser.add_argument("--qk-norm", action="store_true")
    parser.add_argument("--softcap", type=float)
    parser.add_argument("--embed-shrink", type=float, default=1.0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--mode", choices=get_args(Mode), default="act", help="what the judge may do"
    )
    parser.add_argument(
        "--trial",
        type=int,
        default=0,
        metavar="N",
        help="try remedies out, N times at most",
    )


def parse_domains(given: list[str]) -> dict[str, str | None] | None:
    """`["law=laws.jsonl"]` -> the lab's domains with that one replaced or added.

    Raises:
        SettingError: no `=`, or an empty name or path.
    """
    if not given:
        return None
    domains: dict[str, str | None] = {"zh": None, "en": None, "code": None}
    for one in given:
        name, mark, where = one.partition("=")
        if not mark or not name or not where:
            raise SettingError(
                f"--domain {one} names no text. Write --domain NAME=PATH, such as "
                "--domain zh=texts/zh.jsonl or --domain code/rust=src/."
            )
        # A finer domain takes its parent's default away: zh/news replaces zh.
        domains.pop(name.split("/")[0], None)
        domains[name] = where
    return domains


def parse_ramp(text: str) -> Ramp:
    """`"500:2,1000:4"` -> ((0, 1), (500, 2), (1000, 4)): after step 500, two micro-batches each.

    Raises:
        SettingError: this is no ramp.
    """
    pairs = [] if text.startswith("0:") else [(0, 1)]
    for one in text.split(","):
        after, _, number = one.partition(":")
        if not (after.isdecimal() and number.isdecimal()):
            raise SettingError(
                f"--ramp {text} is no batch ramp. Write STEP:MICRO-BATCHES, such as "
                "--ramp 500:2,1000:4 for two after step 500 and four after step 1000."
            )
        pairs.append((int(after), int(number)))
    return ramps.checked(pairs, name="ramp")


def parse_rates(text: str) -> tuple[tuple[int, float], ...]:
    """`"0:0,50:4e-3"` -> ((0, 0.0), (50, 0.004)): points of a `Waypoints`.

    Raises:
        SettingError: this names no points.
    """
    try:
        pairs = [one.split(":") for one in text.split(",")]
        return tuple((int(update), float(rate)) for update, rate in pairs)
    except ValueError as error:
        raise SettingError(
            f"--rates {text} names no learning rates ({error}). Write UPDATE:RATE pairs, such as "
            "--rates 0:0,50:4e-3,900:4e-3,1000:2e-4."
        ) from error


def parse_branch(text: str) -> tuple[Path, int]:
    """`"runs/base@1000"` -> its home and the step to begin from, or the newest before it.

    Raises:
        SettingError: no home, or no step.
    """
    home, _, step = text.rpartition("@")
    if not home or not step.isdecimal():
        raise SettingError(
            f"--branch-from {text} names no step of a run. Write HOME@STEP, such as "
            "--branch-from runs/base@1000."
        )
    return Path(home), int(step)
