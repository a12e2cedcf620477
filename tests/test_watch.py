"""`Watch` in a loop of one's own: findings with names, safe to interrupt, honest about rollbacks."""

import json
import math
import random
import subprocess
import sys

import numpy as np
import pytest

from steadytrain import Watch
from steadytrain.errors import SettingError


class Loop:
    """A made-up run: a falling loss, a quiet gradient norm, two domains."""

    def __init__(self, **settings):
        self.watch = Watch(**settings)
        self.chance = random.Random(5)
        self.step = 0
        self.told = []

    def train(self, count, rise=0.0, **fields):
        found = []
        for _ in range(count):
            self.step += 1
            loss = 2.0 + 0.5 * math.exp(-self.step / 80) + self.chance.gauss(0, 0.01) + rise
            norm = math.exp(self.chance.gauss(0, 0.1))
            given = {"loss": loss, "grad_norm": norm} | fields
            found += self.watch.update(self.step, **given)
        self.told += found
        return found


@pytest.fixture
def loop():
    fixture = Loop()
    assert fixture.train(300) == []
    return fixture


def test_a_finding_says_what_where_and_how_far(loop):
    (finding,) = loop.train(1, rise=0.4)
    assert (finding.kind, finding.change, finding.signal) == ("outlier batch", "began", "loss")
    assert finding.step == finding.onset == 301
    assert finding.value == pytest.approx(2.4, abs=0.1)
    assert finding.expected == pytest.approx(2.0, abs=0.05)
    assert finding.score > 20


def test_one_odd_batch_keeps_its_name_and_recovers(loop):
    loop.train(1, rise=0.4)
    (ended,) = loop.train(40)
    assert (ended.kind, ended.change, ended.end) == ("outlier batch", "ended", "recovered")


def test_a_second_odd_point_makes_it_a_spike(loop):
    loop.train(1, rise=0.3)
    (renamed,) = loop.train(1, rise=0.5)
    assert (renamed.kind, renamed.change, renamed.onset) == ("spike", "renamed", 301)
    assert loop.train(40)[-1].end == "recovered"


def test_a_lasting_rise_becomes_a_level_shift(loop):
    found = loop.train(60, rise=1.0)
    assert [one.kind for one in found if one.change != "ended"] == [
        "outlier batch", "spike", "level shift",
    ]  # fmt: skip
    assert found[-1].end == "new level"
    assert loop.train(100, rise=1.0) == []


def test_a_drop_and_a_nan_have_their_names(loop):
    assert loop.train(1, rise=-0.5)[0].kind == "drop"
    loop.train(40)
    assert loop.train(1, loss=math.nan)[0].kind == "not finite"


def test_a_creep_is_a_slow_divergence(loop):
    found = []
    for at in range(1500):
        found += loop.train(1, rise=0.02 * at / 200)
    assert found[0].kind == "slow divergence"
    assert found[0].onset < found[0].step - 6


def test_a_gradient_norm_alone_must_be_very_far(loop):
    assert loop.train(1, grad_norm=3.0) == []
    assert loop.train(1, grad_norm=30.0)[0].signal == "grad norm"


def test_a_domain_without_tokens_is_heard_when_two_steps_of_it_are_odd():
    loop = Loop()
    loop.train(300, domains={"zh": 3.0})
    assert loop.train(1, domains={"zh": 6.0}) == []
    loop.train(40, domains={"zh": 3.0})
    assert loop.train(1, domains={"zh": 6.0}) == []
    (finding,) = loop.train(1, domains={"zh": 6.0})
    assert (finding.signal, finding.kind) == ("loss:zh", "outlier batch")


def test_a_run_that_slows_down_to_a_quarter_is_stalled_but_one_slow_step_is_not():
    loop = Loop()
    loop.train(300, tokens_per_second=4e5)
    assert loop.train(1, tokens_per_second=5e4) == []
    loop.train(40, tokens_per_second=4e5)
    found = loop.train(60, tokens_per_second=1e5)
    assert [(one.kind, one.change, one.end) for one in found] == [
        ("stalled", "began", ""),
        ("stalled", "ended", "new level"),
    ]
    assert found[0].step == 343
    assert loop.train(60, tokens_per_second=4e5) == []


def test_a_loss_that_is_somewhat_off_counts_with_its_gradient_norm():
    findings = {}
    for norm in (None, 5.0):
        loop = Loop()
        loop.train(300)
        found = loop.train(1, rise=0.05, **({"grad_norm": norm} if norm else {}))
        findings[norm] = [one.signal for one in found]
    assert findings == {None: [], 5.0: ["loss"]}


def test_a_change_of_mixture_is_not_a_change_of_the_loss():
    watch, chance, found = Watch(), random.Random(0), []
    for step in range(600):
        zh, code = 4.0 + chance.gauss(0, 0.02), 1.5 + chance.gauss(0, 0.02)
        share = 500 if step < 300 else 900
        loss = (zh * share + code * (1000 - share)) / 1000
        domains = {"zh": (zh, share), "code": (code, 1000 - share)}
        found += watch.update(step, loss, domains=domains)
    assert found == []


def test_a_domain_is_named_and_inner_domains_are_watched_as_well():
    watch, chance, found = Watch(), random.Random(0), []
    for step in range(300):
        bad = 1.0 if step == 250 else 0.0
        domains = {
            "zh/web": (3.0 + bad + chance.gauss(0, 0.02), 500),
            "zh/books": (2.5 + chance.gauss(0, 0.02), 500),
        }
        found += watch.update(step, None, domains=domains)
    assert {one.signal for one in found if one.change == "began"} == {"loss:zh/web", "loss:zh"}


def test_going_back_undoes_what_was_learned_and_what_was_open(loop):
    loop.train(3, rise=2.0)
    loop.step = 290
    (gone,) = loop.train(1)
    assert (gone.change, gone.end) == ("ended", "rolled back")
    assert loop.train(60) == []


def test_a_watch_can_be_stopped_and_taken_up_anywhere():
    whole, first = Loop(), Loop()
    for one in (whole, first):
        one.train(250)
        one.train(2, rise=0.4)
    state = json.loads(json.dumps(first.watch.state_dict()))
    first.watch = Watch()
    first.watch.load_state_dict(state)
    for one in (whole, first):
        one.train(200)
        one.train(1, rise=0.4)
    assert first.told == whole.told
    assert len(whole.told) >= 3


def test_a_foreign_state_is_refused():
    with pytest.raises(SettingError, match="not the state of a Watch"):
        Watch().load_state_dict({"version": 7})
    with pytest.raises(SettingError, match="not the state of a Watch"):
        Watch().load_state_dict({"running": []})


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(SettingError, match="one false alarm may cost"):
        Watch(steps_per_false_alarm=0)
    with pytest.raises(SettingError, match="at least 16"):
        Watch(burn_in=3)


def test_watching_needs_no_torch():
    code = (
        "import sys, steadytrain; steadytrain.Watch().update(1, 2.0); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def drawn(seed, count=3000):
    """Columns of a run with gaps, NaN, bursts, thin steps and domains that come and go."""
    chance = np.random.default_rng(seed)
    curve = 2.0 + np.exp(-np.arange(count) / 200)
    columns = {
        "loss:zh/web": curve + chance.standard_t(4, count) * 0.02,
        "loss:zh/books": curve * 0.8 + chance.normal(0, 0.02, count),
        "loss:code": curve * 0.5 + chance.normal(0, 0.01, count),
    }
    columns["grad_norm"] = np.exp(chance.normal(0, 0.1, count))
    columns["update"] = 1e-3 * np.exp(chance.normal(0, 0.1, count))
    columns["lr"] = np.full(count, 3e-4)
    columns["logsumexp"] = chance.normal(10, 0.1, count)
    columns["tokens_per_second"] = 1e5 * np.exp(chance.normal(0, 0.02, count))
    for at in chance.integers(1200, count, 6).tolist():
        columns["loss:zh/web"][at : at + 3] += 0.5
        columns["grad_norm"][at] *= 6
        columns["loss:code"][at] += 0.045
    columns["loss:code"][2600:] += 0.5
    columns["grad_norm"][2000] = math.nan
    columns["loss:zh/books"][1800] = math.inf
    masked = {name: np.ma.MaskedArray(one, mask=False) for name, one in columns.items()}
    masked["grad_norm"][chance.random(count) < 0.01] = np.ma.masked
    for name in ("zh/web", "zh/books", "code"):
        tokens = chance.integers(20, 200, count).astype(float)
        masked[f"tokens:{name}"] = np.ma.MaskedArray(tokens, mask=chance.random(count) < 0.02)
        masked[f"loss:{name}"].mask = masked[f"tokens:{name}"].mask
    shown = [name for name in masked if name.startswith("loss:")]
    total = np.ma.sum([masked[n] * masked[f"tokens:{n[5:]}"] for n in shown], axis=0)
    weight = np.ma.sum([masked[f"tokens:{n[5:]}"] for n in shown], axis=0)
    masked["loss"] = np.ma.MaskedArray(np.ma.filled(total / weight, math.nan), mask=False)
    return masked


def one_by_one(watch, steps, columns):
    found = []
    lists = {name: one.tolist() for name, one in columns.items()}
    plain = [name for name in lists if ":" not in name]
    domains = [name[5:] for name in lists if name.startswith("loss:")]
    for row, step in enumerate(steps.tolist()):
        losses = {}
        for name in domains:
            loss, tokens = lists[f"loss:{name}"][row], lists.get(f"tokens:{name}", {row: None})[row]
            if loss is not None:
                losses[name] = loss if tokens is None else (loss, tokens)
        found += watch.update(step, domains=losses, **{name: lists[name][row] for name in plain})
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("with_tokens", [True, False])
def test_whole_arrays_give_the_same_findings_and_the_same_state(seed, with_tokens):
    columns = drawn(seed)
    if not with_tokens:
        columns = {name: one for name, one in columns.items() if not name.startswith("tokens:")}
    steps = np.concatenate([np.arange(1, 2301), np.arange(2200, 2900)])
    slow, quick = Watch(), Watch()
    wanted = one_by_one(slow, steps, columns)
    assert len(wanted) > 10
    for part in np.array_split(np.arange(len(steps)), 3):
        rows = slice(int(part[0]), int(part[-1]) + 1)
        found = quick.update_many(steps[rows], {name: one[rows] for name, one in columns.items()})
        expected, wanted = wanted[: len(found)], wanted[len(found) :]
        assert list(map(repr, found)) == list(map(repr, expected))
    assert wanted == []
    assert repr(quick.state_dict()) == repr(slow.state_dict())
