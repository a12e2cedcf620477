"""A log is read, watched and told: what, when, how large, how long, which domain, why."""

import csv
import json
import math
import random

import numpy as np
import pytest

from steadytrain import cli
from steadytrain.analysis import analyze
from steadytrain.board.summary import summarize
from steadytrain.board.zoom import write_zoom
from steadytrain.readers.discovery import discover


def rows(count=600, seed=0, **events):
    """A calm run of two domains; events: name -> (step, what is added to it)."""
    chance = random.Random(seed)
    made = []
    for step in range(1, count + 1):
        zh, code = 3.0 + chance.gauss(0, 0.02), 1.5 + chance.gauss(0, 0.02)
        row = {"step": step, "grad_norm": math.exp(chance.gauss(0, 0.1)), "lr": 3e-4,
               "loss/zh": zh, "loss/code": code}  # fmt: skip
        for name, (at, rise) in events.items():
            if step in at:
                row[name.replace("__", "/")] += rise
        row["loss"] = 0.5 * (row["loss/zh"] + row["loss/code"])
        made.append(row)
    return made


def write(path, made):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        book = csv.DictWriter(file, fieldnames=list(made[0]))
        book.writeheader()
        book.writerows(made)
    return path


def analyzed(path, **settings):
    (run,) = discover([str(path)]).runs
    return analyze(run, **settings)


def test_a_spike_in_one_domain_is_told_with_its_domain(tmp_path):
    path = write(tmp_path / "log.csv", rows(loss__zh=(range(400, 403), 1.0)))
    (trouble,) = analyzed(path).troubles
    assert (trouble.kind, trouble.domains) == ("spike", ("zh",))
    assert (trouble.onset, trouble.last, trouble.end) == (400, 402, "recovered")
    assert trouble.value == pytest.approx(2.75, abs=0.05)
    assert trouble.expected == pytest.approx(2.25, abs=0.05)
    assert "only zh of 2 domains" in trouble.hints[0].evidence_for[0]


def test_a_jump_of_the_learning_rate_is_named(tmp_path):
    made = rows(loss__zh=(range(400, 420), 2.0), loss__code=(range(400, 420), 2.0))
    for row in made[398:420]:
        row["lr"] = 3e-3
    (trouble,) = analyzed(write(tmp_path / "log.csv", made)).troubles
    assert trouble.hints[0].cause == "learning rate"
    assert "x10" in trouble.hints[0].evidence_for[0]


def test_a_nan_is_told_as_such(tmp_path):
    (trouble,) = analyzed(
        write(tmp_path / "log.csv", rows(loss__zh=(range(400, 401), math.nan)))
    ).troubles
    assert trouble.kind == "not finite"
    assert trouble.hints[0].cause == "numeric overflow"


def test_what_came_before_a_rollback_is_not_hidden_by_what_came_after(tmp_path):
    made = rows(loss__zh=(range(400, 403), 1.0))
    again = [row for row in rows(seed=1) if row["step"] > 380]
    path = write(tmp_path / "log.csv", made[:402] + again)
    analysis = analyzed(path)
    assert [one.end for one in analysis.troubles] == ["rolled back"]
    assert analysis.troubles[0].onset == 400


def test_a_calm_run_has_no_troubles_and_says_so(tmp_path):
    analysis = analyzed(write(tmp_path / "log.csv", rows(2000)))
    assert analysis.troubles == ()
    assert "nothing found" in summarize(analysis)


def test_the_summary_says_what_when_how_large_how_long_and_what_to_look_at(tmp_path):
    text = summarize(analyzed(write(tmp_path / "log.csv", rows(loss__zh=(range(400, 403), 1.0)))))
    for part in ("step 400: spike in loss (zh)", "sigma", "3 rows", "recovered", "maybe bad text",
                 "look at the sequences of zh"):  # fmt: skip
        assert part in text


def test_the_exit_status_says_whether_something_was_found(tmp_path, capsys):
    calm = write(tmp_path / "calm.csv", rows())
    bad = write(tmp_path / "bad.csv", rows(loss__zh=(range(400, 403), 1.0)))
    assert cli.main(["analyze", str(calm)]) == 0
    assert cli.main(["analyze", str(bad), "--json"]) == 1
    plain = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert plain["troubles"][0]["onset"] == 400
    assert cli.main(["analyze", str(tmp_path / "nothing.csv")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_series_with_other_names_are_taken_as_told(tmp_path, capsys):
    made = [{"step": row["step"], "objective": row["loss"]} for row in rows()]
    path = write(tmp_path / "log.csv", made)
    assert cli.main(["analyze", str(path)]) == 2
    assert "--tag loss=NAME" in capsys.readouterr().err
    assert cli.main(["analyze", str(path), "--tag", "loss=objective"]) == 0
    assert cli.main(["analyze", str(path), "--tag", "objective"]) == 2
    assert "--tag loss=my_loss" in capsys.readouterr().err


def test_several_runs_in_one_folder_are_told_apart(tmp_path, capsys):
    write(tmp_path / "runs" / "a" / "metrics.csv", rows())
    write(tmp_path / "runs" / "b" / "metrics.csv", rows(seed=1, loss__zh=(range(400, 403), 1.0)))
    (tmp_path / "runs" / "notes.md").write_text("# what we tried\n\nloss went up\n")
    (tmp_path / "runs" / "b" / "model.bin").write_bytes(bytes(range(256)) * 20)
    assert cli.main(["analyze", str(tmp_path / "runs"), "--json"]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len({one["run"] for one in found}) == len(found) == 2
    assert [len(one["troubles"]) for one in found] == [0, 1]


def test_an_empty_folder_and_a_folder_without_logs_say_so(tmp_path, capsys):
    assert cli.main(["analyze", str(tmp_path)]) == 2
    assert "is empty" in capsys.readouterr().err
    (tmp_path / "notes.md").write_text("# nothing to see\n")
    assert cli.main(["analyze", str(tmp_path)]) == 2
    assert "Known are: TensorBoard" in capsys.readouterr().err


def test_a_spike_of_one_step_in_a_quarter_of_a_million_is_in_the_page(tmp_path):
    values = np.random.default_rng(0).normal(2.0, 0.02, 250_000)
    values[123_456] = 3.5
    path = tmp_path / "log.csv"
    lines = [f"{step},{value:.5f}" for step, value in enumerate(values)]
    path.write_text("step,loss\n" + "\n".join(lines))
    analysis = analyzed(path)
    assert 123_456 in {one.onset for one in analysis.troubles}
    page = write_zoom([analysis], tmp_path / "page.html").read_text()
    data = json.loads(page.split("const DATA = ")[1].split(";</script>")[0])
    shown = np.frombuffer(__import__("base64").b64decode(data[0]["series"][0]["values"]), "<f8")
    assert shown.max() == 3.5


def test_the_page_survives_names_made_to_break_it(tmp_path):
    made = [{"step": row["step"], "loss": row["loss"], "loss/</script><b>": row["loss/zh"]}
            for row in rows(200)]  # fmt: skip
    page = write_zoom([analyzed(write(tmp_path / "log.csv", made))], tmp_path / "p.html")
    assert "</script><b>" not in page.read_text()
