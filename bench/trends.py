"""Are slow movements of the panel rightly named? Runs of the lab's model on real text, one event each.

    PYTHONPATH=src:bench python bench/trends.py --texts corpus/ --keep trends/ --json trends.jsonl

`--texts` holds zh.jsonl, en.jsonl and code.jsonl. For each seed three base runs of 1,000 updates are
made; all others branch off one of them, go on as before for 200 updates, and then one thing happens.
The judge only watches. Counted are explanations that are right, those that are wrong, and the updates
from the event to the first right one.
An interrupted bench goes on where it stopped if --keep names the same folder. `--journals FOLDER`
judges kept runs again, with today's judge and without training.
"""

import argparse
import shutil
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import forks
import stories
from forks import Row
from steadytrain import journal
from steadytrain.causes import NOT_KNOWN
from steadytrain.events import Alarm, Event, Judgment, PanelRecord, RunEnded, Trend
from steadytrain.lab.train import train
from steadytrain.replaying import recall, recipe_of
from stories import BASES, CONTROLS, DOMAINS, EVENT, STORIES, Name, Run, Story


def main() -> None:
    options = _options()
    if options.journals:
        if options.json and options.json.exists():
            raise SystemExit(f"{options.json} holds other verdicts. Name a new file with --json.")
        rows = [
            row | verdict(options.journals / f"{row['story']}-{row['seed']}", row["story"])
            for row in _kept(options)
        ]
        for row in rows:
            forks.append_row(options.json, row)
    elif options.print:
        rows = forks.read_rows(options.json)
    else:
        rows = _made(options)
    say([row for row in rows if "error" not in row])


def _made(options: argparse.Namespace) -> list[Row]:
    """Rows of runs that were made now or before."""
    if options.texts is None:
        raise SystemExit("--texts is needed to train: a folder with zh.jsonl, en.jsonl, code.jsonl")
    forks.say_machine("cpu")
    rows = [row for row in forks.read_rows(options.json) if "error" not in row]
    done = {(row["story"], row["seed"]) for row in rows}
    with tempfile.TemporaryDirectory() as scratch:
        root = options.keep or Path(scratch)
        for batch in _in_order(_stories(options), _seeds(options), done):
            for seed in {seed for _, seed in batch}:
                stories.corpus(options.texts, seed)  # read before forking
            found = forks.run_all(
                partial(_work, options.texts, root), batch,
                folder=lambda run: root / f"{run[0]}-{run[1]}", jobs=options.jobs,
            )  # fmt: skip
            for (story, seed), row in found:
                row = {"story": story, "seed": seed} | row
                forks.append_row(options.json, row)
                rows.append(row)
                print(_line(row), flush=True)
    return rows


def _kept(options: argparse.Namespace) -> list[Row]:
    runs = [(story, seed) for seed in _seeds(options) for story in _stories(options)]
    return [
        {"story": story, "seed": seed}
        for story, seed in runs
        if (options.journals / f"{story}-{seed}").exists()
    ]


def _stories(options: argparse.Namespace) -> list[str]:
    return [one for one in STORIES if not options.only or one in options.only.split(",")]


def _seeds(options: argparse.Namespace) -> range:
    return range(options.first_seed, options.first_seed + options.seeds)


def _in_order(wanted: Sequence[str], seeds: Sequence[int], done: set[Run]) -> list[list[Run]]:
    """Runs to make: for each seed the bases that are needed, then what branches off them."""
    found = []
    for seed in seeds:
        mine = [(name, seed) for name in wanted if (name, seed) not in done]
        needed = {STORIES[name].base or name for name, _ in mine}
        found.append(
            [(name, seed) for name in BASES if name in needed and (name, seed) not in done]
        )
        found.append([run for run in mine if run[0] not in BASES])
    return [batch for batch in found if batch]


def _work(texts: Path, root: Path, run: Run, folder: Path) -> Row:
    home = folder / "run"
    if home.exists() and not (home / "journal").exists():
        shutil.rmtree(home)
    if not home.exists() or not _has_ended(home):
        train(stories.settings_of(texts, root, run), corpus=stories.corpus(texts, run[1]))
    return verdict(folder, run[0])


def _has_ended(home: Path) -> bool:
    """Whether a run made its last step; one that did not goes on from its checkpoint."""
    return any(isinstance(event, RunEnded) for event in journal.load(home, "rank0"))


def verdict(folder: Path, story: str) -> Row:
    """What today's judge makes of a kept run, and how its panel moved."""
    home = folder / "run" if (folder / "run").exists() else folder
    past = journal.load(home, "rank0")
    reached = [one for _, judgments, _ in recall(recipe_of(past), past) for one in judgments]
    return judged(STORIES[story], reached) | moves(past)


def judged(story: Story, reached: Sequence[Judgment]) -> Row:
    """Explanations given, sorted into right, fine and wrong; and alarms for nothing.

    An explanation is right if it says what must be said, wrong if it came before anything had
    happened, or if one of its domains may not be called so.
    """
    trends = [one for one in reached if isinstance(one, Trend)]
    given = [one for one in trends if one.state == "explained" and one.pattern != NOT_KNOWN]
    fine = [one for one in given if _may_be(one, story)]
    right = [one for one in fine if not _names(one).isdisjoint(story.right)]
    wrong = [one for one in given if one not in fine]
    ends = Counter(one.state for one in trends if one.state != "explained")
    return {
        "given": [[one.step, one.pattern, list(one.domains)] for one in given],
        "right": len(right),
        "wrong": [[one.step, one.pattern, list(one.domains)] for one in wrong],
        "first": [given[0].step, given[0].pattern, list(given[0].domains)] if given else None,
        "delay": min((one.step for one in right), default=story.event) - story.event,
        "false_alarms": sum(
            isinstance(one, Alarm) and one.signal.startswith("panel:") and _is_calm(story, one.step)
            for one in reached
        ),
        "not_known": sum(one.state == "explained" and one.pattern == NOT_KNOWN for one in trends),
        "ends": dict(ends),
    }


def _names(trend: Trend) -> set[Name]:
    return {(trend.pattern, domain) for domain in trend.domains}


def _may_be(trend: Trend, story: Story) -> bool:
    return trend.step > story.event and _names(trend) <= {*story.right, *story.fine}


def _is_calm(story: Story, step: int) -> bool:
    """Whether nothing has happened yet, or ever does; of looks that several runs share, one is
    counted: that of the control."""
    return not story.right or (not story.base and step <= story.event)


def moves(past: Sequence[Event]) -> Row:
    """Mean loss of each domain at each look."""
    looks = [one for one in past if isinstance(one, PanelRecord)]
    return {
        "steps": [one.step for one in looks],
        "losses": [
            [round(nll / tokens, 5) for nll, tokens in zip(one.nll, one.tokens, strict=True)]
            for one in looks
        ],
    }


def say(rows: Sequence[Row]) -> None:
    """Names by story, then the movements that were to be named."""
    print(
        "\nstory           runs  right  wrong  not known  false alarms  "
        "updates to the first right (most)  ends"
    )
    for name, story in STORIES.items():
        mine = [row for row in rows if row["story"] == name]
        if not mine:
            continue
        delays = sorted(row["delay"] for row in mine if row["right"])
        later = f"{statistics.median(delays):.0f} ({delays[-1]})" if delays else "-"
        right = str(sum(bool(row["right"]) for row in mine)) if story.right else "-"
        ends = sum((Counter(row["ends"]) for row in mine), Counter())
        print(
            f"{name:15} {len(mine):4} {right:>6} {sum(len(row['wrong']) for row in mine):6} "
            f"{sum(row['not_known'] for row in mine):10} "
            f"{sum(row['false_alarms'] for row in mine):13}  {later:>33}  {dict(ends)}"
        )
    for row in rows:
        for step, pattern, domains in row["wrong"]:
            print(f"wrong: {row['story']} {row['seed']}, step {step}: {pattern}, {domains}")
    events = [row for row in rows if STORIES[row["story"]].right]
    calm = sum(_is_calm(STORIES[row["story"]], step) for row in rows for step in row["steps"])
    print(
        f"{sum(bool(row['right']) for row in events)} of {len(events)} events rightly named, "
        f"{sum(len(row['wrong']) for row in rows)} wrong names in {len(rows)} runs; "
        f"{sum(row['false_alarms'] for row in rows)} alarms for nothing in {calm} looks where "
        "nothing had happened"
    )
    say_moves(rows)


def say_moves(rows: Sequence[Row]) -> None:
    """How far each domain moved from where it was at the event, and from its control there."""
    print(
        "\nnats against the mean of the three looks up to the event; in brackets against the run of\n"
        "the same seed that went on undisturbed; medians over the seeds\n"
        "story           domain          after 40         after 100         after 400  "
        "largest      after (updates)"
    )
    for name, story in STORIES.items():
        mine = [row for row in rows if row["story"] == name]
        if not mine or not story.base or name in CONTROLS.values():
            continue
        others = {row["seed"]: row for row in rows if row["story"] == CONTROLS.get(story.base)}
        for domain, named in enumerate(DOMAINS):
            curves = [_moved(row, domain) for row in mine]
            calm = [
                _moved(others[row["seed"]], domain) if row["seed"] in others else {} for row in mine
            ]
            cells = [_cell(curves, calm, after) for after in (40, 100, 400)]
            peaks = [max(curve.items(), key=lambda one: abs(one[1])) for curve in curves]
            print(
                f"{name:15} {named:6} {cells[0]:>17} {cells[1]:>17} {cells[2]:>17}  "
                f"{statistics.median(value for _, value in peaks):+7.3f} "
                f"{statistics.median(after for after, _ in peaks):20.0f}"
            )


def _moved(row: Row, domain: int) -> dict[int, float]:
    """Updates since the event -> change of a domain's loss."""
    looks = list(zip(row["steps"], row["losses"], strict=True))
    before = [losses[domain] for step, losses in looks if step <= EVENT][-3:]
    level = statistics.fmean(before)
    return {step - EVENT: losses[domain] - level for step, losses in looks if step > EVENT}


def _cell(curves: Sequence[dict[int, float]], calm: Sequence[dict[int, float]], after: int) -> str:
    moved = statistics.median(curve[after] for curve in curves)
    beside = [
        curve[after] - other[after]
        for curve, other in zip(curves, calm, strict=True)
        if after in other
    ]
    return f"{moved:+.3f}" + (f" ({statistics.median(beside):+.3f})" if beside else "")


def _line(row: Row) -> str:
    if "error" in row:
        return f"{row['story']} {row['seed']}: FAILED {row['error'][-300:]}"
    return f"{row['story']} {row['seed']}: {row['given']}, wrong {row['wrong']}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--texts", type=Path, help="folder with zh.jsonl, en.jsonl, code.jsonl")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="", help=f"stories, with commas: {', '.join(STORIES)}")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path, help="rows go here; those in it are not made again")
    parser.add_argument("--print", action="store_true", help="only the table of what --json holds")
    parser.add_argument("--keep", type=Path, help="folder for the runs")
    parser.add_argument("--journals", type=Path, help="judge the runs kept here, train nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
