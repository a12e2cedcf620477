"""A run of the lab that is small enough to be broken a hundred times."""

import json
import sys
from pathlib import Path

from steadytrain.lab.documents import read_domain

DOMAINS = ("zh", "en", "code")

TEXT_BYTES = 400_000
"""Of each domain. A life reads its text again when it begins, so it must be little."""

STEPS, STEPS_OF_NUMBERS = 120, 400
"""Updates; where numbers are broken, the judge must have seen enough before and after."""

WORDS = (
    "-m", "steadytrain.lab.train", "--width", "32", "--layers", "2", "--heads",
    "2", "--batch-size", "16", "--panel-sequences", "12", "--panel-every", "20",
    "--checkpoint-every", "10", "--snapshot-every", "1",
)  # fmt: skip


def command(home: Path, *, breaks_numbers: bool) -> tuple[str, ...]:
    """What runs it, after its text was written down in a folder of the campaign's home."""
    steps = STEPS_OF_NUMBERS if breaks_numbers else STEPS
    words = [sys.executable, *WORDS, "--steps", str(steps)]
    folder = home / "texts"
    folder.mkdir(parents=True, exist_ok=True)
    for name in DOMAINS:
        left = TEXT_BYTES
        with open(folder / f"{name}.jsonl", "w", encoding="utf-8") as file:
            for document in read_domain(name, None):
                text = document.text[:left].decode("utf-8", "ignore")
                file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                left -= len(document.text)
                if left <= 0:
                    break
        words += ["--domain", f"{name}={folder / name}.jsonl"]
    return tuple(words)
