"""`steadytrain board`: serve the live board until it is interrupted."""

import getpass
import socket
import sys

import uvicorn

from steadytrain.board import door
from steadytrain.board.app import make_app
from steadytrain.board.options import Settings
from steadytrain.errors import SettingError


def run(options: Settings) -> int:
    """Serve, and say how to come in.

    Raises:
        SettingError: the port is taken, or a folder or the token file is not what it should be.
    """
    if not door.is_loopback(options.host) and options.no_token:
        raise SettingError(
            f"--host {options.host} with --no-token would show the training text to everybody who "
            "reaches this machine. Leave one of them out."
        )
    token = None
    if not options.no_token:
        token = door.kept_token(options.token_file) if options.token_file else door.new_token()
    names = [options.host, *options.names]
    if not door.is_loopback(options.host):
        names += [socket.gethostname(), socket.getfqdn()]
    app = make_app(options.roots, token=token, hosts=door.host_names(names))
    listener = _listen(options.host, options.port)
    port = listener.getsockname()[1]
    _tell(options.host, port, token)
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="on", server_header=False,
            timeout_graceful_shutdown=2, ws="none",
        )
    )  # fmt: skip
    server.run(sockets=[listener])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
    except OSError as error:
        listener.close()
        raise SettingError(
            f"nothing can listen on {host} port {port} ({error.strerror}). Write --port 0 for any "
            "free one."
        ) from error
    listener.listen(256)
    return listener


def _tell(host: str, port: int, token: str | None) -> None:
    shown = f"[{host}]" if ":" in host else host
    end = f"#token={token}" if token is not None else ""
    local = door.is_loopback(host)
    print(f"steadytrain board: http://{shown}:{port}/{end}", flush=True)
    if local:
        print(
            f"from another machine: ssh -L {port}:127.0.0.1:{port} "
            f"{_user()}@{socket.gethostname()}   then open the address above there",
            flush=True,
        )
    if token is None:
        print("no token: every account of this machine can look, nobody can act", file=sys.stderr)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "USER"
