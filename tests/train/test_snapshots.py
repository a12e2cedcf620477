import pytest
import torch
from torch import nn

from steadytrain.errors import SettingError
from steadytrain.train.snapshots import Snapshots
from steadytrain.train.state import TrainingState

OPTIMIZERS = {
    "fused AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "AdamW one by one": lambda p: torch.optim.AdamW(p, lr=0.01, foreach=False, fused=False),
    "amsgrad": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "Adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
}


class Run:
    """A tiny model with dropout, so that a lost random state shows."""

    def __init__(self, *, keep=3, optimizer="fused AdamW"):
        torch.manual_seed(1)
        self.model = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1)
        )
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.state = TrainingState(self.model, self.optimizer)
        self.snapshots = Snapshots(self.state, keep=keep)

    def train(self, steps):
        for _ in range(steps):
            self.model(torch.randn(4, 6)).square().mean().backward()
            self.optimizer.step()
            self.optimizer.zero_grad()

    def copy(self):
        return {name: one.detach().clone() for name, one in self.state.tensors().items()}


def assert_same_bits(left, right):
    assert left.keys() == right.keys()
    for name, one in left.items():
        assert one.dtype == right[name].dtype
        same = one.numpy().tobytes() == right[name].numpy().tobytes()
        assert same, name


class TestReturn:
    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_training_continues_from_it_bit_for_bit(self, optimizer):
        run = Run(optimizer=optimizer)
        run.train(5)
        snapshot = run.snapshots.take(5, 20)
        run.train(5)
        first = run.copy()
        run.snapshots.restore(snapshot)
        run.train(5)
        assert_same_bits(run.copy(), first)

    def test_what_the_guard_has_learned_comes_back_too(self):
        run = Run()
        seen = torch.zeros(2)
        state = TrainingState(run.model, run.optimizer, extras={"seen": seen})
        snapshots = Snapshots(state, keep=1)
        seen.copy_(torch.tensor([1.0, float("nan")]))
        bits = seen.numpy().tobytes()
        snapshot = snapshots.take(5, 20)
        seen.fill_(9.0)
        snapshots.restore(snapshot)
        assert seen.numpy().tobytes() == bits

    def test_odd_bits_survive(self):
        run = Run()
        bits = torch.tensor([0x7FC12345, -0x00012345, -(2**31), 1, 0, -1, 7, 8], dtype=torch.int32)
        with torch.no_grad():
            run.model[0].bias.copy_(bits.view(torch.float32))
        before = run.copy()
        snapshot = run.snapshots.take(0, 0)
        nn.init.zeros_(run.model[0].bias)
        run.snapshots.restore(snapshot)
        assert_same_bits(run.copy(), before)

    def test_an_optimizer_before_its_first_step_comes_back_empty(self):
        run = Run()
        snapshot = run.snapshots.take(0, 0)
        assert snapshot.optimizer_is_empty
        run.train(2)
        first = run.copy()
        run.snapshots.restore(snapshot)
        assert not run.optimizer.state
        run.train(2)
        assert_same_bits(run.copy(), first)

    def test_moments_come_back_into_an_empty_optimizer(self):
        run = Run()
        run.train(2)
        snapshot = run.snapshots.take(2, 0)
        before = run.copy()
        run.optimizer.state.clear()
        run.snapshots.restore(snapshot)
        assert_same_bits(run.copy(), before)

    def test_parameters_moments_and_groups_stay_the_objects_that_they_are(self):
        run = Run()
        run.train(1)
        snapshot = run.snapshots.take(1, 0)
        before = run.state.tensors()
        group = run.optimizer.param_groups[0]
        run.train(1)
        run.snapshots.restore(snapshot)
        assert all(one is before[name] for name, one in run.state.tensors().items())
        assert run.optimizer.param_groups[0] is group

    def test_hyperparameters_come_back(self):
        run = Run()
        snapshot = run.snapshots.take(0, 0)
        run.optimizer.param_groups[0]["lr"] = 5.0
        run.snapshots.restore(snapshot)
        assert run.optimizer.param_groups[0]["lr"] == 0.01

    def test_later_training_does_not_reach_into_it(self):
        run = Run()
        run.train(2)
        before = run.copy()
        snapshot = run.snapshots.take(2, 9)
        run.train(3)
        assert_same_bits(snapshot.tensors, before)
        assert (snapshot.step, snapshot.draw) == (2, 9)


class TestWhichAreHeld:
    def test_the_newest_at_or_before_a_step(self):
        run = Run()
        for step in (10, 20, 30):
            run.snapshots.take(step, 0)
        found = [run.snapshots.newest_at_or_before(step) for step in (9, 10, 29, 99)]
        assert [one and one.step for one in found] == [None, 10, 20, 30]
        assert run.snapshots.oldest.step == 10

    def test_none_before_the_first(self):
        run = Run()
        assert run.snapshots.steps == ()
        assert run.snapshots.oldest is None
        assert run.snapshots.newest_at_or_before(5) is None

    def test_when_full_the_oldest_is_overwritten_in_place(self):
        run = Run(keep=2)
        run.train(1)
        first = run.snapshots.take(1, 0)
        memory = {name: one.data_ptr() for name, one in first.tensors.items()}
        run.snapshots.take(2, 0)
        third = run.snapshots.take(3, 0)
        assert run.snapshots.steps == (2, 3)
        assert {name: one.data_ptr() for name, one in third.tensors.items()} == memory
        with pytest.raises(AssertionError, match="overwritten"):
            _ = first.tensors

    def test_drop_after_forgets_the_later_ones_and_keeps_their_memory(self):
        run = Run(keep=3)
        run.snapshots.take(1, 0)
        memory = run.snapshots.take(2, 0).tensors["model.0.weight"].data_ptr()
        run.snapshots.drop_after(1)
        assert run.snapshots.steps == (1,)
        again = run.snapshots.take(2, 0)
        assert again.tensors["model.0.weight"].data_ptr() == memory

    def test_an_earlier_step_taken_again_begins_another_branch(self):
        run = Run()
        for step in (1, 2, 3):
            run.snapshots.take(step, 0)
        run.snapshots.take(2, 50)
        assert run.snapshots.steps == (1, 2)
        assert run.snapshots.newest_at_or_before(9).draw == 50

    def test_a_place_for_none_is_refused(self):
        with pytest.raises(SettingError, match=r"keep=0 holds no state.*Write keep=1"):
            Run(keep=0)


class TestLease:
    def test_a_leased_state_is_passed_over(self):
        run = Run(keep=2)
        first = run.snapshots.take(1, 0)
        run.snapshots.take(2, 0)
        with first.lease():
            run.snapshots.take(3, 0)
        assert run.snapshots.steps == (1, 3)

    def test_when_all_are_leased_there_is_one_more_for_a_while(self):
        run = Run(keep=2)
        leases = [run.snapshots.take(step, 0).lease() for step in (1, 2)]
        run.snapshots.take(3, 0)
        assert run.snapshots.steps == (1, 2, 3)
        leases[0].release()
        leases[1].release()
        run.snapshots.take(4, 0)
        assert run.snapshots.steps == (3, 4)
        assert len(run.snapshots._spare) == 0

    def test_a_dropped_state_lives_until_its_lease_ends(self):
        run = Run(keep=2)
        before = run.copy()
        snapshot = run.snapshots.take(5, 0)
        with snapshot.lease():
            run.snapshots.drop_after(0)
            run.train(1)
            run.snapshots.take(1, 0)
            assert_same_bits(snapshot.tensors, before)
        assert run.snapshots.steps == (1,)

    def test_releasing_twice_is_harmless_to_another_lease(self):
        snapshot = Run().snapshots.take(1, 0)
        mine, other = snapshot.lease(), snapshot.lease()
        mine.release()
        mine.release()
        assert snapshot.is_leased
        other.release()
        assert not snapshot.is_leased


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_copy_from_the_gpu_is_pinned_and_not_overtaken_by_the_next_update():
    model = nn.Linear(2048, 2048, device="cuda")
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    state = TrainingState(model, optimizer)
    snapshots = Snapshots(state, keep=1)
    before = model.weight.detach().cpu()
    snapshot = snapshots.take(0, 0)
    with torch.no_grad():
        model.weight.zero_()
    assert torch.equal(snapshot.tensors["model.weight"], before)
    assert snapshot.tensors["model.weight"].is_pinned()
    snapshots.restore(snapshot)
    assert torch.equal(model.weight.detach().cpu(), before)
