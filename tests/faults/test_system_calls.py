"""Kill -9 at each call to the system, in the process that writes checkpoints and in the mirror."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from steadytrain import journal
from steadytrain.events import CheckpointFailed, CheckpointSaved
from steadytrain.train import scribe, writer
from steadytrain.train.manifest import inspect, read_manifest
from steadytrain.train.mirror import Mirror
from tests.train.test_mirror import first_life, place  # noqa: F401
from tests.train.test_writer import Run

ROOT = Path(__file__).parents[2]

BOMB = """
import os, runpy, shutil, signal, sys, threading

CALLS = {"open", "pread", "preadv", "read", "write", "flush", "fsync", "posix_fadvise", "close",
         "mkdir", "rename", "replace", "remove", "unlink", "rmdir", "sendfile", "truncate"}
left = int(os.environ["STEADYTRAIN_KILL_AT"])

def call(frame, event, what):
    global left
    is_call = event == "c_call" and what.__name__ in CALLS
    if is_call and getattr(what, "__module__", None) in ("posix", "_io", "io", None):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def arm():
    threading.setprofile(call)
    sys.setprofile(call)
"""

SCRIBE = f"""{BOMB}
sys.argv[0] = {scribe.__file__!r}
arm()
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_process_that_writes_leaves_old_or_new_at_whichever_call_it_dies(tmp_path, monkeypatch):
    run = Run(tmp_path)
    monkeypatch.setattr(writer, "MOST_DEATHS", 10**9)
    run.save()
    old = run.newest()
    script = tmp_path / "scribe.py"
    script.write_text(SCRIBE)
    monkeypatch.setattr(scribe, "__file__", str(script))
    run.writer.close()
    number = 0
    while True:
        number += 1
        monkeypatch.setenv("STEADYTRAIN_KILL_AT", str(number))
        event = run.save()
        for ref in run.checkpoints.candidates():
            run.checkpoints.verify(ref.path)
        if isinstance(event, CheckpointSaved):
            break
        assert isinstance(event, CheckpointFailed)
        assert "was killed by signal 9" in event.reason
        assert [one.path for one in run.checkpoints.candidates()] == [old]
    run.checkpoints.close()
    assert number > 40


UPLOAD = f"""{BOMB}
from pathlib import Path
from steadytrain import journal
from steadytrain.events import CheckpointSaved
from steadytrain.train.mirror import Mirror

url, home, step = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
saved = [one for one in journal.read(home) if isinstance(one, CheckpointSaved) and one.step == step]

def live():
    arm()
    mirror = Mirror(url, home, keep=2, wait=lambda seconds: None)
    mirror.claim()
    mirror.begin(saved[0], healthy_until=0, allowed=lambda ref: True, refused=lambda name: False)
    mirror.wait()
    print(type(mirror.poll()[0]).__name__, flush=True)
    os._exit(0)

whole = url.removeprefix("file://")
number = 0
while left and number < int(sys.argv[4]):
    number += 1
    shutil.copytree(whole, whole + str(number))
    url, left = f"file://{{whole}}{{number}}", number
    pid = os.fork()
    if pid == 0:
        live()
    if os.WIFEXITED(os.waitpid(pid, 0)[1]):
        print(number, flush=True)
        os._exit(0)
live()
"""


def _upload(folder, step, *, at=0, most=0):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", UPLOAD, f"file://{folder}/copy", folder / "r",
         str(step), str(most)],
        env={**os.environ, "STEADYTRAIN_KILL_AT": str(at), "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


@pytest.mark.slow
def test_the_mirror_holds_old_or_new_at_whichever_call_its_run_dies(place):  # noqa: F811
    assert _upload(place, 10) == "CheckpointMirrored"
    last = int(_upload(place, 20, at=1, most=1000))
    assert 20 < last < 1000
    steps = set()
    for number in range(1, last + 1):
        store = place / f"copy{number}"
        home = place / "fresh" / "r"
        shutil.rmtree(home, ignore_errors=True)
        mirror = Mirror(f"file://{store}", home, keep=2)
        assert mirror.fetch_record()  # what is there of the journal is a beginning of it
        (path,) = journal.files(home, "rank0")
        assert (place / "r/journal" / path.name).read_bytes().startswith(path.read_bytes())
        found = mirror.fetch(home / "checkpoints", lambda ref: True)
        inspect(found.path, read_manifest(found.path)["files"])
        steps.add(found.step)
    assert steps == {10, 20}
    # The next life mends what the last one left.
    for number in range(1, last, 7):
        shutil.rmtree(place / "copy")
        (place / f"copy{number}").rename(place / "copy")
        assert _upload(place, 20) == "CheckpointMirrored", number
        found = Mirror(f"file://{place}/copy", place / "fresh" / "r", keep=2).fetch(
            place / "again", lambda ref: True
        )
        assert found.step == 20
        shutil.rmtree(place / "again")
