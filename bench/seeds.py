"""Ten seeds of the demo: each fault detected, rightly named, cured, as counts; and false incidents.

Every seed trains two runs of 1,000 steps side by side, one undisturbed and one with all nine
faults, exactly as `steadytrain demo --seed N --steps 1000` does.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--home", type=Path, help="keep the runs here")
    options = parser.parse_args()
    print(machine.line(), flush=True)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    delays: dict[str, list[int]] = defaultdict(list)
    lost: dict[str, list[int]] = defaultdict(list)
    changes: dict[str, list[float]] = defaultdict(list)
    false, seconds, good = 0, [], 0
    with tempfile.TemporaryDirectory() as folder:
        root = options.home or Path(folder)
        for seed in range(options.first, options.first + options.seeds):
            result = _demo(root / f"seed{seed}", seed, options.steps)
            for fault in result["faults"]:
                count = counts[fault["fault"]]
                count[0] += 1
                count[1] += fault["detected_after"] is not None
                count[2] += fault["is_named"]
                count[3] += fault["is_cured"]
                if fault["detected_after"] is not None:
                    delays[fault["fault"]].append(fault["detected_after"])
                lost[fault["fault"]].append(fault["steps_lost"])
            for domain in result["panel"]:
                changes[domain["domain"]].append(domain["change"])
            false += result["false_incidents"]
            good += result["ok"]
            seconds.append(result["seconds"])
            bad = [one for one in result["faults"] if not one["ok"]]
            print(
                f"seed {seed}: ok {result['ok']}, {result['seconds']:.0f} s {bad or ''}", flush=True
            )
    print("fault           of  detected  named  cured  delay (max)  steps lost (median)")
    for name, (total, detected, named, cured) in counts.items():
        print(
            f"{name:14} {total:3} {detected:9} {named:6} {cured:6} {max(delays[name], default=0):12} "
            f"{statistics.median(lost[name]):20}"
        )
    for name, found in changes.items():
        print(
            f"final perplexity of {name} against the undisturbed run: median "
            f"{statistics.median(found):+.2%}, worst {max(found, key=abs):+.2%}"
        )
    print(f"incidents that no fault explains, in {2 * options.seeds} runs: {false}")
    print(
        f"demos that ended with status 0: {good} of {options.seeds}; "
        f"seconds each: median {statistics.median(seconds):.0f}, most {max(seconds):.0f}"
    )


def _demo(home: Path, seed: int, steps: int) -> dict:
    command = [sys.executable, "-m", "steadytrain.cli", "demo", "--json", "--home", str(home)]
    command += ["--seed", str(seed), "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise SystemExit(f"seed {seed} did not end:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
