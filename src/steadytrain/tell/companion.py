"""A teller beside a supervisor; `steadytrain run --tell feishu` starts it, and it lives longer."""

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from steadytrain.errors import SettingError
from steadytrain.tell.box import Manners
from steadytrain.tell.channels.web import Web
from steadytrain.tell.secrets import Secrets
from steadytrain.tell.ways import Makers

OUTPUT = Path("tell") / "output.log"

WAIT_SECONDS = 25.0
"""After the run's end, for the last message: in a container it dies with the supervisor.
Source: Kubernetes and Slurm kill after 30 s."""


@contextlib.contextmanager
def beside(options: argparse.Namespace) -> Iterator[None]:
    """A teller for as long as the run lasts, and for its last message, if one was asked for."""
    if not options.tell:
        yield
        return
    companion = Companion(
        options.home, options.tell, secrets=options.tell_secrets, lang=options.tell_lang
    )
    try:
        yield
    finally:
        companion.wait()


class Companion:
    """A process of its own session, so that what ends the run does not end it.

    Raises:
        SettingError: a channel lacks something; better said before a run than after it.
    """

    def __init__(self, home: Path, to: Sequence[str], *, secrets: Path | None, lang: str) -> None:
        makers = Makers(secrets=Secrets(os.environ, secrets), web=Web())
        for given in to:
            makers.way(given, Manners())
        command = [sys.executable, "-m", "steadytrain", "tell", str(home), "--lang", lang]
        command += ["--beside", str(os.getpid())]
        for given in to:
            command += ["--to", given]
        if secrets is not None:
            command += ["--secrets", str(secrets)]
        output = home / OUTPUT
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            with open(output, "ab") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise SettingError(
                f"{output} cannot be written ({error.strerror}), so nobody could tell of the run. "
                "Choose another home"
            ) from error

    def wait(self) -> None:
        """For the last message; it goes on by itself if there is more to tell."""
        try:
            self._process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            print(
                f"steadytrain: process {self._process.pid} goes on telling of this run",
                file=sys.stderr,
            )
