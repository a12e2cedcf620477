"""How supervisors hand each other states: a connection on which both show that they know a secret.

The secret lies in the home, for this account alone to read. Both ends send 32 random bytes; every
letter carries a tag that only who knows the secret can make, for this connection and this place in
it. So a stranger who finds the port can neither read nor write a state, and what was said once
cannot be said again. The state itself is sent as it lies in memory, by a thread that the kernel
serves after the training, and it counts when its xxh3-128 is the one that a letter named. That
finds what breaks by itself; it is no defence against somebody who can change packets under way.
"""

import hmac
import os
import secrets
import socket
import struct
import time
from pathlib import Path

import msgspec

from steadytrain.errors import SettingError
from steadytrain.launch.stock import Arrival, Key, State, stretches
from steadytrain.progress import FOLDER
from steadytrain.slots import Slot

MAGIC = b"STCOPY01"
NONCE_BYTES = TAG_BYTES = 32
LENGTH = struct.Struct("<I")

MOST_LETTER_BYTES = 4 * 2**20
"""What is read before it is known who sends it. A state is listed in about 200 bytes."""

PART_BYTES = 2**20
"""Sent and hashed at once: in a processor's own cache, and 1 ms of a 10 Gbit/s line."""

PATIENCE_SECONDS = 10.0
"""Without a byte. Source: as long as a host may be silent by default."""

CONNECT_SECONDS = 5.0

SECRET_SECONDS = 10.0


class Offer(msgspec.Struct, frozen=True, tag=True):
    """A state for the other end to keep; it follows when the answer is `Ready`."""

    state: State


class Wish(msgspec.Struct, frozen=True, tag=True):
    """For a state that the other end has; it follows the answer `Ready`."""

    rank: int
    world: int
    key: Key


class Question(msgspec.Struct, frozen=True, tag=True):
    """For what the other end has."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The state may come, or does; `state` says what it is."""

    state: State


class Listed(msgspec.Struct, frozen=True, tag=True):
    states: list[State]


class Kept(msgspec.Struct, frozen=True, tag=True):
    """It came whole, and counts."""


class Refused(msgspec.Struct, frozen=True, tag=True):
    why: str


Letter = Offer | Wish | Question | Ready | Listed | Kept | Refused


class Stranger(ConnectionError):
    """The other end does not know the secret, or what it said has changed under way."""


class Channel:
    """One end of a connection.

    Raises:
        OSError: of every method, if the other end is gone or silent.
    """

    def __init__(self, line: socket.socket, secret: bytes, *, serves: bool) -> None:
        line.settimeout(PATIENCE_SECONDS)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._line = line
        mine = secrets.token_bytes(NONCE_BYTES)
        line.sendall(MAGIC + mine)
        head = self._read(len(MAGIC) + NONCE_BYTES)
        if not head.startswith(MAGIC):
            raise Stranger("it is no supervisor of this version")
        theirs = head[len(MAGIC) :]
        both = mine + theirs if serves else theirs + mine
        key = hmac.digest(secret, both, "sha256")
        self._keys = [hmac.digest(key, name, "sha256") for name in (b"from server", b"to server")]
        if not serves:
            self._keys.reverse()
        self._sent = self._heard = 0

    def send(self, letter: Letter) -> None:
        body = msgspec.json.encode(letter)
        self._line.sendall(LENGTH.pack(len(body)) + body + self._tag(0, self._sent, body))
        self._sent += 1

    def receive(self) -> Letter:
        """The next letter.

        Raises:
            Stranger: it is not from who knows the secret.
        """
        (length,) = LENGTH.unpack(self._read(LENGTH.size))
        if length > MOST_LETTER_BYTES:
            raise Stranger("it says more than any supervisor would")
        body = self._read(length)
        if not hmac.compare_digest(self._read(TAG_BYTES), self._tag(1, self._heard, body)):
            raise Stranger("it does not know the secret of this run")
        self._heard += 1
        try:
            letter: Letter = msgspec.json.decode(body, type=Letter)
        except msgspec.DecodeError as error:
            raise Stranger("it is a supervisor of another version") from error
        return letter

    def send_state(self, slot: Slot) -> None:
        """All of a slot but its seal. Nobody may write into it meanwhile."""
        with memoryview(slot.memory) as view:
            for begin, end in stretches(len(view), PART_BYTES):
                with view[begin:end] as part:
                    self._line.sendall(part)

    def receive_state(self, arrival: Arrival, state: State) -> bool:
        """Whether what came is what was announced."""
        for part in arrival.parts(PART_BYTES):
            self._read_into(part)
        return arrival.seal(bytes.fromhex(state.seal))

    def close(self) -> None:
        self._line.close()

    def _tag(self, way: int, number: int, body: bytes) -> bytes:
        return hmac.digest(self._keys[way], number.to_bytes(8, "little") + body, "sha256")

    def _read(self, count: int) -> bytes:
        held = bytearray(count)
        self._read_into(memoryview(held))
        return bytes(held)

    def _read_into(self, view: memoryview) -> None:
        while len(view):
            count = self._line.recv_into(view)
            if count == 0:
                raise ConnectionResetError("the connection was closed")
            view = view[count:]


def connect(address: str, port: int, secret: bytes) -> Channel:
    """A channel to another supervisor.

    Raises:
        OSError: it cannot be reached.
    """
    line = socket.create_connection((address, port), timeout=CONNECT_SECONDS)
    try:
        return Channel(line, secret, serves=False)
    except OSError:
        line.close()
        raise


def secret_of(home: Path) -> bytes:
    """What the supervisors of a run share and nobody else can read; made by the first that asks.

    Raises:
        SettingError: it cannot be made or read.
    """
    path = home / FOLDER / "secret"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        pass  # another host was first
    except OSError as error:
        raise SettingError(
            f"{path} cannot be made ({error.strerror}), so hosts could not tell each other from "
            "strangers. Choose a home that this user can write, or leave out --neighbour-copies."
        ) from error
    end = time.monotonic() + SECRET_SECONDS
    while time.monotonic() < end:
        try:
            words = path.read_text()
        except OSError as error:
            raise SettingError(
                f"{path} cannot be read ({error.strerror}), so this host would be a stranger to "
                "the others. Run all hosts as one user, or leave out --neighbour-copies."
            ) from error
        if len(words) == 64:
            return bytes.fromhex(words)
        time.sleep(0.02)
    raise SettingError(
        f"{path} is not whole, so hosts could not tell each other from strangers. Remove it, and "
        "start again."
    )
