"""`steadytrain doctor`: what is installed here, and what each part needs."""

import sys
from importlib import metadata, util
from pathlib import Path

from steadytrain import __version__, disks
from steadytrain.sayings import say
from steadytrain.widths import padded, width

NEEDS = {
    "watch, replay, report, lint": ("numpy", "msgspec"),
    "train, run": ("torch", "xxhash", "psutil"),
    "demo": ("torch", "xxhash", "psutil", "rich"),
    "lint: parquet, zst, token ids": ("pyarrow", "zstandard", "tokenizers"),
    "board": ("starlette", "uvicorn"),
    "hub data sets": ("datasets",),
    "mirror": ("fsspec",),
    "panel: Hugging Face models": ("torch", "transformers"),
    "watch (live)": ("rich",),
    "tell --to apprise": ("apprise",),
}


def run(home: Path | None, lang: str) -> int:
    """Print a line for each part, then whether a run can live in a home, if one is given.

    Returns 0, since what is missing may not be wanted; 1 if the home will not do.
    """
    print(f"steadytrain {__version__}, Python {sys.version.split()[0]}")
    names = {what: say(what, lang) for what in NEEDS}
    column = max(width(one) for one in names.values()) + 2
    for what, modules in NEEDS.items():
        missing = [name for name in modules if util.find_spec(name) is None]
        have = [f"{name} {metadata.version(name)}" for name in modules if name not in missing]
        state = "ready" if not missing else f"needs pip install {' '.join(missing)}"
        print(f"{padded(names[what], column)}{padded(say(state, lang), 32)} {', '.join(have)}")
    return disks.run(home, lang) if home is not None else 0
