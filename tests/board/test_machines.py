from steadytrain import events as ev
from steadytrain.board.glance import glance
from steadytrain.board.library import Library
from steadytrain.board.machines import machines
from tests.board.rig import Writer

BEGAN = ev.RunBegan(
    run="r", recipe={}, domains=("zh",), model="m", parameters=1, world=4, draws_per_step=8
)


def _watched(tmp_path, *, of_rank0=(), of_supervisor=()):
    home = tmp_path / "r"
    Writer(home).add(BEGAN, *of_rank0)
    Writer(home, "supervisor").add(*of_supervisor)
    library = Library([tmp_path])
    library.read_all()
    return library.runs["r"]


def test_a_failing_mirror_is_named_with_its_reason_until_it_works_again(tmp_path):
    reason = "it was skipped: one checkpoint was being written and the next one waited, so the disk is slower than they come. Write a larger checkpoint_every"
    sent = ev.CheckpointMirrored(attempt=1, step=40, path="a", bytes=5, seconds=1.0)
    failed = ev.MirrorFailed(reason=reason, step=60)
    one = _watched(tmp_path, of_rank0=(sent, failed, failed))
    found = glance(one)["mirror"]
    assert (found["step"], found["failed"]) == (40, 2)
    assert found["why"]["en"] == reason
    assert found["why"]["zh"].startswith("已跳过")
    story = machines(one, "en")["story"]
    assert [line["kind"] for line in story] == ["MirrorFailed", "MirrorFailed"]
    assert {line["tone"] for line in story} == {"warn"}


def test_a_mirror_that_works_again_fails_no_more(tmp_path):
    events = (
        ev.MirrorFailed(reason="away", step=20),
        ev.CheckpointMirrored(attempt=1, step=40, path="a", bytes=5, seconds=1.0),
    )
    assert glance(_watched(tmp_path, of_rank0=events))["mirror"]["failed"] == 0


def test_a_run_without_a_mirror_says_nothing_of_one(tmp_path):
    assert glance(_watched(tmp_path))["mirror"] is None


def test_replicas_that_differed_are_named(tmp_path):
    part = ev.UnlikeReplicas(part="weights", ranks=(0, 2), digests=("a", "b"))
    compared = [
        ev.ReplicasCompared(attempt=1, step=step, copies=4, digests=("a",), unlike=unlike)
        for step, unlike in ((10, ()), (20, (part,)), (30, ()))
    ]
    found = machines(_watched(tmp_path, of_rank0=compared), "zh")
    assert found["replicas"]["compared"] == 3
    assert found["replicas"]["unlike"] == [{"step": 20, "part": "权重", "ranks": [0, 2]}]


def test_ranks_of_a_host_that_is_gone_are_dead_until_the_next_start(tmp_path):
    hosts = ("a", "a", "b", "b")
    started = ev.WorkersStarted(generation=0, pids=(1, 2, 3, 4), hosts=hosts)
    gone = ev.HostGone(generation=0, host="b", ranks=(2, 3), why="silent", step=7)
    found = machines(_watched(tmp_path / "x", of_supervisor=(started, gone)), "en")
    assert [one["died"] for one in found["ranks"]] == [False, False, True, True]
    assert [one["host"] for one in found["ranks"]] == list(hosts)
    assert found["generations"][0]["hosts"] == ["a", "b"]
    cause = found["generations"][0]["causes"][0]
    assert (cause["host"], cause["ranks"]) == ("b", "2-3")
    again = ev.WorkersStarted(generation=1, pids=(5, 6, 7, 8), hosts=("a", "a", "c", "c"))
    found = machines(_watched(tmp_path / "y", of_supervisor=(started, gone, again)), "en")
    assert not any(one["died"] for one in found["ranks"])


def test_states_from_a_neighbours_memory_and_copies_that_lack_are_told(tmp_path):
    lacking = ev.CopiesLacking(generation=0, host="b", why="no room")
    brought = ev.StatesBrought(generation=1, step=40, ranks=(2, 3), hosts=("a", "a"), bytes=9)
    none = ev.StatesBrought(generation=2, step=None, why="two hosts in a row are gone")
    one = _watched(tmp_path, of_supervisor=(lacking, brought, none))
    for lang in ("en", "zh"):
        story = machines(one, lang)["story"]
        assert [line["tone"] for line in story] == ["warn", "act", "warn"]
    assert "no room" in machines(one, "en")["story"][0]["words"]
