"""What `steadytrain board` can be asked for; needs nothing, so that the command line is quick."""

import argparse
from dataclasses import dataclass
from pathlib import Path

PORT = 6460


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the command was asked for.

    Attributes:
        roots: folders of runs, or homes of one.
        names: under which browsers reach it, beside the host's own.
        token_file: holds the token, the same at every start; None for a new one each time.
        no_token: everybody may look, and nobody change anything.
    """

    roots: tuple[Path, ...]
    host: str = "127.0.0.1"
    port: int = PORT
    names: tuple[str, ...] = ()
    token_file: Path | None = None
    no_token: bool = False


def add_arguments(board: argparse.ArgumentParser) -> None:
    """The arguments of `steadytrain board`."""
    board.add_argument("runs", nargs="*", type=Path, metavar="RUNS", help="folders of runs (runs)")
    board.add_argument("--port", type=int, default=PORT, help=f"0 for any free one ({PORT})")
    board.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine alone)"
    )
    board.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="HOST",
        help="another name under which browsers reach it, such as that of a proxy",
    )
    board.add_argument(
        "--token-file", type=Path, metavar="FILE", help="keep the token here, the same every time"
    )
    board.add_argument(
        "--no-token", action="store_true", help="let every account of this machine look; nobody act"
    )


def settings(given: argparse.Namespace) -> Settings:
    return Settings(
        roots=tuple(given.runs) or (Path("runs"),),
        host=given.host,
        port=given.port,
        names=tuple(given.name),
        token_file=given.token_file,
        no_token=given.no_token,
    )
