"""`steadytrain panel`: a fixed panel in numbers, of a run, of a checkpoint, of another model."""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from steadytrain.errors import SettingError
from steadytrain.events import PanelDrawn, PanelRecord
from steadytrain.options import add_lang
from steadytrain.panel_tables import plain, shown
from steadytrain.panel_words import same_words
from steadytrain.perplexity import Looks, View, find, read, view, view_of

_EXAMPLES = """three uses:
  steadytrain panel runs/r1                       the newest look, against the first
  steadytrain panel runs/r1 --step 2000 --against 1500
  steadytrain panel runs/r1 --checkpoint 1250 --model mylab.models:build
                                                  the run's panel on a checkpoint of it
  steadytrain panel gpt2 --texts zh=texts/zh en=texts/en.jsonl --out panel.jsonl --json > a.json
  steadytrain panel ./my-gpt2 --panel panel.jsonl --against a.json
                                                  a Hugging Face model, and what has changed
"""


def add_arguments(panel: argparse.ArgumentParser) -> None:
    """The arguments of `steadytrain panel`."""
    panel.formatter_class = argparse.RawDescriptionHelpFormatter
    panel.epilog = _EXAMPLES
    panel.add_argument(
        "what", metavar="RUN|MODEL", help="folder of a run, or a Hugging Face model: folder or name"
    )
    panel.add_argument("--step", type=int, metavar="N", help="the look at this step (the newest)")
    panel.add_argument(
        "--against",
        metavar="N|FILE",
        help="compare with the look at this step (the first), or with what --json printed of "
        "another model",
    )
    panel.add_argument(
        "--checkpoint", metavar="NAME|STEP", help="measure a checkpoint of the run now"
    )
    panel.add_argument(
        "--model",
        metavar="MODULE:FUNCTION",
        help="function(home) that gives the run's model; not needed if the module of the run's "
        "data order has a function model_of",
    )
    panel.add_argument(
        "--texts",
        nargs="+",
        default=[],
        metavar="NAME=PATH",
        help="texts of each domain, for a Hugging Face model; a folder alone: its subfolders and "
        "files are the domains",
    )
    panel.add_argument("--panel", type=Path, metavar="FILE", help="a panel that --out wrote")
    panel.add_argument("--out", type=Path, metavar="FILE", help="write the drawn panel")
    panel.add_argument("--per-domain", type=int, default=200, metavar="N", help="drawn (200)")
    panel.add_argument("--window", type=int, metavar="TOKENS", help="most tokens of one (1024)")
    panel.add_argument("--seed", type=int, default=0, help="of the draw (0)")
    panel.add_argument("--batch-size", type=int, default=8, metavar="N", help="sequences (8)")
    panel.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    panel.add_argument(
        "--dtype", choices=["float32", "bfloat16", "float16", "auto"], default="float32",
        help="of a Hugging Face model's weights; auto: as they were saved (float32)",
    )  # fmt: skip
    panel.add_argument("--column", default="text", metavar="NAME", help="field of the text (text)")
    panel.add_argument("--json", action="store_true", help="print one JSON object")
    add_lang(panel)


def asked(options: argparse.Namespace) -> Literal["run", "checkpoint", "model"]:
    """Which of its three uses is meant.

    Raises:
        SettingError: options that do not go together, or nothing to show.
    """
    is_model = bool(options.texts) or options.panel is not None
    of_run, of_model = [
        [f"--{name}" for name in names if getattr(options, name) is not None]
        for names in (("step", "checkpoint", "model"), ("out", "window"))
    ]
    if is_model and of_run:
        raise SettingError(
            f"{of_run[0]} is of a run, --texts and --panel are of a Hugging Face model, so one of "
            "them would be ignored. Write either steadytrain panel RUN --step N, or steadytrain "
            "panel MODEL --texts zh=PATH."
        )
    if options.texts and options.panel:
        raise SettingError(
            "--texts draws a panel and --panel brings one, so one of them would be ignored. Write "
            "one of the two."
        )
    if is_model:
        return "model"
    what = Path(options.what)
    if not what.exists() or (what / "config.json").exists():
        raise SettingError(
            f"{what} is no folder of a run, so there is no panel. If it is a Hugging Face model, "
            f"say what to measure it on: steadytrain panel {what} --texts zh=PATH en=PATH, or "
            "--panel FILE."
        )
    if of_model:
        raise SettingError(
            f"{of_model[0]} is for drawing a panel, and that of a run is drawn already. Leave it "
            f"out, or measure a Hugging Face model: steadytrain panel MODEL --texts zh=PATH."
        )
    if options.step is not None and options.checkpoint is not None:
        raise SettingError(
            "--step shows a look on record and --checkpoint makes a new one, so one of them would "
            "be ignored. Write one of the two."
        )
    return "run" if options.checkpoint is None else "checkpoint"


def show(options: argparse.Namespace) -> int:
    """Print a look that is on record. Returns 0; 1 if a loss of it is not finite."""
    found = view(read(Path(options.what)), step=options.step, against=step_of(options.against))
    return tell(found, options)


def show_checkpoint(options: argparse.Namespace, measure: Callable[..., PanelRecord]) -> int:
    """Measure a checkpoint of a run and print it like a look; the run's journal stays as it is."""
    home, against = Path(options.what), step_of(options.against)
    looks = read(home)
    record = measure(
        home, options.checkpoint, model=options.model, device=options.device,
        batch_size=options.batch_size,
    )  # fmt: skip
    past = [one for one in looks.version(record.version) if one.step != record.step]
    chosen = past[0] if past and past[0].step < record.step else None
    if against is not None:
        chosen = find(looks.version(record.version), against, "--against")
    said = same_words(looks, record, options.lang)
    return tell(view_of(looks, record, chosen), options, said=said)


def show_model(options: argparse.Namespace, look: Callable[..., tuple[Any, PanelRecord]]) -> int:
    """Measure a Hugging Face model on a panel of texts and print it."""
    other = None if options.against is None else json_of(options.against)
    panel, record = look(
        options.what, texts=options.texts, panel=options.panel, out=options.out,
        per_domain=options.per_domain, window=options.window, seed=options.seed,
        column=options.column, batch_size=options.batch_size, device=options.device,
        dtype=options.dtype,
    )  # fmt: skip
    drawn = PanelDrawn(
        attempt=0, step=0, digest=panel.digest, lengths=panel.lengths, seed=panel.seed,
        window=panel.window, tokenizer=panel.tokenizer, origin=panel.origin, notes=panel.notes,
    )  # fmt: skip
    looks = Looks(run=str(options.what), domains=panel.domains, drawn=(drawn,))
    against = None if other is None else _same_panel(other, drawn, options.against)
    return tell(view_of(looks, record, against), options)


def json_of(path: str) -> dict[str, Any]:
    """What `--json` printed of another model.

    Raises:
        SettingError: the file is not there, or something else.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if isinstance(found, dict) and "record" in found and "panel" in found:
            return found
        why = "it holds no measurement"
    except (OSError, ValueError) as error:
        why = str(error)
    raise SettingError(
        f"--against {path} cannot be compared with ({why}). Write the file that "
        "`steadytrain panel OTHER --panel FILE --json > other.json` gave."
    )


def _same_panel(other: dict[str, Any], drawn: PanelDrawn, path: str) -> PanelRecord:
    """The other model's look.

    Raises:
        SettingError: at another panel.
    """
    if other["panel"] != drawn.digest:
        raise SettingError(
            f"--against {path} was measured on the panel {str(other['panel'])[:12]}, this is "
            f"{drawn.digest[:12]}: sequences of different panels cannot be paired. Measure both "
            "on one panel (--out FILE once, then --panel FILE); with different tokenizers compare "
            "their bits per byte."
        )
    known = other["record"]
    return PanelRecord(
        attempt=0, step=0, why=str(other["run"]),
        nll=tuple(_or_nan(known["nll"])), tokens=tuple(known["tokens"]),
        bytes=tuple(known["bytes"]), losses=tuple(tuple(_or_nan(one)) for one in known["losses"]),
    )  # fmt: skip


def step_of(against: str | None) -> int | None:
    """The step that --against names.

    Raises:
        SettingError: it is no number.
    """
    if against is None:
        return None
    if not against.isdecimal():
        raise SettingError(
            f"--against {against} is no step of this run. Write the number of a step with a look, "
            "such as --against 1000."
        )
    return int(against)


def tell(found: View, options: argparse.Namespace, *, said: Sequence[str] = ()) -> int:
    """Print a view as text or JSON. Returns 1 if a loss is not finite.

    Args:
        said: sentences beside those that follow from the view.
    """
    if options.json:
        told = plain(found)
        told["remarks"] = [*said, *told["remarks"]]
        print(json.dumps(told, ensure_ascii=False, allow_nan=False))
    else:
        print(shown(found, options.lang, said=said))
    return int(any(one.state == "not finite" for one in found.readings))


def _or_nan(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]
