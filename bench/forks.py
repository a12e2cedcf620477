"""Many runs side by side, each in a process of its own, and rows of results that outlive the bench.

Used by bench/cures.py, bench/remedies.py and bench/quiet.py. A child is forked after torch and the
texts were read once, so a run of a minute does not begin with ten seconds of imports. The parent
must not touch a GPU: a forked child could not use it.
"""

import json
import multiprocessing
import os
import shutil
import signal
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import machine
from steadytrain.lab.model import Config
from steadytrain.lab.texts import Corpus
from steadytrain.lab.train import Settings, load_corpus

PATIENCE_SECONDS = 3600
"""A run that takes longer is given up: its row says so, and the others go on."""

Row = dict[str, Any]
Work = Callable[[Any, Path], Row]


def run_all(
    work: Work, items: Sequence[Any], *, folder: Callable[[Any], Path], jobs: int
) -> Iterable[tuple[Any, Row]]:
    """Each item with what `work(item, its folder)` gave, as they come; {"error": ...} if it failed.

    What a child prints goes to `log.txt` in its folder.
    """
    tasks = [(item, folder(item)) for item in items]
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(partial(_in_child, work), tasks)


def say_machine(device: str) -> None:
    """The line about the machine, from a child."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(pool.apply(machine.line) + ("" if device == "cpu" else ", on the GPU"), flush=True)


@cache
def corpus(seed: int, config: Config | None = None) -> Corpus:
    """The lab's text of a seed, read once: before forking, for all children."""
    plain = Settings(home=Path("unused"), seed=seed)
    return load_corpus(plain if config is None else replace(plain, config=config))


def read_rows(path: Path | None) -> list[Row]:
    """Rows of an earlier, perhaps interrupted bench."""
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def append_row(path: Path | None, row: Row) -> None:
    """Add a row to those on disk."""
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def empty(folder: Path) -> None:
    """Take away what an earlier try left, but for its log."""
    for one in folder.iterdir():
        if one.is_dir():
            shutil.rmtree(one)
        elif one.name != "log.txt":
            one.unlink()


def _in_child(work: Work, task: tuple[Any, Path]) -> tuple[Any, Row]:
    item, folder = task
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(PATIENCE_SECONDS)
    try:
        return item, work(item, folder)
    except Exception:  # a failed run is a result
        return item, {"error": traceback.format_exc()[-1500:]}
    finally:
        signal.alarm(0)


def _give_up(*_: object) -> None:
    raise TimeoutError(f"a run took longer than {PATIENCE_SECONDS} s")
