"""A run of several replicas that torchft keeps together: one dies, the others go on within seconds.

    with Replica(manager, model, optimizer, feed, home="runs/r1/replica0", steps=1000) as run:
        for batch in run:                        # an update that was lost is drawn again
            run.backward(model(batch.tokens_BT), batch)
            run.step()

torchft decides who takes part in an update, moves numbers between replicas, and heals one that
comes back. What it leaves open is here:

- Data. An update has the same sequences whatever the number of replicas, so which samples were used
  follows from the number of updates; a vote that fails draws the same ones again.
- The gate. All replicas read the same sums of losses and the same averaged gradients, and the
  limits of the first of them. The vote tells whether these numbers are complete; a complete update
  that is not finite, or beyond the limits, counts as a step and lands nowhere.
- Hangs. The board tells own work from waiting for peers, so the supervisor of a replica that hangs
  ends it long before those of the replicas that wait for it would end theirs.
- Memory. Each replica keeps a journal and a judge of the whole run; one that is healed takes over
  the judge's memory with the weights.
"""

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.distributed import ReduceOp
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel
from torchft import DistributedDataParallel as ReplicatedDDP
from torchft import Manager

from steadytrain import recipes
from steadytrain.adapters.replicas import handover
from steadytrain.adapters.replicas.averages import average
from steadytrain.adapters.replicas.keeping import Keeping
from steadytrain.adapters.replicas.logbook import Logbook
from steadytrain.adapters.replicas.quorums import PATIENCE_SECONDS, ask
from steadytrain.adapters.replicas.shares import Piece, Share
from steadytrain.adapters.replicas.updates import Updates
from steadytrain.deaths import REQUEUE
from steadytrain.errors import SettingError
from steadytrain.events import RunBegan
from steadytrain.judge.judge import Judge
from steadytrain.progress import Beacon
from steadytrain.train import gradients
from steadytrain.train.feed import Batch, Feed
from steadytrain.train.losses import token_losses, z_losses
from steadytrain.train.ranks import Ranks
from steadytrain.train.records import record
from steadytrain.train.refusals import refuse_nonsense
from steadytrain.train.schedule import Schedule
from steadytrain.train.stands import Stands
from steadytrain.train.state import TrainingState
from steadytrain.train.tap import Reading


class Replica:
    """One replica of a run; each has a supervisor, a home and a torchft manager of its own.

    Args:
        manager: made with `use_async_quorum=False`; it needs no state functions. With several ranks
            in the replica, each has one.
        model: the module; sharded or in DistributedDataParallel over the ranks of the replica, in
            torchft's DistributedDataParallel, or bare.
        optimizer: its optimizer, not torchft's wrapper of it.
        feed: the data order, made without rank and world: `batch_size * accumulate` sequences are
            an update of the whole run, whoever is there.
        home: folder of this replica.
        steps: updates of the whole run.
        judge: watches the run and gives the gate its limits; `recipes.pretrain()` if None. It may
            hold updates back and ask a person; other remedies cannot be carried out here.
        schedule: learning rate; None leaves it to the user's own.
        clip, z_loss: global gradient norm limit, None for none [L2]; coefficient of the z-loss.
        checkpoint_every, keep: steps between checkpoints in this home, and how many; needed when
            all replicas die.
        patience_seconds: how long to wait for enough replicas.
        say, fence: as in `Session`.

    Raises:
        SettingError: settings that make no sense together.
        CheckpointError: the home, or the other replicas, hold another run.
        JournalError: the home cannot be written.
    """

    def __init__(
        self,
        manager: Manager,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        feed: Feed,
        *,
        home: str | Path | None = None,
        steps: int,
        judge: Judge | None = None,
        schedule: Schedule | None = None,
        ranks: Ranks | None = None,
        clip: float | None = 1.0,
        z_loss: float = 0.0,
        checkpoint_every: int = 100,
        keep: int = 3,
        patience_seconds: float = PATIENCE_SECONDS,
        say: Callable[[str], None] | None = None,
        fence: bool = True,
    ) -> None:
        every = {"checkpoint_every": checkpoint_every, "keep": keep}
        refuse_nonsense(steps=steps, every=every, clip=clip, z_loss=z_loss)
        self._ranks = ranks or Ranks()
        _refuse_misfits(manager, model, feed, self._ranks)
        self.home = Path(home or os.environ.get("STEADYTRAIN_HOME") or "runs/replica")
        self.steps = steps
        self._manager = manager
        self._model = model
        self._optimizer = optimizer
        self._feed = feed
        self._judge = judge or recipes.pretrain()
        self._say = say or _say_on_stderr
        self._fence = fence
        self._patience_seconds = patience_seconds
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._updates = Updates(
            model, optimizer, schedule=schedule, clip=clip, z_loss=z_loss,
            domains=len(feed.domains),
        )  # fmt: skip
        self._state = TrainingState(model, optimizer, extras=self._updates.learned)
        self._keeping = Keeping(
            self.home,
            self._state,
            self._ranks,
            every=checkpoint_every,
            keep=keep,
            memory=lambda: self._log.memory,
        )
        self._log = Logbook(self._ranks)
        self._stands: Stands | None = None
        self._beacon = Beacon(
            self.home, self._ranks.rank, int(os.environ.get("STEADYTRAIN_GENERATION", "0"))
        )
        self._share = Share(place=0, replicas=0)
        self._piece: Piece | None = None
        self._is_complete = False
        self._batches: list[Batch] = []
        self._first_draw = 0
        self._has_ended = False
        self._last_update = time.monotonic()
        manager.register_state_dict_fn("steadytrain", self._take_over, self._hand_over)

    def __enter__(self) -> "Replica":
        self._beacon.beat("restore")
        self._stands = Stands(self.home, self._ranks.rank)
        first = self._first_line()
        self._log.open(self.home, self._judge, first, say=self._say, fence=self._fence)
        self._restore()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._keeping.finish()
        self._log.close()
        self._beacon.beat("finished")
        if self._stands is not None:
            self._stands.close()
        self._beacon.close()
        # Not waited for: a peer's request that never ends would keep this replica here.
        self._manager.shutdown(wait=False)

    @property
    def step_number(self) -> int:
        """Updates of the whole run so far, as this replica knows them."""
        return int(self._manager.current_step())

    @property
    def replicas(self) -> int:
        """How many replicas share the update under way; 0 before the first."""
        return self._share.replicas

    def __iter__(self) -> Iterator[Batch]:
        """Micro-batches until the last step; those of an update that was lost come again."""
        while not self._has_ended:
            if self.step_number >= self.steps:
                self._end()
                return
            if self._beacon.is_to_leave(self.step_number):
                self._leave()
            self._meet()
            if self.step_number >= self.steps:
                continue  # healed, and the others are at the end
            self._beacon.beat("data", self.step_number)
            self._first_draw = self._feed.draw
            draws = self._feed.step_draws(self.step_number + 1)
            pieces = list(self._share.pieces(draws, self._feed.batch_size))
            self._batches = []
            for number, piece in enumerate(pieces, start=1):
                batch = self._feed.batch(piece.draws)
                self._piece = piece
                self._is_complete = number == len(pieces)
                if isinstance(self._model, ReplicatedDDP):
                    # As its own no_sync: replicas may have different numbers of micro-batches.
                    self._model.require_backward_grad_sync = self._is_complete
                self._beacon.beat("forward", self.step_number)
                yield batch

    def backward(self, logits_BTV: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy and z-loss of a micro-batch, their sums, and the gradients.

        Returns the micro-batch's mean cross-entropy, detached, on the device. [nats/token]
        """
        nll_BT, lse_BT = token_losses(logits_BTV, batch.targets_BT)
        return self.backward_losses(nll_BT, batch, z_BT=z_losses(lse_BT))

    def backward_losses(
        self, nll_BT: Tensor, batch: Batch, *, z_BT: Tensor | None = None
    ) -> Tensor:
        """The same for a loss that the user computed.

        Args:
            nll_BT: cross-entropy of each token without z-loss. [nats]
            z_BT: logsumexp^2 of each token; without it no z-loss can be added.
        """
        assert self._piece is not None
        is_waiting = self._is_complete and isinstance(self._model, ReplicatedDDP)
        self._beacon.beat("peers" if is_waiting else "backward")
        if self._piece.weight:
            self._batches.append(batch)
        return self._updates.backward(nll_BT, batch, weight=self._piece.weight, z_BT=z_BT)

    def step(self) -> None:
        """One update: average, vote, gate, optimize, record. Every rank, every step, same order.

        Only the call after the last micro-batch makes an update. One that not every replica has
        the numbers of is thrown away, and its sequences are drawn again.
        """
        if not self._is_complete:
            return
        self._is_complete = False
        number = self.step_number + 1
        self._beacon.beat("peers", self.step_number)
        if not isinstance(self._model, ReplicatedDDP):
            average(self._manager, self._parameters)
        # One judge's limits hold, though all judges should agree: the gate must decide alike.
        limits = self._log.limits(number) if self._share.place == 0 else None
        self._updates.weigh(number, limits, add_up=self._add_up)
        if not self._manager.should_commit():
            self._updates.discard()
            self._feed.seek(self._first_draw)
            self._log.note_lost_update()
            return
        self._beacon.beat("step", self.step_number)
        self._note(number, self._updates.land(number))
        self._keeping.note()
        if self._keeping.is_due(number) or number == self.steps:
            self._beacon.beat("checkpoint", number)
            self._save()
        self._beacon.beat("loop", number)

    def _meet(self) -> None:
        """Find out who takes part in the next update; be healed first, if others are further."""
        ask(
            self._manager,
            patience_seconds=self._patience_seconds,
            beat=lambda: self._beacon.beat("peers", self.step_number),
            say=self._say,
        )
        replicas, place = self._manager.num_participants(), self._manager.participating_rank()
        # One that stands by computes what the first one does; torchft leaves its numbers out.
        self._share = Share(
            place=place or 0,
            replicas=replicas,
            rank=self._ranks.rank,
            world=self._ranks.world,
        )
        self._log.meet(self.step_number, self._feed.draw, replicas=replicas, place=place)

    def _hand_over(self) -> dict[str, Any]:
        """What another replica is healed with; torchft asks for it between two updates."""
        return {
            "state": handover.pack(self._state),
            "draw": self._feed.draw,
            "judge": self._log.hand_over(),
        }

    def _take_over(self, given: Mapping[str, Any]) -> None:
        handover.unpack(self._state, given["state"])
        self._feed.seek(given["draw"])
        self._log.take_over(given["judge"])

    def _add_up(self, vector: Tensor) -> None:
        self._ranks.add_up(vector)
        self._manager.allreduce(vector, reduce_op=ReduceOp.SUM).wait()

    def _note(self, number: int, reading: Reading) -> None:
        """Put a complete update on record."""
        now = time.monotonic()
        seconds, self._last_update = now - self._last_update, now
        passed = self._updates.passed(
            self._batches,
            attempt=self._log.attempt,
            step=number,
            draw=self._first_draw,
            end=self._feed.draw,
            seconds=seconds,
        )
        self._log.note(record(passed, reading))

    def _save(self) -> None:
        self._keeping.save(
            self.step_number,
            self._feed.draw,
            attempt=self._log.attempt,
            batches=self._manager.batches_committed(),
        )

    def _restore(self) -> None:
        """Go on from this home's newest checkpoint; if others are further, they heal this one."""
        restored = self._keeping.restore()
        if restored is not None:
            self._feed.seek(restored.draw)
            self._manager.load_state_dict(
                {"step": restored.step, "batches_committed": restored.batches}
            )
        self._log.begin_at(self.step_number, restored.name if restored is not None else None)

    def _leave(self) -> None:
        """Save and end this process: the machine is wanted. The other replicas go on."""
        self._keeping.finish()  # or this checkpoint might be skipped
        if not self._keeping.is_due(self.step_number):
            self._save()
        raise SystemExit(REQUEUE)  # `__exit__` waits for the checkpoint

    def _end(self) -> None:
        self._keeping.finish()
        self._log.end(self.step_number)
        self._has_ended = True

    def _first_line(self) -> RunBegan:
        return RunBegan(
            run=self.home.name,
            recipe=msgspec.to_builtins(self._judge),
            domains=self._feed.domains,
            model=self._state.fingerprint(),
            parameters=self._state.num_parameters,
            world=self._ranks.world,
            draws_per_step=self._feed.draws_per_step(1),
            ramp=self._feed.ramp[1:],
            steps=self.steps,
            layers=gradients.GROUPS,
            can=("SkipUpdate",),
            versions={"python": platform.python_version(), "torch": str(torch.__version__)},
        )


def _refuse_misfits(manager: Manager, model: nn.Module, feed: Feed, ranks: Ranks) -> None:
    """Refuse what would lose samples or mix gradients without a word."""
    if manager._use_async_quorum:
        raise SettingError(
            "use_async_quorum=True lets a replica compute before it knows who takes part, so it "
            "cannot know which sequences are its own. Write Manager(..., use_async_quorum=False)."
        )
    if feed.draws_per_step(1) != feed.batch_size * feed.accumulate(1):
        raise SettingError(
            "the feed was given a world of ranks, but here an update's sequences are shared out "
            "anew whenever replicas come or go. Write Feed(order, batch_size=8, accumulate=4) "
            "without rank= and world=: 32 sequences are an update of the whole run."
        )
    is_joined = any(
        isinstance(one, FSDPModule | DistributedDataParallel) for one in model.modules()
    )
    if ranks.world > 1 and (not is_joined or isinstance(model, ReplicatedDDP)):
        raise SettingError(
            f"the {ranks.world} ranks of this replica would each train a model of their own: "
            "nothing averages their gradients. Write fully_shard(model), or "
            "torch.nn.parallel.DistributedDataParallel(model)."
        )


def _say_on_stderr(words: str) -> None:
    print(f"steadytrain: {words}", file=sys.stderr, flush=True)
