"""The watch over the ranks: notices a death, a hang, the end, a signal, and does what is judged."""

import signal
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from steadytrain.deaths import DO_NOT_REQUEUE, REQUEUE, is_victim
from steadytrain.errors import JournalError
from steadytrain.events import (
    Fact,
    GiveUp,
    Heartbeat,
    Judgment,
    ProcessExited,
    Restart,
    WorkersFinished,
    WorkersStarted,
)
from steadytrain.launch.activity import LOOK_SECONDS as ACTIVITY_SECONDS
from steadytrain.launch.activity import Activity
from steadytrain.launch.book import Book
from steadytrain.launch.ears import PREEMPTIONS, Ears
from steadytrain.launch.forks import Forks, Process
from steadytrain.launch.output import say
from steadytrain.launch.pace import Pace
from steadytrain.launch.silence import Seen, Silence, find_slowest
from steadytrain.launch.stacks import catches, find_guilty, keep_stacks, take_stands
from steadytrain.launch.workers import POLL_SECONDS, Exit, View, Workers
from steadytrain.progress import Beat, ask_to_leave, board_path, prepare_to_ask, read_board

HEARTBEAT_SECONDS = 30.0

WATCH_SECONDS = 1.0
"""How long one call of `watch` lasts when nothing happens."""

LOOK_SECONDS = 0.05
"""Between two looks at the boards, each of which costs a file read a rank."""

STOP_GRACE_SECONDS = 2.0
"""For what the ranks have started to end by itself. The ranks are killed at once: they wait in a
collective for nothing, and a handler in Python would not run there."""

VICTIM_SECONDS = 1.0
"""How long a rank that ended because another did is taken for the only one. Python needs some
tenths of a second from an error in the guilty rank to its end."""

LAST_WORD_SECONDS = 2.0
"""Of the grace, kept for SIGTERM: a rank that could not save may still clean up."""

MARGIN_STEPS, MARGIN_SECONDS = 2, 0.2
"""How far ahead the step lies at which all ranks leave: no rank may be as far as that when it hears
of it. Ranks of a run are at most one step apart."""


class Keeper:
    """What the elastic agent asks while it runs.

    Attributes:
        status: the supervisor's exit status.
        ears: to be entered while the agent runs.
    """

    def __init__(
        self,
        book: Book | None,
        *,
        home: Path,
        silence: Silence,
        grace_seconds: float,
        env: Mapping[str, str],
        mark: str,
        forks: Forks,
    ) -> None:
        self.status = 1
        self.ears = Ears()
        self._book = book
        self._home = home
        self._silence = silence
        self._grace_seconds = grace_seconds
        self._env = env
        self._mark = mark
        self._forks = forks
        self._host = ""
        self._ranks: tuple[int, ...] = ()
        self._workers: Workers | None = None
        self._judgment: Judgment | None = None
        self._pace = Pace()
        self._activity = Activity()
        self._active: set[int] = set()
        self._looked_at = self._told_at = self._felt_at = 0.0

    @property
    def _record(self) -> Book:
        assert self._book is not None
        return self._book

    @property
    def _present(self) -> Workers:
        assert self._workers is not None
        return self._workers

    def prepare(self, ranks: Sequence[int], world: int) -> Workers:
        """Make ready for a start of these ranks that comes now; there are `world` in all."""
        for rank in ranks:
            board_path(self._home, rank).unlink(missing_ok=True)
        prepare_to_ask(self._home, self._host)
        self._ranks = tuple(ranks)
        self._workers = Workers(
            self._take_generation(),
            ranks=ranks,
            world=world,
            home=self._home,
            mark=self._mark,
            env=self._env,
            forks=self._forks,
        )
        return self._workers

    def _take_generation(self) -> int:
        self._record.next_generation += 1
        return self._record.next_generation - 1

    def begin(self, processes: dict[int, Process]) -> None:
        """The ranks run; none do if a signal came meanwhile."""
        self.ears.listen()
        self._present.adopt(processes)
        self._silence.begin(self._ranks)
        self._pace.begin(self._present.generation)
        self._looked_at = self._told_at = self._felt_at = time.monotonic()
        if processes:
            self._note_start()

    def _note_start(self) -> None:
        generation, pids = self._present.generation, tuple(self._present.pids.values())
        self._record.note(WorkersStarted(generation=generation, pids=pids, step=self._record.step))

    def interrupt(self, signum: int) -> None:
        """A signal asked for the end."""
        self.ears.heard.append(signum)

    def watch(self) -> View:
        """Look at the ranks for a while; what a death asks for is done before this returns."""
        end = time.monotonic() + WATCH_SECONDS
        while time.monotonic() < end:
            if self.ears.heard:
                self._leave()
                return "failed"
            exits = self._present.exits()
            deaths = [one for one in exits if one.code != 0]
            if deaths:
                self._bury(self._facts_of(deaths))
                return "failed"
            if len(exits) == len(self._ranks):
                self._record.note(WorkersFinished(generation=self._present.generation))
                self.status = 0
                return "succeeded"
            self._look(ended=[one.rank for one in exits])
            stuck = self._silence.hung()
            if stuck:
                self._bury([self._fact_of_hang(stuck)])
                return "failed"
            time.sleep(POLL_SECONDS)
        return "healthy"

    def may_restart(self) -> bool:
        """After "failed": shall all ranks be started again, now?"""
        if self.ears.heard:
            self.status = self.ears.status()
            return False
        return isinstance(self._judgment, Restart)

    def stop(self) -> None:
        """End the ranks and all that they have started, if any of it is left."""
        if self._workers is not None:
            self._workers.stop(grace_seconds=STOP_GRACE_SECONDS)
            self._workers = None

    def _look(self, *, ended: Collection[int]) -> None:
        if self._observe(ended=ended):
            self._tell(self._silence.seen())

    def _observe(self, *, ended: Collection[int]) -> bool:
        """Look at the boards, if it is time to."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return False
        beats = [self._read_board(rank) for rank in self._ranks]
        gap_seconds, self._looked_at = now - self._looked_at, now
        if now - self._felt_at >= ACTIVITY_SECONDS and any(
            rank.phase == "starting" for rank in self._silence.ranks
        ):
            self._active = self._activity.look(self._present.pids, gap_seconds=now - self._felt_at)
            self._felt_at = now
        self._silence.look(beats, gap_seconds=gap_seconds, ended=ended, active=self._active)
        return True

    def _tell(self, seen: Sequence[Seen]) -> None:
        """Write down in passing how all ranks of the run look."""
        for straggler in self._pace.look([one.beat for one in seen]):
            self._note_in_passing(straggler)
            say(
                f"rank {straggler.rank} needs {straggler.seconds:.3g} s a step for its own work, "
                f"the others {straggler.others_seconds:.3g} s: they wait for it"
            )
        slowest, tally = find_slowest(seen), self._record.tally
        # The first new step of a start is told at once: the policy must know that it got further.
        is_further = (slowest.step or 0) > tally.best >= (tally.reached or 0)
        now = time.monotonic()
        if is_further or now - self._told_at >= HEARTBEAT_SECONDS:
            self._told_at = now
            self._tell_heartbeat(slowest)

    def _copied(self) -> tuple[int | None, float | None]:
        """Step of the state that neighbour hosts have a copy of, and its age; none do here."""
        return None, None

    def _tell_heartbeat(self, slowest: Seen) -> None:
        step, age = self._copied()
        self._note_in_passing(
            Heartbeat(
                generation=self._present.generation,
                rank=slowest.number,
                step=slowest.step,
                phase=slowest.phase,
                silent_seconds=round(slowest.seconds, 3),
                copied_step=step,
                copied_seconds=age,
            )
        )

    def _note_in_passing(self, fact: Fact) -> None:
        try:
            self._record.note(fact)
        except JournalError as error:
            say(str(error))  # a full disk is no reason to end a training that runs

    def _read_board(self, rank: int) -> Beat | None:
        beat = read_board(board_path(self._home, rank))
        return beat if beat is not None and beat.generation == self._present.generation else None

    def _facts_of(self, deaths: list[Exit]) -> list[ProcessExited]:
        """The guilty first: a victim's end may be seen before that of the rank it died of."""
        end = time.monotonic() + VICTIM_SECONDS
        facts = [self._fact_of(one) for one in deaths]
        while all(map(is_victim, facts)) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
            exits = [one for one in self._present.exits() if one.code != 0]
            facts = [self._fact_of(one) for one in exits]
            if len(facts) == len(self._ranks):
                break
        return sorted(facts, key=is_victim)

    def _fact_of(self, death: Exit) -> ProcessExited:
        rank = self._silence.rank(death.rank)
        beat = self._read_board(death.rank) or rank.beat
        error = death.error
        if death.signal == "SIGKILL" and self._activity.was_out_of_memory():
            error = "by the kernel's out-of-memory killer"
        return ProcessExited(
            generation=self._present.generation,
            rank=death.rank,
            pid=death.pid,
            code=death.code,
            signal=death.signal,
            phase="starting" if beat is None else beat.phase,
            step=None if beat is None else beat.step,
            error=error,
        )

    def _fact_of_hang(self, stuck: list[Seen]) -> ProcessExited:
        stands = take_stands(self._home, self._present.pids)
        rank = find_guilty(stuck, stands)
        return ProcessExited(
            generation=self._present.generation,
            rank=rank.number,
            pid=self._present.pids[rank.number],
            signal="SIGKILL",
            hung=True,
            phase=rank.phase,
            silent_seconds=round(rank.seconds, 3),
            step=rank.step,
            error=stands[rank.number].describe(),
        )

    def _bury(self, facts: list[ProcessExited]) -> None:
        """Write down what happened and what follows, end all ranks, wait as judged."""
        judgments = [self._record.note(fact) for fact in facts]
        # The first fact of a start is the one that is judged.
        self._judgment = judgments[0]
        announce(facts[0], self._judgment)
        self._kill()
        match self._judgment:
            case GiveUp(requeue=is_for_elsewhere):
                self.status = REQUEUE if is_for_elsewhere else DO_NOT_REQUEUE
            case Restart(wait_seconds=seconds):
                self._wait(seconds)

    def _kill(self) -> None:
        """End this host's ranks, if any run, and keep the stacks that they wrote."""
        if self._workers is None:
            return
        self._workers.send(signal.SIGKILL)
        self._workers.stop(grace_seconds=STOP_GRACE_SECONDS)
        keep_stacks(self._home, self._workers.generation)
        self._workers = None

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.ears.heard:
            time.sleep(POLL_SECONDS)

    def _leave(self) -> None:
        """Have the ranks save and leave, or pass the signal on; a second signal cuts that short."""
        self._judgment = None
        signum = self.ears.heard[0]
        will_save = signum in PREEMPTIONS and self._ask_to_leave()
        for pid in self._present.pids.values():
            # A rank that will save must not be ended by a signal it has no handler for.
            if not will_save or catches(pid, signum):
                self._present.send(signum, to=pid)
        end = time.monotonic() + self._grace_seconds
        if will_save:
            self._wait_for_exits(end - min(LAST_WORD_SECONDS, self._grace_seconds / 4))
            self._present.send(signum)
        self._wait_for_exits(end)
        self._present.stop(grace_seconds=0.0)
        self._workers = None

    def _ask_to_leave(self) -> bool:
        """Name a step to all ranks, a little ahead; False if one has not begun to train."""
        before = [self._read_board(rank) for rank in self._ranks]
        time.sleep(POLL_SECONDS)
        now = [self._read_board(rank) for rank in self._ranks]
        made = [beat.step for beat in now if beat is not None and beat.step is not None]
        if len(made) < len(self._ranks):
            return False
        past = [beat.step for beat in before if beat is not None and beat.step is not None]
        per_second = max(0, max(made) - max(past, default=max(made))) / POLL_SECONDS
        margin = MARGIN_STEPS + round(per_second * MARGIN_SECONDS)
        ask_to_leave(self._home, max(made) + margin, self._host)
        return True

    def _wait_for_exits(self, end: float) -> None:
        while time.monotonic() < end and len(self.ears.heard) == 1:
            if len(self._present.exits()) == len(self._present.pids):
                return
            time.sleep(POLL_SECONDS)


def announce(fact: ProcessExited, judgment: Judgment | None) -> None:
    """Tell a person what happened, and what follows."""
    where = f"rank {fact.rank}, start {fact.generation}"
    match judgment:
        case Restart(wait_seconds=seconds):
            when = "now" if seconds == 0.0 else f"in {seconds:g} s"
            say(f"{where}: {judgment.cause}; starting again {when}")
        case GiveUp():
            say(f"{where}: {judgment.cause}. Given up: {judgment.why}")
