"""The one object a user holds: it composes tap, gate, judge and hands around a training loop.

with Session(model, optimizer, feed, home="runs/r1", steps=1000) as run:
    for batch in run:                        # a rollback rewinds this iterator
        logits_BTV = model(batch.tokens_BT)
        run.backward(logits_BTV, batch)
        run.step()
"""

import contextlib
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import msgspec
import torch
from torch import Tensor, nn

from steadytrain import recipes
from steadytrain.deaths import REQUEUE
from steadytrain.events import (
    Event,
    OptimizerSettings,
    RunBegan,
    RunEnded,
)
from steadytrain.judge.judge import Judge
from steadytrain.panels.overlap import Overlap
from steadytrain.progress import Beacon
from steadytrain.provenance import Ledger
from steadytrain.train import gradients
from steadytrain.train.abilities import can
from steadytrain.train.attention import AttentionProbe
from steadytrain.train.beginnings import BranchFrom, begin_life
from steadytrain.train.deeds import Deeds, due_step
from steadytrain.train.desk import Desk
from steadytrain.train.examiner import Examiner
from steadytrain.train.feed import Batch, Feed
from steadytrain.train.gate import Gate
from steadytrain.train.hands import Dials, Settings
from steadytrain.train.looks import Looks
from steadytrain.train.losses import (
    ZLoss,
    add_z_loss,
    batch_sums,
    largest_logits,
    mean_loss,
    token_losses,
    z_losses,
)
from steadytrain.train.memory import Memory, Order
from steadytrain.train.mirror import Mirror
from steadytrain.train.pacing import mark_own_work
from steadytrain.train.panel import Panel
from steadytrain.train.proofreader import Proofreader, Reading, count_corrupt, count_leaked
from steadytrain.train.qkclip import QKClip
from steadytrain.train.ranks import Ranks
from steadytrain.train.recorder import Flight
from steadytrain.train.records import Pass, flight, record
from steadytrain.train.refusals import refuse_nonsense
from steadytrain.train.replicas import Replicas
from steadytrain.train.reruns import Dial, Reruns
from steadytrain.train.restores import Restores
from steadytrain.train.schedule import Schedule
from steadytrain.train.stands import Stands
from steadytrain.train.state import TrainingState
from steadytrain.train.tap import Tap, UpdateProbe
from steadytrain.train.trajectory import Trajectory
from steadytrain.train.trials import Trials
from steadytrain.train.update import Update

MOST_MAXIMA = 256
"""Ranks whose own largest attention logit is told: 2 KB of the one vector of a step."""


class Session:
    """Guards a training loop: watches every update, carries out what the judge decides.

    Args:
        model: the module to train; DDP- or FSDP-wrapped with several ranks.
        optimizer: its optimizer; fused AdamW lets the gate work without waiting for a GPU.
        feed: the data order.
        home: folder of the run; a home that holds this run already is resumed.
        steps: updates of the whole run.
        judge: what decides; `recipes.pretrain()` if None.
        schedule: learning rate; None leaves it to the user's own.
        panel: fixed sequences whose perplexity is followed; looked at before the first update,
            after the last, and between them as `panel_every` says.
        clip: global gradient norm limit, None for none. [L2]
        z_loss: coefficient of the z-loss.
        snapshot_every, snapshots: steps between states kept in memory, and how many.
        checkpoint_every, keep: steps between checkpoints on disk, and how many.
        panel_every: steps between looks at the panel; None: as the judge asks for them.
        mirror: URL of an object store, as s3://bucket/run, that gets a copy of each checkpoint and
            of the journal; a home without a usable checkpoint goes on from there.
        compare_every: steps between comparisons of the ranks' replicas to the bit; None: never.
        branch_from: home of another run, or (home, step), to begin from its newest healthy
            checkpoint (at or before the step) while it goes on; steps are counted on from there.
        order_from: "module:function" that gives the data order again when it is called with the
            home, so that `steadytrain show` can print the text of any step.
        provenance: keep 32 bytes for every sequence, in HOME/provenance.
        read_texts: lint the text of every sequence before its update; `order.text` must be quick.
        watch_attention: follow the largest attention logit, where it can be heard; 0.5 % of a step.
        say: is told each event in one line, on rank 0; written to standard error if None.
        fence: an error inside the judge ends judging, not training. Off in tests.

    Raises:
        SettingError: settings that make no sense together.
        CheckpointError: the home holds another run.
        JournalError: the home cannot be written.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        feed: Feed,
        *,
        home: str | Path | None = None,
        steps: int,
        judge: Judge | None = None,
        schedule: Schedule | None = None,
        panel: Panel | None = None,
        ranks: Ranks | None = None,
        clip: float | None = 1.0,
        z_loss: float = 0.0,
        snapshot_every: int = 10,
        snapshots: int = 8,
        checkpoint_every: int = 100,
        keep: int = 3,
        panel_every: int | None = None,
        mirror: str | None = None,
        compare_every: int | None = 10,
        branch_from: BranchFrom | None = None,
        order_from: str | None = None,
        provenance: bool = True,
        read_texts: bool = True,
        watch_attention: bool = True,
        say: Callable[[str], None] | None = None,
        fence: bool = True,
    ) -> None:
        refuse_nonsense(
            steps=steps,
            every={
                "snapshot_every": snapshot_every,
                "snapshots": snapshots,
                "checkpoint_every": checkpoint_every,
                "keep": keep,
                "panel_every": 1 if panel_every is None else panel_every,
                "compare_every": 1 if compare_every is None else compare_every,
            },
            clip=clip,
            z_loss=z_loss,
        )
        self.home = Path(home or os.environ.get("STEADYTRAIN_HOME") or "runs/run")
        self.steps = steps
        self._model = model
        self._optimizer = optimizer
        self._feed = feed
        self._judge = judge or recipes.pretrain()
        self._panel = panel.fitted(feed.order, model) if panel is not None else None
        self._ranks = (ranks or Ranks()).reading(*feed.part)
        self._panel_every = panel_every
        self._checkpoint_every = checkpoint_every
        self._say = say or _say_on_stderr
        self._fence = fence
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._device = self._parameters[0].device
        self._dials = Dials(optimizer, schedule, z_loss=z_loss)
        self._gate = Gate(optimizer, self._device)
        self._attention = AttentionProbe(model) if watch_attention else None
        qk_clip = (
            None
            if self._attention is None
            else QKClip(self._attention, self._ranks, say=lambda words: self._say(words))
        )
        self._making = Update(model, optimizer, self._gate, clip=clip, attention=qk_clip)
        self._training_state = TrainingState(model, optimizer, extras=self._making.learned)
        self._restores = Restores(
            model, optimizer, self._training_state, feed, self._dials, self._ranks,
            orders=lambda: self._deeds.orders, apart_after=lambda: self._replicas.apart_after,
        )  # fmt: skip
        self._mirror = Mirror(mirror, self.home, keep=keep) if mirror is not None else None
        self._trajectory = Trajectory(
            self.home,
            self._training_state,
            feed,
            self._ranks,
            snapshot_every=snapshot_every,
            snapshots=snapshots,
            checkpoint_every=checkpoint_every,
            keep=keep,
            restores=self._restores,
            mirror=self._mirror,
        )
        self._replicas = Replicas(model, self._training_state, self._ranks, every=compare_every)
        self._tap = Tap(
            domains=len(feed.domains), device=self._device, world=self._ranks.world,
            maxima=min(self._ranks.world, MOST_MAXIMA) if watch_attention else 0,
            counts=self._ranks.counts,
        )  # fmt: skip
        self._probe = UpdateProbe(self._parameters)
        overlap = Overlap(self._panel.fixed) if self._panel and read_texts else None
        self._knows_panel = overlap is not None
        proofreader = Proofreader(feed.order, overlap)
        self._proofreader = proofreader if read_texts else None
        self._order_from = order_from
        self._branch_from = branch_from
        self._keeps_provenance = provenance
        self._ledger: Ledger | None = None
        self._desk: Desk | None = None
        self._micro_batches: list[Batch] = []
        self._draws: tuple[int, ...] = ()
        self._first_draw = 0
        self._passed: Pass | None = None
        self._called: list[Order] = []
        self._optimizer_settings: dict[str, float] = {}
        self._is_rewound = False
        self._has_ended = False
        self._last_update = time.monotonic()
        self._beacon = Beacon(
            self.home, self._ranks.rank, int(os.environ.get("STEADYTRAIN_GENERATION", "0"))
        )
        mark_own_work(model, self._beacon)
        self._reruns = Reruns(
            model, self._training_state, optimizer, feed, self._making, dial=self._dial
        )
        examiner = Examiner(
            home=self.home,
            model=model,
            state=self._training_state,
            optimizer=optimizer,
            feed=feed,
            recorder=self._trajectory.recorder,
            snapshots=self._trajectory.snapshots,
            reruns=self._reruns,
            replicas=self._replicas,
            proofreader=proofreader,
            ranks=self._ranks,
            clip=clip,
            settings=lambda step: self._deeds.orders.at(step),
            clippable=self._making.clippable,
        )
        self._looks = Looks(
            self._panel,
            overlap=overlap,
            home=self.home,
            trajectory=self._trajectory,
            model=model,
            ranks=self._ranks,
            device=self._device,
            beacon=self._beacon,
            say=lambda words: self._say(words),
        )
        self._deeds = Deeds(
            self._trajectory,
            feed=feed,
            examiner=examiner,
            looks=self._looks,
            trials=Trials(
                reruns=self._reruns,
                feed=feed,
                recorder=self._trajectory.recorder,
                snapshots=self._trajectory.snapshots,
                ranks=self._ranks,
                dial=self._set_dials,
                release=self._dials.release,
                loss=examiner.loss,
            ),
            ranks=self._ranks,
            beacon=self._beacon,
            drop_update=self._drop_update,
        )

    def __enter__(self) -> "Session":
        self._beacon.beat("restore")
        if self._mirror is not None:
            self._mirror.fetch_record_together(self._ranks, say=self._say)
        if self._ranks.rank == 0:
            self._trajectory.memory = Memory(
                self.home,
                self._judge,
                self._first_line(),
                say=self._say,
                fence=self._fence,
                rebase=self._panel.rebase if self._panel else None,
            )
            self._desk = Desk(
                self.home,
                self._trajectory.memory,
                oldest=self._trajectory.oldest_state,
                say=self._say,
            )
        if self._keeps_provenance and self._ranks.counts:
            self._ledger = Ledger(self.home, self._ranks.rank)
        self._stands = Stands(self.home, self._ranks.rank)
        with contextlib.ExitStack() as undo:
            undo.callback(self._close)
            if self._mirror is not None and self._memory is not None:
                self._mirror.claim()
            self._has_ended = begin_life(
                self._trajectory, self._deeds, self._feed, self._ranks,
                steps=self.steps, branch_from=self._branch_from,
            )  # fmt: skip
            self._reruns.warm_up(self.step_number)
            if self._proofreader is not None and self._knows_panel and not self._has_ended:
                self._proofreader.prepare()  # so that it is known what of the panel can be found
            self._looks.begin()
            undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._trajectory.finish_saving()
        self._trajectory.finish_mirroring()
        self._beacon.beat("finished")
        self._close()

    def _close(self) -> None:
        if self._memory is not None:
            self._memory.close()
        if self._ledger is not None:
            self._ledger.close()
        self._trajectory.close(has_ended=self._has_ended)
        self._stands.close()
        self._beacon.close()

    @property
    def step_number(self) -> int:
        """Updates made so far on the present branch."""
        return self._trajectory.step

    @property
    def attempt(self) -> int:
        """Number of the present life: a start, a restart or a rollback begins one."""
        return self._trajectory.attempt

    def __iter__(self) -> Iterator[Batch]:
        """Micro-batches until the last step; rewinds by itself after a rollback."""
        if not self._has_ended:
            self._looks.look_first()
        while not self._has_ended:
            if self.step_number >= self.steps:
                if not self._settle():
                    self._end()
                continue
            if self._beacon.is_to_leave(self.step_number):
                self._leave()
            self._is_rewound = False
            self._beacon.beat("data", self.step_number)
            self._first_draw = self._feed.draw
            self._draws = self._feed.step_draws(self.step_number + 1)
            self._micro_batches = []
            self._restores.mark()
            self._making.prepare(self._deeds.orders.at(self.step_number + 1))
            for batch in self._feed.micro_batches(self._draws):
                self._micro_batches.append(batch)
                self._beacon.beat("forward", self.step_number)
                yield batch
                if self._is_rewound:
                    break

    def _leave(self) -> None:
        """Save and end this process: the machine is wanted. Every rank, after the same step."""
        self._hear()
        self._trajectory.save_now()
        raise SystemExit(REQUEUE)

    def backward(self, logits_BTV: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy and z-loss of a micro-batch, their sums, and the gradients.

        Returns the micro-batch's mean cross-entropy, detached, on the device. [nats/token]
        """
        self._looks.note_type(logits_BTV.dtype)
        nll_BT, lse_BT = token_losses(logits_BTV, batch.targets_BT)
        largest_BT = largest_logits(logits_BTV) if self._z_loss().largest else None
        return self.backward_losses(nll_BT, batch, z_BT=z_losses(lse_BT), largest_BT=largest_BT)

    def backward_losses(
        self,
        nll_BT: Tensor,
        batch: Batch,
        *,
        z_BT: Tensor | None = None,
        largest_BT: Tensor | None = None,
    ) -> Tensor:
        """The same for a loss that the user computed, such as a fused kernel's.

        Args:
            nll_BT: cross-entropy of each token without z-loss. [nats]
            z_BT: logsumexp^2 of each token; without it no z-loss can be added.
            largest_BT: largest logit of each token; without it no z-loss of form "max" can be.
        """
        self._beacon.beat("backward")
        mean = mean_loss(nll_BT, batch.counted_BT)
        objective = add_z_loss(
            mean, batch.counted_BT, self._z_loss(), z_BT=z_BT, largest_BT=largest_BT
        )
        accumulate = self._feed.accumulate(self.step_number + 1)
        (objective / accumulate).backward()  # type: ignore[no-untyped-call]
        self._tap.add(*batch_sums(nll_BT, batch, z_BT=z_BT, domains=len(self._feed.domains)))
        return mean.detach()

    def step(self) -> None:
        """One update: hear of the last one, obey, gate, optimize, record.

        With gradient accumulation only the call after the last micro-batch makes an update. Every
        rank, every step, same order.
        """
        number = self.step_number + 1
        if len(self._micro_batches) < self._feed.accumulate(number):
            return
        self._beacon.beat("step", self.step_number)
        self._hear()
        if self._desk is not None:
            self._desk.attend()
        self._deeds.obey(number, draws=self._draws, first_draw=self._first_draw)
        if self._is_rewound:
            return
        self._update(number)
        self._trajectory.step = number
        is_last = number == self.steps
        takes_checkpoint = is_last or number % self._checkpoint_every == 0
        self._beacon.beat("checkpoint" if takes_checkpoint else "snapshot", number)
        self._trajectory.keep(is_last=is_last)
        if is_last or (self._panel_every is not None and number % self._panel_every == 0):
            self._hear()
            self._looks.look(number, why="last" if is_last else "schedule")
        self._beacon.beat("loop", number)

    def _update(self, number: int) -> None:
        """The step's path: nothing here waits for the device."""
        settings = self._deeds.orders.at(number)
        planned = self._dials.set(number, settings)
        limits = self._memory.limits(number) if self._memory else None
        self._called = self._memory.take_orders() if self._memory else []
        readings = self._read_texts()
        digests = tuple(one for batch in self._micro_batches for one in batch.digests)
        if self._attention is not None:
            self._tap.hear(self._ranks.rank, self._attention.largest(self._device))
        if self._replicas.is_due(number, self.attempt):
            self._tap.compare(self._ranks.rank, self._replicas.digests())
        vector = self._tap.call(
            corrupt=count_corrupt(readings, len(self._feed.domains)),
            leaked=count_leaked(readings, len(self._feed.domains)),
            repeated=self._trajectory.recorder.count_repeats(number, digests),
            orders=len(self._called),
            loss_limit=_to_add_up(limits.loss if limits else None, self._ranks),
            grad_limit=_to_add_up(limits.grad_norm if limits else None, self._ranks),
        )
        self._ranks.add_up(vector)
        loss_limit, grad_limit = self._tap.limits()
        norms = self._making.measure(settings)
        commit = self._gate.decide(
            self._tap.loss(), norms.total, loss_limit=loss_limit, grad_limit=grad_limit
        )
        self._restores.rehearse(self._feed.share(self._draws))
        self._probe.mark()
        self._making.land(norms, settings, commit)
        self._note_optimizer(number, settings)
        update = self._probe.measure()
        self._making.finish(settings, commit)
        self._optimizer.zero_grad(set_to_none=True)
        self._tap.push(
            number,
            grad_norm=norms.total,
            layer_norms_G=norms.group_G,
            update=update,
            commit=commit,
        )
        now = time.monotonic()
        seconds, self._last_update = now - self._last_update, now
        self._passed = Pass(
            attempt=self.attempt,
            step=number,
            draw=self._first_draw,
            draw_end=self._feed.draw,
            draws=tuple(draw for batch in self._micro_batches for draw in batch.draws),
            domains=tuple(one for batch in self._micro_batches for one in batch.domains),
            digests=digests,
            defects=tuple(one.mark for one in readings),
            knows_panel=self._knows_panel,
            lr=self._dials.release(),
            lr_planned=planned,
            z_loss=self._dials.z_loss(settings).logsumexp,
            seconds=seconds,
        )

    def _z_loss(self) -> ZLoss:
        """Coefficients of the update under way."""
        return self._dials.z_loss(self._deeds.orders.at(self.step_number + 1))

    def _read_texts(self) -> tuple[Reading, ...]:
        """What is wrong with this rank's sequences; on a GPU, read while the device computes."""
        if self._proofreader is None or not self._ranks.counts:
            return ()
        draws = [draw for batch in self._micro_batches for draw in batch.draws]
        return self._proofreader.read(draws)

    def _note_optimizer(self, number: int, settings: Settings) -> None:
        """Tell what the optimizer used, if that is news."""
        used = self._dials.used(settings)
        if used != self._optimizer_settings:
            self._optimizer_settings = used
            self._tell(OptimizerSettings(attempt=self.attempt, step=number, settings=used))

    def _hear(self) -> None:
        """Read the last update's numbers, judge them, and learn on all ranks what was decided."""
        self._trajectory.note_checkpoints()
        if not self._tap.waits:
            return
        assert self._passed is not None
        reading = self._tap.read()
        flown = flight(self._passed, reading)
        self._keep_provenance(self._passed.attempt, flown)
        if reading.called:
            self._deeds.hear(self._called)
        if reading.digests is not None:
            self._tell(
                self._replicas.compared(reading.digests, self._passed.attempt, flown.step - 1)
            )
        self._trajectory.note_update(flown, record(self._passed, reading))

    def _keep_provenance(self, attempt: int, flown: Flight) -> None:
        if self._ledger is None:
            return
        try:
            self._ledger.add(
                attempt=attempt, step=flown.step, committed=flown.committed, draws=flown.draws,
                domains=flown.domains, losses=flown.losses, digests=flown.digests,
                defects=flown.defects,
            )  # fmt: skip
        except OSError as error:
            self._ledger.close()
            self._ledger = None
            self._say(
                f"step {flown.step}: which sequences were in which step cannot be kept any more "
                f"({error.strerror}); training goes on. Free some space and start again to keep it."
            )

    def _dial(self, step: int, lr: float) -> Dial:
        """Set the optimizer as it was at a step, with the learning rate that was used."""
        dial = self._set_dials(step, self._deeds.orders.at(step))
        planned = self._dials.planned
        for group in self._optimizer.param_groups:
            group["lr"] *= lr / planned if planned else 1.0
        return dial

    def _set_dials(self, step: int, settings: Settings) -> Dial:
        """Set the optimizer as its plan and these settings ask for a step."""
        self._dials.set(step, settings)
        return Dial(settings=settings, z_loss=self._dials.z_loss(settings))

    def _drop_update(self) -> None:
        """Throw the update under way out; the iterator draws it again."""
        self._optimizer.zero_grad(set_to_none=True)
        self._tap.begin()
        self._making.drop()
        self._restores.put_back()
        self._is_rewound = True

    def _settle(self) -> bool:
        """After the last step: hear of it and obey; True if that led back into training."""
        self._micro_batches = []
        self._hear()
        self._replicas.compare(self.attempt, self.step_number, tell=self._tell)
        self._looks.look(self.step_number, why="last")  # a life that begins here has not looked
        if self._desk is not None:
            self._desk.read()
        while True:
            self._deeds.hear(self._memory.take_orders() if self._memory else [])
            if not self._deeds.pending:
                return False
            self._is_rewound = False
            last = max(map(due_step, self._deeds.pending))
            self._deeds.obey(last, draws=(), first_draw=self._first_draw)
            if self._is_rewound:
                return True

    def _end(self) -> None:
        self._trajectory.finish_saving()
        self._tell(RunEnded(attempt=self.attempt, step=self.step_number))
        if self._desk is not None:
            self._desk.close()
        self._has_ended = True

    def _first_line(self) -> RunBegan:
        return RunBegan(
            run=self.home.name,
            recipe=msgspec.to_builtins(self._judge),
            domains=self._feed.domains,
            model=self._training_state.fingerprint(),
            parameters=self._training_state.num_parameters,
            world=self._ranks.world,
            draws_per_step=self._feed.draws_per_step(1),
            ramp=self._feed.ramp[1:],
            steps=self.steps,
            panel=self._panel.digest if self._panel else None,
            panel_every=self._panel_every,
            layers=gradients.GROUPS,
            order=self._order_from,
            copies=self._replicas.copies,
            can=can(
                self._optimizer,
                self._model,
                refused=self._making.refused(),
                world=self._ranks.world,
                has_schedule=self._dials.has_schedule,
            ),
            versions={"python": platform.python_version(), "torch": str(torch.__version__)},
        )

    @property
    def _memory(self) -> Memory | None:
        return self._trajectory.memory

    def _tell(self, event: Event) -> None:
        if self._memory is not None:
            self._memory.tell(event)


def _say_on_stderr(words: str) -> None:
    print(f"steadytrain: {words}", file=sys.stderr, flush=True)


def _to_add_up(limit: float | None, ranks: Ranks) -> float:
    """A limit as rank 0's share of a sum; the others add nothing."""
    if ranks.rank != 0:
        return 0.0
    return math.inf if limit is None else limit
