"""Writes the golden files of MLflow with MLflow itself.

`pip install mlflow-skinny==3.17.2 sqlalchemy alembic`. Nothing of the machine is in them: the user
and the home of artifacts are made up. Of the folder, only metrics and meta.yaml are kept; of the
database, only the tables `metrics`, `runs` and `tags`, without tags that name the script: the other
forty, empty as they are, take a page each.
"""

import math
import os
import random
import shutil
import sqlite3
import tempfile
import uuid
from pathlib import Path

os.environ |= {
    "LOGNAME": "user",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

import mlflow
from mlflow.entities import Metric

HOME = Path(__file__).parent / "mlflow"
KEPT = ("metrics", "runs", "tags")
LOSSES = [2.5, math.nan, math.inf, -math.inf, 0.1, 0.0, -0.0, 3e38, 5e-324, 7]
BEGAN_MS = 1_700_000_000_000


def main() -> None:
    dice = random.Random(0)  # the same ids every time
    uuid.uuid4 = lambda: uuid.UUID(int=dice.getrandbits(128))
    shutil.rmtree(HOME, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        _log(f"file://{scratch}/mlruns")
        for run in sorted(Path(scratch, "mlruns").glob("*/*/metrics")):
            place = HOME / "files" / run.parent.name
            shutil.copytree(run, place / "metrics")
            shutil.copyfile(run.parent / "meta.yaml", place / "meta.yaml")
        _log(f"sqlite:///{scratch}/mlflow.db")
        _slim(Path(scratch, "mlflow.db"))
        shutil.copyfile(Path(scratch, "mlflow.db"), HOME / "mlflow.db")


def _log(uri: str) -> None:
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient(uri)
    place = client.create_experiment("golden", artifact_location="file:///artifacts")
    for name in ("plain", "it's: quoted", "plain"):
        run_id = client.create_run(place, BEGAN_MS, run_name=name).info.run_id
        points = [Metric("train/loss", x, BEGAN_MS + i, 10 * i) for i, x in enumerate(LOSSES)]
        points += [Metric("train/loss", 1.5, BEGAN_MS + 99, 40)]  # a resume, back to step 40
        points += [Metric("lr", 1e-3, BEGAN_MS + i, i) for i in range(3)]
        client.log_batch(run_id, metrics=points)
        client.log_metric(run_id, "lr", 2e-3, timestamp=BEGAN_MS + 3)
        client.set_terminated(run_id, end_time=BEGAN_MS + 100)


def _slim(path: Path) -> None:
    database = sqlite3.connect(path)
    listed = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    database.execute("PRAGMA foreign_keys = OFF")
    for (table,) in listed:
        if table not in KEPT:
            database.execute(f"DROP TABLE {table}")
    database.execute("DELETE FROM tags WHERE key != 'mlflow.runName'")
    database.commit()
    database.execute("VACUUM")
    database.close()


if __name__ == "__main__":
    main()
