"""Learn the profiles that the package ships: JSON Lines of texts with their domain and source.

    PYTHONPATH=src:bench python bench/profiles.py zh.jsonl en.jsonl code.jsonl

Every fifth source is left out, so that bench/lint.py can test on texts that no profile has seen.
"""

import argparse
import json
import zlib
from collections import defaultdict
from pathlib import Path

import numpy as np

from steadytrain.text import Profile, profile

SHIPPED = Path(profile.__file__).with_name("profiles.npz")
FOLDS = 5


def is_held_out(source: str) -> bool:
    return zlib.crc32(source.encode()) % FOLDS == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    options = parser.parse_args()
    texts: dict[str, list[str]] = defaultdict(list)
    for path in options.paths:
        for line in path.open(encoding="utf-8"):
            record = json.loads(line)
            if not is_held_out(record["source"]):
                texts[record["domain"]].append(record["text"])
    np.savez_compressed(
        options.out, **{name: Profile.learn(some).dump() for name, some in texts.items()}
    )
    print(f"{options.out}: {options.out.stat().st_size:,} bytes, {sorted(texts)}")


if __name__ == "__main__":
    main()
