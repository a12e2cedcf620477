"""`Watch` in a loop of one's own: findings with names, safe to interrupt, honest about rollbacks."""

import json
import math
import random
import subprocess
import sys

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


def test_a_loss_that_is_somewhat_off_counts_with_its_gradient_norm():
    findings = {}
    for norm in (None, 5.0):
        loop = Loop()
        loop.train(300)
        found = loop.train(1, rise=0.045, **({"grad_norm": norm} if norm else {}))
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
