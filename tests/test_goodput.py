"""The account of a run's time: closed whatever happens, and right where the truth is known."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from steadytrain import events as ev
from steadytrain.goodput import Timesheet
from steadytrain.news import Noted, Step
from steadytrain.stints import PARTS


class World:
    """Writes lines as a run would, by a true clock, while the wall clock may jump."""

    def __init__(self):
        self.now, self.ahead = 1_000.0, 0.0
        self.items = []
        self.step = 0
        self.attempt = 0
        self.since = None
        self.truth = dict.fromkeys(PARTS, 0.0)

    def line(self, event, writer="rank0"):
        self.items.append(Noted(writer=writer, seq=0, at=self.now + self.ahead, event=event))

    def begin(self, cause="start", *, step=0, starting=0.0):
        """A process: `starting` seconds until its Session exists."""
        self.now += starting
        self.truth["startup"] += starting
        self.attempt, self.step = self.attempt + 1, step
        if cause != "rollback":
            self.since = self.now
        self.line(ev.AttemptBegan(attempt=self.attempt, step=step, draw=0, cause=cause))

    def pass_(self, part, seconds):
        self.now += seconds
        self.truth[part] += seconds

    def train(self, count, *, seconds=1.0, committed=True, part="productive"):
        for _ in range(count):
            self.pass_(part, seconds)
            self.step += 1
            self.items.append(
                Step(
                    at=self.now + self.ahead, attempt=self.attempt, step=self.step, draw_end=0,
                    loss=2.0, nll=(2.0,), tokens=(100,), committed=committed,
                    seconds=self.now - self.since,
                )
            )  # fmt: skip
            self.since = self.now

    def undo(self, count, *, seconds=1.0):
        """What was made is made again."""
        self.truth["productive"] -= count * seconds
        self.truth["repeated"] += count * seconds

    def save(self, seconds=0.5):
        self.pass_("checkpoints", seconds)
        self.line(
            ev.CheckpointSaved(attempt=1, step=self.step, draw=0, path="p", bytes=1, digest="d",
                               seconds=3.0, blocked_seconds=seconds)
        )  # fmt: skip

    def look(self, seconds=20.0):
        self.pass_("panel", seconds)
        self.line(
            ev.PanelRecord(attempt=1, step=self.step, nll=(), tokens=(), bytes=(), losses=(),
                           seconds=seconds)
        )  # fmt: skip

    def die(self, *, noticed=2.0, hung=False, wait=0.0):
        self.pass_("detection", noticed)
        self.line(ev.ProcessExited(generation=0, rank=0, pid=1, hung=hung), "supervisor")
        self.line(ev.Restart(generation=1, cause="c", wait_seconds=wait, why="w"), "supervisor")
        self.pass_("waits", wait)
        self.line(ev.WorkersStarted(generation=1, pids=(2,)), "supervisor")

    def beat(self):
        self.line(
            ev.Heartbeat(generation=0, rank=0, step=self.step, phase="step", silent_seconds=0.0),
            "supervisor",
        )


def account(items):
    sheet = Timesheet()
    for one in items:
        if isinstance(one, Step):
            sheet.add([one])
        else:
            sheet.note(one.writer, one.at, one.event)
    return sheet.account()


def in_batches(items, rng):
    """The same lines, steps in lots as they come and one writer after the other."""
    sheet = Timesheet()
    for writer in rng.sample(["rank0", "supervisor"], 2):
        lot = []
        for one in items:
            if isinstance(one, Step) and writer == "rank0":
                lot.append(one)
                if rng.random() < 0.1:
                    sheet.add(lot)
                    lot = []
            elif not isinstance(one, Step) and one.writer == writer:
                sheet.add(lot)
                lot = []
                sheet.note(one.writer, one.at, one.event)
        sheet.add(lot)
    return sheet.account()


def spent(found):
    return {part: seconds for part, seconds in found.seconds.items() if seconds}


def healthy(count=40):
    world = World()
    world.begin()
    world.train(count)
    return world


class TestWhereTheTruthIsKnown:
    def test_a_run_that_only_trains_is_productive(self):
        found = account(healthy().items)
        assert spent(found) == {"productive": 40.0}
        assert (found.goodput, found.updates, found.tokens) == (1.0, 40, 4_000)

    def test_each_loss_of_time_has_its_name(self):
        world = World()
        world.line(ev.WorkersStarted(generation=0, pids=(1,)), "supervisor")
        world.begin(starting=8.0)
        world.train(60)
        world.look()
        world.train(20)
        world.save()
        world.train(20)
        world.train(3, committed=False, part="held")
        world.train(17)
        world.die(noticed=5.0, wait=30.0)
        world.begin("restart", step=110, starting=12.0)
        world.undo(10)
        world.train(50)
        found = account(world.items)
        assert found.seconds == pytest.approx(world.truth, abs=1e-3)
        assert (found.failures, found.updates_lost, found.tokens_lost) == (1, 10, 1_000)

    def test_what_a_line_tells_late_is_taken_from_the_long_update_before_it(self):
        world = healthy()
        world.pass_("checkpoints", 6.0)
        world.train(9)
        world.line(
            ev.CheckpointSaved(attempt=1, step=40, draw=0, path="p", bytes=1, digest="d",
                               seconds=9.0, blocked_seconds=6.0)
        )  # fmt: skip
        world.train(20)
        assert account(world.items).seconds == pytest.approx(world.truth, abs=1e-3)

    def test_a_long_update_that_nothing_explains_is_a_stall(self):
        world = healthy()
        world.pass_("stalls", 90.0)
        world.train(20)
        assert account(world.items).seconds == pytest.approx(world.truth, abs=1e-3)

    def test_what_hides_in_usual_updates_is_taken_from_them_a_block_later(self):
        world = World()
        world.begin()
        for _ in range(80):
            world.train(9)
            world.save(0.01)
        found = account(world.items)
        assert found.seconds["checkpoints"] == pytest.approx(0.8, abs=0.3)
        assert found.wall == pytest.approx(720.8)

    def test_the_first_update_of_a_process_compiles_and_is_start_up(self):
        world = World()
        world.begin()
        world.pass_("startup", 55.0)
        world.train(30)
        assert account(world.items).seconds == pytest.approx(world.truth, abs=1e-3)

    def test_a_crash_loop_at_the_first_update_is_not_productive(self):
        world = World()
        world.begin()
        for _ in range(5):
            world.train(1, seconds=60.0)
            world.die()
            world.begin("restart", starting=10.0)
        found = account(world.items)
        assert found.seconds["productive"] == 0.0
        assert found.seconds["startup"] == pytest.approx(350.0)

    def test_the_pause_of_a_run_that_gave_up_is_idle(self):
        world = healthy()
        world.pass_("detection", 3.0)
        world.line(ev.GiveUp(generation=1, cause="c", why="w"), "supervisor")
        world.pass_("idle", 7_200.0)
        world.line(ev.WorkersStarted(generation=0, pids=(3,)), "supervisor")
        world.begin("restart", step=40, starting=9.0)
        world.train(30)
        assert account(world.items).seconds == pytest.approx(world.truth, abs=1e-3)

    def test_a_run_without_a_supervisor_is_idle_until_somebody_starts_it_again(self):
        world = healthy()
        world.pass_("idle", 600.0)
        world.begin("restart", step=40)
        world.train(30)
        assert account(world.items).seconds == pytest.approx(world.truth, abs=1e-3)

    def test_a_rollback_is_examination_and_repeats(self):
        world = healthy()
        world.pass_("examination", 4.0)
        world.line(ev.RemedyDone(remedy="r", attempt=1, step=30, restored_step=30, seconds=4.0))
        world.begin("rollback", step=30)
        world.undo(10)
        world.train(30)
        assert account(world.items).seconds == pytest.approx(world.truth, abs=1e-3)

    def test_a_journal_without_durations_is_measured_by_its_lines(self):
        world = healthy()
        for one in world.items:
            if isinstance(one, Step):
                one.seconds = None
        assert account(world.items).seconds["productive"] == pytest.approx(39.0)

    def test_nothing_at_all_is_no_error(self):
        found = Timesheet().account()
        assert (found.wall, found.goodput) == (0.0, None)


class TestClocksThatJump:
    @pytest.mark.parametrize("jump", [3_600.0, -3_600.0])
    def test_within_a_life_nothing_changes(self, jump):
        def told(ahead):
            world = healthy(20)
            world.ahead = ahead
            world.train(20)
            world.save()
            world.train(20)
            return account(world.items)

        assert told(jump).seconds == told(0.0).seconds

    def test_back_between_two_lives_loses_that_time_and_no_other(self):
        world = healthy()
        world.die()
        world.ahead = -3_600.0
        world.begin("restart", step=40, starting=10.0)
        world.train(40)
        assert account(world.items).seconds["productive"] == 80.0
        assert account(world.items).wall == pytest.approx(80.0, abs=1.0)

    def test_ahead_between_two_lives_is_idle(self):
        world = healthy()
        world.die()
        world.ahead = 3_600.0
        world.begin("restart", step=40, starting=10.0)
        world.train(40)
        found = account(world.items)
        assert found.seconds["idle"] == pytest.approx(3_490.0)
        assert found.seconds["startup"] == pytest.approx(120.0)

    def test_a_long_start_under_a_supervisor_that_beats_is_a_start(self):
        world = healthy()
        world.die()
        for _ in range(60):
            world.pass_("startup", 30.0)
            world.beat()
        world.begin("restart", step=40)
        world.train(40)
        assert account(world.items).seconds == pytest.approx(world.truth, abs=1e-3)


MOVES = some.sampled_from(
    ("train", "train", "held", "save", "look", "stall", "die", "hang", "rollback", "person",
     "jump ahead", "jump back", "beat", "lie")
)  # fmt: skip


def live_through(moves, rng):
    world = World()
    world.line(ev.WorkersStarted(generation=0, pids=(1,)), "supervisor")
    world.begin(starting=rng.random())
    for move in moves:
        match move:
            case "train":
                world.train(rng.randint(1, 300), seconds=rng.choice((0.01, 1.0, 30.0)))
            case "held":
                world.train(1, committed=False)
            case "save":
                world.save(rng.random())
            case "look":
                world.look(rng.random() * 50)
            case "stall":
                world.now += rng.random() * 1_000
            case "die":
                world.die(noticed=rng.random(), wait=rng.choice((0.0, 60.0)))
                world.begin("restart", step=rng.randint(0, world.step), starting=rng.random() * 20)
            case "hang":
                world.die(noticed=rng.random() * 900, hung=True)
            case "rollback":
                world.begin("rollback", step=rng.randint(0, world.step))
            case "person":
                world.now += 1e5
                world.begin("restart", step=world.step)
            case "jump ahead":
                world.ahead += 3_600.0
            case "jump back":
                world.ahead -= 3_600.0
            case "beat":
                world.beat()
            case "lie":  # a line that is nonsense in a way that JSON allows
                world.save(rng.choice((-5.0, 1e9)))
                world.now = max(1_000.0, world.now - 1e9)
    return world


@settings(max_examples=120, deadline=None)
@example(["held", "person", "lie", "hang", "rollback", "train"], 3)  # two lines of one moment
@given(some.lists(MOVES, max_size=25), some.integers(0, 2**32))
def test_the_account_is_closed_whatever_happens(moves, seed):
    rng = random.Random(seed)
    items = live_through(moves, rng).items
    found = account(items)
    assert set(found.seconds) == set(PARTS)
    assert all(seconds >= 0 for seconds in found.seconds.values())
    assert sum(found.seconds.values()) == pytest.approx(found.wall)
    assert found.running <= found.wall + 1e-6
    assert found.updates == sum(isinstance(one, Step) for one in items)
    # However it is read, in pieces or at once, writer by writer or merged, it is the same account.
    assert in_batches(items, rng) == found


@settings(max_examples=60, deadline=None)
@given(some.lists(MOVES, max_size=20), some.integers(0, 2**32))
def test_lives_count_for_what_their_own_clock_says(moves, seed):
    """The parts of lives together are the sum of the updates' own seconds, and a tail or two."""
    items = live_through([one for one in moves if one != "lie"], random.Random(seed)).items
    found = account(items)
    own = sum(one.seconds for one in items if isinstance(one, Step))
    within = ("productive", "repeated", "held", "checkpoints", "panel", "examination", "stalls")
    assert found.running >= own - 1e-3
    assert sum(found.seconds[part] for part in within) <= found.running + 1e-3
