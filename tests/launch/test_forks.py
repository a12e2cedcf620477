"""A forked rank cannot tell; its end is known; where a fork is not safe a plain start is made."""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from steadytrain.launch.forks import Forks, Program, read_command
from steadytrain.launch.guard import MARK, marked
from steadytrain.launch.workers import early_environment

VIEW = """
'''What a script can see.'''
import json, logging, multiprocessing, os, random, signal, sys, threading
import numpy, torch

def child(pipe):
    import __main__
    pipe.send([__main__.__name__, __main__.__file__, sys.argv])

def view():
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=child, args=(theirs,))
    process.start()
    spawned = ours.recv()
    process.join()
    import __main__
    chance = [random.random(), numpy.random.rand(), torch.initial_seed(), torch.rand(1).item(),
              multiprocessing.current_process().authkey.hex()]
    random.seed(1), numpy.random.seed(1), torch.manual_seed(1)
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return chance, dict(
        argv=sys.argv, orig_argv=sys.orig_argv, path=sys.path, name=__name__, file=__file__,
        spec=getattr(__spec__, "name", None), doc=__doc__, loader=type(__loader__).__name__,
        cached=__cached__, package=__package__, names=sorted(__main__.__dict__), spawned=spawned,
        flags=str(sys.flags), hash=hash("word"), env=dict(os.environ), cwd=os.getcwd(),
        umask=status["Umask"], ignored=status["SigIgn"], blocked=status["SigBlk"],
        affinity=status["Cpus_allowed"], signals=[str(signal.getsignal(one)) for one in (2, 13, 15)],
        leads=[os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
        streams=[[one.encoding, one.errors, one.line_buffering, one.write_through, one.isatty(),
                  one.seekable(), type(one.buffer).__name__] for one in (sys.stdout, sys.stderr)],
        threads=[torch.get_num_threads(), torch.get_num_interop_threads()],
        main=[threading.current_thread() is threading.main_thread(), threading.active_count()],
        process=[multiprocessing.current_process().name, multiprocessing.parent_process() is None],
        logging=[str(logging.root.handlers), logging.root.level], hook=str(sys.excepthook),
        seeded=[random.random(), numpy.random.rand(), torch.randn(100).sum().item()],
    )

if __name__ == "__main__":
    print(json.dumps(view()))
"""


class Ranks:
    """Starts ranks as torch's agent does, from a parent or plainly."""

    def __init__(self, folder, command, *, preload=(), env=None):
        self.command = command
        self.env = {
            **os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0",
            **early_environment(env or {}, "a mark"),
        }  # fmt: skip
        self.forks = Forks(command, preload=preload, home=folder, env=self.env)
        self.forks.begin()
        self._files = []

    def close(self):
        self.forks.close()
        for one in self._files:
            one.close()

    def start(self, *, rank=0, **env):
        """The process and the file of its output; None if it must be started plainly."""
        out = open(Path(self.forks._home, f"out{rank}"), "w+")  # noqa: SIM115
        self._files.append(out)
        env = {**self.env, "RANK": str(rank), **env}
        return self.forks.fork(self.command, env, out=out, err=out), out

    def say(self, **env):
        process, out = self.start(**env)
        assert process is not None
        code = process.wait(timeout=60)
        out.seek(0)
        return code, out.read()


@pytest.fixture
def ranks(tmp_path, monkeypatch):
    made = []

    def make(source, *, options=(), as_module=False, arguments=("a b", "--c"), **changes):
        if source is not VIEW:  # torch is left out, which makes a test ten times as quick
            monkeypatch.setattr("steadytrain.launch.forks.PRELOAD", ())
        script = tmp_path / "train_it.py"
        script.write_text(textwrap.dedent(source))
        what = ["-m", "train_it"] if as_module else [str(script)]
        made.append(Ranks(tmp_path, [sys.executable, *options, *what, *arguments], **changes))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("as_module", [False, True])
def test_a_script_cannot_tell_whether_it_was_forked(ranks, tmp_path, monkeypatch, as_module):
    monkeypatch.chdir(tmp_path)
    forked = ranks(VIEW, options=("-u", "-W", "ignore"), as_module=as_module)
    code, said = forked.say()
    chance, seen = json.loads(said)
    assert code == 0
    plain = subprocess.run(
        forked.command,
        env={**forked.env, "RANK": "0"},
        capture_output=True,
        start_new_session=True,
        check=True,
    )
    plain_chance, plainly_seen = json.loads(plain.stdout)
    for view in (seen, plainly_seen):  # torch._dynamo sets it when it is imported, here or there
        view["env"].pop("TORCHINDUCTOR_CACHE_DIR", None)
    assert seen == plainly_seen
    _, said = forked.say(rank=1)
    other = json.loads(said)[0]
    # No number of chance is shared: not with a plain start, and not with the next rank.
    assert all(len({a, b, c}) == 3 for a, b, c in zip(chance, plain_chance, other, strict=True))


def test_an_end_is_known_as_a_childs_is_and_a_traceback_shows_the_script_alone(ranks):
    forked = ranks(
        """
        import os, signal, sys
        how = os.environ["HOW"]
        if how == "exit":
            sys.exit(7)
        if how == "words":
            sys.exit("so it is")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("boom")
        """
    )
    assert forked.say(HOW="exit") == (7, "")
    assert forked.say(HOW="words") == (1, "so it is\n")
    assert forked.say(HOW="kill") == (-9, "")
    code, said = forked.say(HOW="raise")
    assert code == 1
    assert said.startswith("Traceback (most recent call last):\n")
    assert said.endswith("ValueError: boom\n")
    assert "parent.py" not in said


def test_a_rank_carries_the_mark_and_lives_in_a_session_of_its_own(ranks):
    forked = ranks("import time; time.sleep(60)")
    process, _ = forked.start()
    assert process.poll() is None
    assert os.getsid(process.pid) == process.pid
    assert psutil.Process(process.pid).ppid() == os.getpid()
    pids = {one.pid for one in marked("a mark")}
    assert {process.pid, forked.forks.pid} <= pids
    assert process.pid in {one.pid for one in marked("a mark", spare=[forked.forks.pid])}
    process.send_signal(9)
    assert process.wait() == -9


def test_a_parent_that_died_is_replaced_and_a_stopped_one_too(ranks, capfd, monkeypatch):
    monkeypatch.setattr("steadytrain.launch.forks.REPLY_SECONDS", 1.0)
    forked = ranks("print(1)")
    assert forked.say() == (0, "1\n")
    for signum in ("SIGKILL", "SIGSTOP"):
        first = forked.forks.pid
        os.kill(first, getattr(__import__("signal"), signum))
        time.sleep(0.2)
        process, _ = forked.start()
        assert process is None  # started plainly, at once
        assert forked.forks.pid not in (None, first)
        forked.forks._is_first = True  # wait for the new one
        assert forked.say() == (0, "1\n")
    assert "its parent is replaced" in capfd.readouterr().err


def test_a_changed_file_or_early_variable_is_not_answered_with_old_imports(ranks, tmp_path, capfd):
    (tmp_path / "mine.py").write_text("x = 1")
    forked = ranks("import mine; print(mine.x)", preload=["mine"])
    assert forked.say() == (0, "1\n")
    process, _ = forked.start(OMP_NUM_THREADS="2")
    assert process is None
    forked.forks._is_first = True
    assert forked.say() == (0, "1\n")
    (tmp_path / "mine.py").write_text("x = 12")
    process, _ = forked.start()
    assert process is None
    forked.forks._is_first = True
    assert forked.say() == (0, "12\n")
    said = capfd.readouterr().err
    assert "OMP_NUM_THREADS is another" in said
    assert "mine.py has changed" in said


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "threads"),
        ("import subprocess; subprocess.Popen(['sleep', '60'])", "started a process"),
        ("import torch; torch.cuda.is_initialized = lambda: True", "the GPU"),
        ("import no_such_thing", "cannot be preloaded"),
    ],
)  # fmt: skip
def test_what_a_fork_would_break_is_started_plainly_and_said(
    ranks, tmp_path, capfd, source, reason
):
    (tmp_path / "mine.py").write_text(source)
    forked = ranks("print(1)", preload=["mine"])
    process, _ = forked.start()
    assert process is None
    assert forked.forks.pid is None
    assert reason in capfd.readouterr().err
    for left in marked("a mark"):
        left.kill()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["bash", "train.sh"], "not Python"),
        (["python3", "-c", "print(1)"], "not a script"),
        (["python3", "-i", "train.py"], "not a script"),
        (["python3"], "no script"),
        (["python3", "nowhere.py"], "not a file of Python source"),
    ],
)
def test_what_cannot_be_forked_is_told_from_the_command(command, reason):
    assert reason in read_command(command)


def test_options_of_the_interpreter_are_the_parents_too(tmp_path):
    script = tmp_path / "train.py"
    script.write_text("pass")
    found = read_command(["python3.11", "-uB", "-X", "dev", "-Wignore", str(script), "-m", "x"])
    assert found == Program(
        interpreter=("python3.11", "-uB", "-X", "dev", "-Wignore"), argv=(str(script), "-m", "x")
    )


def test_a_script_may_ask_for_a_new_interpreter(tmp_path):
    script = tmp_path / "train.py"
    script.write_text("#!/usr/bin/env python3\n# steadytrain: spawn\nprint(1)\n")
    assert "asks for it" in read_command(["python3", str(script)])


def test_nothing_of_the_parent_is_left_when_it_is_closed(ranks):
    forked = ranks("print(1)")
    assert forked.say() == (0, "1\n")
    pid = forked.forks.pid
    forked.forks.close()
    assert not psutil.pid_exists(pid)
    assert MARK in forked.env
