"""The metrics, and the files in deploy/ that name them."""

import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from steadytrain import events as ev
from steadytrain import metrics
from steadytrain.vitals import Vitals
from tests.samples import record
from tests.tell.makers import OPEN, Run, diagnosed, opened

DEPLOY = Path(__file__).parents[1] / "deploy"
SAMPLE = re.compile(r'(\w+)\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\} (\S+)')


@pytest.fixture(autouse=True)
def closed_journals():
    yield
    while OPEN:
        OPEN.pop().close()


def text_of(*homes):
    found = []
    for home in homes:
        one = Vitals(home=home)
        one.refresh()
        found.append(one)
    return metrics.metrics(found)


def samples(text):
    """{(name, labels): value}; every line that is no comment must be a sample."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("# "):
            match = SAMPLE.fullmatch(line)
            assert match, line
            found[match[1], match[2]] = float(match[3])
    return found


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "r1").begin().train(1, 20)


def test_numbers_of_a_run(run):
    run.write(
        opened(), diagnosed(), ev.CheckpointFailed(attempt=1, step=20, reason="x"),
        ev.CheckpointMirrored(attempt=1, step=10, path="p", bytes=1, seconds=1.0),
        ev.MirrorFailed(step=20, reason="x"),
    )  # fmt: skip
    found = samples(text_of(run.home))
    assert found["steadytrain_step", 'run="r"'] == 20
    assert found["steadytrain_domain_loss_nats", 'run="r",domain="zh"'] == 2.0
    assert found["steadytrain_incidents_open", 'run="r"'] == 1
    assert found["steadytrain_incidents_unseen", 'run="r"'] == 1
    assert found["steadytrain_incident_causes_total", 'run="r",cause="bad text"'] == 1
    assert found["steadytrain_checkpoint_failures_total", 'run="r"'] == 1
    assert found["steadytrain_mirror_step", 'run="r"'] == 10
    assert found["steadytrain_mirror_failures_total", 'run="r"'] == 1
    assert found["steadytrain_run_state", 'run="r",state="silent"'] == 1


def test_every_metric_has_its_words_and_its_kind_before_it(run):
    text = text_of(run.home)
    for name in {line.split("{")[0] for line in text.splitlines() if line[0] != "#"}:
        kind, says = metrics.NAMES[name]
        assert f"# HELP {name} {says}\n# TYPE {name} {kind}\n{name}{{" in text
        assert (kind == "counter") == name.endswith("_total")


def test_nan_and_infinity_are_spelled_as_prometheus_does(run):
    run.write(record(21, (math.nan, math.inf, 1.5), loss=math.nan, grad_norm=math.inf))
    found = samples(text_of(run.home))
    assert math.isnan(found["steadytrain_loss_nats", 'run="r"'])
    assert found["steadytrain_grad_norm", 'run="r"'] == math.inf


def test_labels_are_bounded_and_escaped(tmp_path):
    names = tuple(f'd"{at}\\\n' for at in range(100))
    run = Run(tmp_path)
    run.write(
        ev.RunBegan(
            run="r", recipe={}, domains=names, model="m", parameters=1, world=1, draws_per_step=1
        )
    )
    run.write(ev.AttemptBegan(attempt=1, step=0, draw=0, cause="start"))
    run.write(record(1, tuple(2.0 for _ in names)))
    for number in range(200):
        run.write(opened(f"incident-{number}"))
    text = text_of(tmp_path)
    found = samples(text)
    assert sum(name == "steadytrain_domain_loss_nats" for name, _ in found) == 64
    assert "incident-" not in text
    assert "step-" not in text


def test_two_runs_of_one_name_stay_apart(tmp_path, run):
    other = Run(tmp_path / "other").begin().train(1, 3)
    found = samples(text_of(run.home, other.home))
    assert found["steadytrain_step", 'run="r"'] == 20
    assert found["steadytrain_step", 'run="r#2"'] == 3


def named(text):
    return set(re.findall(r"steadytrain_[a-z_]+", text))


@pytest.mark.parametrize("name", ["alerts.yml", "grafana-dashboard.json"])
def test_the_files_of_deploy_name_metrics_that_exist(name):
    found = named((DEPLOY / name).read_text())
    assert found
    assert found <= set(metrics.NAMES)


def test_the_dashboard_shows_every_metric_but_a_few():
    shown = named((DEPLOY / "grafana-dashboard.json").read_text())
    assert len(set(metrics.NAMES) - shown) <= 8


def test_the_dashboard_is_one_that_grafana_reads():
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    assert board["title"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in board["panels"]:
        assert {"type", "title", "gridPos"} <= set(panel)
        for target in panel.get("targets", []):
            assert target["expr"].count("(") == target["expr"].count(")")
            assert target["expr"].count("{") == target["expr"].count("}")


@pytest.mark.parametrize(
    "arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")]
)
def test_promtool_takes_the_rules(arguments):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    done = subprocess.run(
        ["promtool", *arguments], cwd=DEPLOY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_metrics(run):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text_of(run.home), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
