"""Snapshots in shared memory: found by another life, refused if anything is not as it was."""

import json
import os

import pytest
import torch
from torch import nn

from steadytrain.errors import CheckpointError
from steadytrain.slots import COPIES, HEAD, NO_COPIES, Folder, Slot, hold
from steadytrain.train.mapped import Mapped
from steadytrain.train.snapshots import Snapshots
from steadytrain.train.state import TrainingState
from tests.train.test_snapshots import OPTIMIZERS, assert_same_bits


class Life:
    """A tiny model whose snapshots lie in shared memory; another one stands for the next life."""

    def __init__(
        self, root, *, keep=3, optimizer="fused AdamW", width=8, said=None, seed=1, rank=0, world=1
    ):
        torch.manual_seed(seed)
        self.model = nn.Sequential(
            nn.Linear(6, width), nn.BatchNorm1d(width), nn.Dropout(0.3), nn.Linear(width, 1)
        )
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.state = TrainingState(self.model, self.optimizer)
        folder = Folder(
            root / "steadytrain-1", home=root, rank=rank, world=world,
            fingerprint=self.state.fingerprint(),
        )  # fmt: skip
        self.mapped = Mapped(folder, keep=keep, say=(said if said is not None else []).append)
        self.snapshots = Snapshots(self.state, keep=keep, mapped=self.mapped)
        self.folder = folder.path

    def train(self, steps):
        for _ in range(steps):
            self.model(torch.randn(4, 6)).square().mean().backward()
            self.optimizer.step()
            self.optimizer.zero_grad()

    def take(self, *steps):
        for step in steps:
            self.snapshots.take(step, 4 * step, attempt=1)
        self.mapped.settle()

    def copy(self):
        return {name: one.detach().clone() for name, one in self.state.tensors().items()}

    def files(self):
        return sorted(self.folder.glob("*.slot"))


def steps(life):
    return [one.step for one in life.snapshots.find()[0]]


class TestTheNextLife:
    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_training_continues_from_it_bit_for_bit(self, tmp_path, optimizer):
        one = Life(tmp_path, optimizer=optimizer)
        one.train(5)
        one.optimizer.param_groups[0]["lr"] = 0.125
        one.take(5)
        one.train(5)
        other = Life(tmp_path, optimizer=optimizer, seed=7)
        (found,), refused = other.snapshots.find()
        assert (refused, other.snapshots.why_not(found)) == ([], None)
        other.snapshots.restore_found(found)
        assert (found.step, found.draw) == (5, 20)
        other.train(5)
        assert_same_bits(other.copy(), one.copy())

    def test_an_optimizer_before_its_first_step_comes_back_empty(self, tmp_path):
        one = Life(tmp_path)
        one.take(0)
        other = Life(tmp_path, seed=7)
        other.train(3)
        (found,), _ = other.snapshots.find()
        other.snapshots.restore_found(found)
        assert not other.optimizer.state
        assert_same_bits(other.copy(), one.copy())

    def test_the_newest_come_first_and_the_ring_keeps_the_last(self, tmp_path):
        Life(tmp_path, keep=3).take(1, 2, 3, 4, 5)
        assert steps(Life(tmp_path)) == [5, 4, 3]

    def test_three_slots_at_least_are_kept(self, tmp_path):
        Life(tmp_path, keep=1).take(1, 2, 3, 4)
        assert steps(Life(tmp_path)) == [4, 3, 2]

    def test_their_memory_is_used_again_the_oldest_first(self, tmp_path):
        one = Life(tmp_path, keep=3)
        one.train(1)
        one.take(1, 2, 3)
        before = {path.name: path.stat().st_ino for path in one.files()}
        other = Life(tmp_path, keep=3)
        other.train(1)
        assert steps(other) == [3, 2, 1]
        other.take(10)
        assert {path.name: path.stat().st_ino for path in other.files()} == before
        assert steps(Life(tmp_path)) == [10, 3, 2]

    def test_a_state_that_grew_gets_a_larger_slot(self, tmp_path):
        one = Life(tmp_path, keep=3)
        one.take(0)
        one.train(1)
        one.take(1, 2, 3)
        assert steps(Life(tmp_path)) == [3, 2, 1]
        assert len(one.files()) == 3

    def test_one_that_was_being_written_is_no_state_and_no_reproach(self, tmp_path):
        one = Life(tmp_path)
        one.take(1, 2)
        Slot.open(one.files()[1]).break_seal()
        found, refused = Life(tmp_path).snapshots.find()
        assert ([state.step for state in found], refused) == ([1], [])


class TestRefusals:
    def test_another_model(self, tmp_path):
        Life(tmp_path).take(1)
        found, refused = Life(tmp_path, width=9).snapshots.find()
        assert found == []
        assert "it is of another model" in refused[0]

    def test_another_optimizer_is_found_out_before_anything_is_trained_on(self, tmp_path):
        one = Life(tmp_path, optimizer="amsgrad")
        one.train(1)
        one.take(1)
        other = Life(tmp_path, optimizer="SGD with momentum")
        (found,), _ = other.snapshots.find()
        other.snapshots.restore_found(found)  # state of any name is made where it has a parameter
        assert any(name.endswith("max_exp_avg_sq") for name in other.state.tensors())

    def test_another_number_of_groups(self, tmp_path):
        Life(tmp_path).take(1)
        other = Life(tmp_path)
        other.optimizer.add_param_group({"params": []})
        (found,), _ = other.snapshots.find()
        assert other.snapshots.why_not(found) == "it has 1 parameter groups, this optimizer has 2"

    def test_another_buffer(self, tmp_path):
        Life(tmp_path).take(1)
        other = Life(tmp_path)
        other.model[1].register_buffer("extra", torch.zeros(2))
        state = TrainingState(other.model, other.optimizer)
        snapshots = Snapshots(state, keep=3, mapped=other.mapped)
        (found,), _ = snapshots.find()
        assert snapshots.why_not(found) == "model.1.extra is only here"

    def test_another_number_of_ranks_is_told(self, tmp_path):
        one = Life(tmp_path)
        one.take(1)
        (path,) = one.files()
        path.rename(path.with_name("r0of4-0.slot"))
        assert Life(tmp_path).snapshots.find() == ([], ["states of 4 ranks, this run has 1"])

    def test_a_file_that_is_no_slot_is_removed(self, tmp_path):
        one = Life(tmp_path)
        (one.folder / "r0of1-7.slot").write_bytes(bytes(5000))
        found, refused = one.snapshots.find()
        assert found == []
        assert "r0of1-7.slot: its first bytes are damaged, or it is no slot" in refused
        assert one.files() == []

    def test_every_flipped_bit(self, tmp_path):
        # The gap between header and payload is 64 KB of zeros: every 64th bit of it.
        one = Life(tmp_path, width=3)
        one.train(1)
        one.take(1)
        slot = Slot.open(one.files()[0])
        used = len(json.dumps(slot.header())) + 200
        size = 8 * len(slot.memory)
        bits = [
            *range(8 * used),
            *range(8 * used, 8 * slot.payload, 64),
            *range(8 * slot.payload, size),
        ]
        for bit in bits:
            slot.memory[bit // 8] ^= 1 << bit % 8
            with pytest.raises(CheckpointError):
                slot.inspect()
            slot.memory[bit // 8] ^= 1 << bit % 8
        slot.inspect()


class TestAnotherNumberOfRanks:
    def test_a_rank_takes_what_another_one_held_whole(self, tmp_path):
        one = Life(tmp_path, rank=1, world=3)
        one.train(4)
        one.take(4)
        torch.manual_seed(99)
        before = torch.get_rng_state()
        other = Life(tmp_path, rank=0, world=2)
        (found,), refused = other.snapshots.find()
        assert (found.step, found.is_mine, refused) == (4, False, [])
        assert other.snapshots.why_not(found) is None
        torch.set_rng_state(before)
        other.snapshots.restore_found(found)
        assert_same_bits(other.copy(), one.copy())
        assert torch.equal(torch.get_rng_state(), before)  # its own, not the other rank's

    def test_what_its_own_number_held_comes_first_with_its_random_state(self, tmp_path):
        Life(tmp_path, rank=0, world=3).take(4)
        Life(tmp_path, rank=1, world=3).take(4)
        (found,), _ = Life(tmp_path, rank=1, world=2).snapshots.find()
        assert found.is_mine

    def test_parts_are_of_use_to_their_own_number_alone(self, tmp_path):
        one = Life(tmp_path, world=2)
        one.take(1)
        slot = Slot.open(one.files()[0])
        header = slot.header()
        header["tensors"]["model.0.weight"][0][0] *= 2
        slot.seal(json.dumps(header).encode())
        found, refused = Life(tmp_path, world=3).snapshots.find()
        assert (found, refused) == ([], ["states of 2 ranks, this run has 3"])


class TestCopiesOfAnotherHost:
    def test_a_slot_that_is_held_is_left_as_it_is(self, tmp_path, monkeypatch):
        monkeypatch.setenv(COPIES, "1")
        one = Life(tmp_path, keep=1)
        one.train(1)
        one.take(1)
        (path,) = one.files()
        with hold(path) as is_held:
            assert is_held
            one.take(*range(2, 12))
            assert 1 in steps(Life(tmp_path, keep=1))
        one.take(*range(12, 20))
        assert steps(Life(tmp_path, keep=1)) == [19, 18, 17, 16, 15]  # three, and two to be held

    def test_without_room_for_them_the_slots_stay_and_it_is_said(self, tmp_path, monkeypatch):
        monkeypatch.setenv(COPIES, "1")
        asked = []

        def lacks_room(self, num_bytes, *, sharing):
            asked.append(num_bytes)
            return "the folder is small" if len(asked) == 1 else None

        monkeypatch.setattr(Folder, "lacks_room", lacks_room)
        said = []
        one = Life(tmp_path, keep=3, said=said)
        one.take(1, 2, 3, 4)
        assert steps(Life(tmp_path)) == [4, 3, 2]
        assert asked[0] / asked[1] == 7 / 3
        assert (one.folder / NO_COPIES).read_text() == "the folder is small"
        assert "leave out --neighbour-copies" in said[0]


class TestRoom:
    def test_a_full_folder_leads_to_plain_memory_said_once(self, tmp_path, monkeypatch):
        said = []
        one = Life(tmp_path, said=said)
        one.train(1)
        one.take(1)

        def fail(*args):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", fail)
        one.take(2, 3, 4)
        assert len(said) == 1
        assert "(No space left on device)" in said[0]
        assert "snapshots=" in said[0]
        assert one.files() == []
        first = one.snapshots.at_or_before(9)[0]
        one.train(1)
        before = one.copy()
        one.snapshots.restore(first)
        assert first.step == 4
        assert set(one.copy()) == set(before)

    def test_too_little_room_for_all_is_known_before_the_first(self, tmp_path, monkeypatch):
        said = []
        monkeypatch.setattr("steadytrain.slots.MARGIN", 2.0)
        one = Life(tmp_path, said=said)
        one.take(1)
        assert "are left to others" in said[0]
        assert one.snapshots.steps == (1,)

    def test_when_all_are_leased_one_more_lies_in_plain_memory_for_a_while(self, tmp_path):
        one = Life(tmp_path, keep=3)
        one.take(1, 2, 3)
        leases = [snapshot.lease() for snapshot in one.snapshots.at_or_before(9)]
        one.take(4)
        assert steps(Life(tmp_path)) == [3, 2, 1]
        for lease in leases:
            lease.release()
        one.take(5, 6, 7, 8)
        assert steps(Life(tmp_path)) == [8, 7, 6]
        assert len(one.files()) == 3

    def test_the_end_gives_the_memory_back(self, tmp_path):
        one = Life(tmp_path)
        one.take(1)
        one.snapshots.close(has_ended=True)
        assert not one.folder.exists()

    def test_a_header_that_no_longer_fits_leads_to_a_larger_slot(self, tmp_path):
        one = Life(tmp_path, keep=3)
        one.take(1, 2, 3)
        one.optimizer.param_groups[0]["note"] = "x" * 200_000
        one.take(4, 5, 6, 7)
        assert steps(Life(tmp_path))[0] == 7
        room = max(Slot.open(path).payload for path in one.files())
        assert room > 200_000 > HEAD.size
