"""SQLite databases of other tools, read while those tools may be writing to them.

`consult` opens a database, lets a function look into it and closes it. It never writes to the
database, leaves no new file beside one that is at rest, and holds no lock longer than one slice of
rows takes: a training process that waits for us is worse than a missing curve.

Source: sqlite.org, fileformat2, wal, uri, lockingv3.

Traps: in WAL mode the newest rows stand only in `<name>-wal`. A reader there makes `-wal` and
`-shm` files of its own and leaves them, so a database without rows in its `-wal` is opened as
immutable, and once more with locks when it changed meanwhile. Where locks fail (NFS, a writer with
an exclusive one, a crash in mid-transaction) a copy is read, or the file as it is.
"""

import operator
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from steadytrain.errors import LogError
from steadytrain.readers.jsons import counted, unopened

Answer = TypeVar("Answer")
Row = tuple[Any, ...]

SIGNATURE = b"SQLite format 3\0"
PATIENCE_S = 5.0
"""How long to wait for a writer's lock; the default of Python's sqlite3."""

SLICE_ROWS = 2_000
"""Rows fetched under one lock, some 3 ms; more at once take longer for each."""

_ID = re.compile(r"[0-9a-f]{32}")
_FIRST_ROWID, _LAST_ROWID = -(2**63), 2**63 - 1
_SMALLEST_PAGE = 512
_WAL_MODE = 2  # byte 18 of the file, the "write version"
_UNREADABLE = (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ)
_BROKEN = (sqlite3.Error, UnicodeDecodeError)  # the latter from messages that quote a damaged name
_PRAGMAS = (
    "query_only=ON",
    "trusted_schema=OFF",
    "cell_size_check=ON",
    "writable_schema=ON",  # without it SQLite refuses all of a file that was cut short
)


@dataclass(slots=True)
class Database:
    """An open database. Texts come as bytes: a damaged one may be no UTF-8."""

    connection: sqlite3.Connection
    remarks: list[str] = field(default_factory=list)

    def columns(self, table: str) -> frozenset[str]:
        """The columns of this table; none if there is no such table."""
        # A root page: neither a view nor a virtual table, which could run code of the file.
        found = self.connection.execute(
            "SELECT p.name FROM sqlite_master AS m, pragma_table_info(m.name) AS p "
            "WHERE m.type = 'table' AND m.rootpage > 0 AND m.name = ?",
            (table,),
        )
        return frozenset(text(name) for (name,) in found)

    def slices(self, table: str, columns: str) -> Iterator[list[Row]]:
        """Rows of a table as they were inserted, each begun by its rowid, some at a time.

        Where the file is damaged the rows before the damage come, and a remark says so.
        """
        query = (
            f"SELECT rowid, {columns} FROM {table} WHERE rowid >= ? "
            f"ORDER BY rowid LIMIT {SLICE_ROWS}"
        )
        begin, num_rows = _FIRST_ROWID, 0
        while True:
            rows: list[Row] = []
            try:
                rows.extend(islice(self.connection.execute(query, (begin,)), SLICE_ROWS))
                is_torn = False
            except sqlite3.DatabaseError as error:
                if not _is_torn(error):
                    raise
                is_torn = True
            rising = _num_rising(rows, begin)
            is_torn = is_torn or rising < len(rows)
            num_rows += rising
            if rising:
                yield rows[:rising]
            if is_torn:
                read = counted(num_rows, "row")
                self.remarks.append(f"the database is damaged; {read} of '{table}' could be read")
                return
            if len(rows) < SLICE_ROWS or rows[-1][0] == _LAST_ROWID:
                return
            begin = rows[-1][0] + 1


def consult(path: Path, question: Callable[[Database], Answer]) -> Answer:
    """What `question` finds in this database. It may be asked more than once.

    Raises:
        LogError: the file cannot be read, or is no database.
    """
    try:
        before = _state(path)
        if before.is_cut:
            return _copied(path, question, "the file is cut off in the midst of a page")
        if before.is_wal and not before.wal_bytes:
            answer = _undisturbed(path, before, question)
            if answer is not None:
                return answer[0]
        try:
            return _asked(path, "mode=ro", question)
        except sqlite3.OperationalError:
            return _without_lock(path, question)
    except _BROKEN as error:
        raise LogError(
            f"{path} is no usable SQLite database ({error}), so its runs are missing. "
            "Repair it with the '.recover' of the sqlite3 shell, or name an earlier copy."
        ) from error
    except OSError as error:
        raise unopened(path, error) from error


def has_columns(path: Path, table: str, *, wanted: frozenset[str]) -> bool:
    """Whether this database has such a table; False too where it cannot be read."""
    try:
        return consult(path, lambda database: wanted <= database.columns(table))
    except LogError:
        return False


def text(octets: object) -> str:
    """A text of the database, whatever its bytes are."""
    return octets.decode("utf-8", "replace") if isinstance(octets, bytes) else ""


def titled(name: str, run_id: str) -> str:
    """What tells this run from others of the same name: "bert (0123abcd)"."""
    short = run_id[:8] if _ID.fullmatch(run_id) else run_id
    return f"{name} ({short})" if name and name != run_id else run_id


@dataclass(frozen=True, slots=True)
class _State:
    """What changes when somebody writes."""

    is_wal: bool
    is_cut: bool
    size: int
    changed_ns: int
    wal_bytes: int


def _state(path: Path) -> _State:
    with path.open("rb") as file:
        head = file.read(32)
    page = _page_bytes(head)
    now, wal = path.stat(), _beside(path, "-wal")
    return _State(
        is_wal=head[18:19] == bytes([_WAL_MODE]),
        is_cut=now.st_size > page and now.st_size % page > 0,
        size=now.st_size,
        changed_ns=now.st_mtime_ns,
        wal_bytes=wal.stat().st_size if wal.exists() else 0,
    )


def _page_bytes(head: bytes) -> int:
    """The size of a page; where the head makes no sense, the smallest that there is."""
    said = int.from_bytes(head[16:18], "big")
    said = 65536 if said == 1 else said  # it does not fit into two bytes
    return said if said.bit_count() == 1 and said > _SMALLEST_PAGE else _SMALLEST_PAGE


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _undisturbed(
    path: Path, before: _State, question: Callable[[Database], Answer]
) -> tuple[Answer] | None:
    """The answer without any lock; None when somebody wrote meanwhile, and it may be torn."""
    try:
        answer = _asked(path, "immutable=1", question)
    except _BROKEN:
        if _state(path) == before:
            raise
        return None
    return (answer,) if _state(path) == before else None


def _without_lock(path: Path, question: Callable[[Database], Answer]) -> Answer:
    """The answer of a copy with all that belongs to it, or of the bare file if nothing does."""
    if _companions(path):
        return _copied(path, question, "the database could not be locked; a copy was read")
    said = "the database could not be locked; what was written meanwhile may be missing"
    return _asked(path, "immutable=1", question, said)


def _copied(path: Path, question: Callable[[Database], Answer], said: str) -> Answer:
    with tempfile.TemporaryDirectory() as scratch:
        # The -wal first: replaying what the database already has does no harm.
        for one in (*_companions(path), path):
            shutil.copyfile(one, Path(scratch) / one.name)
        copy = Path(scratch) / path.name
        with copy.open("r+b") as file:
            # SQLite fills half a page with zeros, and takes them for steps and values.
            size = copy.stat().st_size
            file.truncate(size - size % _page_bytes(file.read(32)))
        return _asked(copy, "mode=rw", question, said)


def _companions(path: Path) -> list[Path]:
    beside = [_beside(path, ending) for ending in ("-wal", "-journal")]
    return [one for one in beside if one.exists() and one.stat().st_size > 0]


def _num_rising(rows: list[Row], begin: int) -> int:
    """How many rows, from the first, have a larger rowid than the one before them.

    All of them, but for a damaged page: there the rowids are the first to show it.
    """
    rowids = [begin - 1, *(row[0] for row in rows)]
    if all(map(operator.lt, rowids, islice(rowids, 1, None))):
        return len(rows)
    return next(at for at in range(len(rows)) if rowids[at] >= rowids[at + 1])


def _asked(
    path: Path, options: str, question: Callable[[Database], Answer], *remarks: str
) -> Answer:
    address = f"{path.absolute().as_uri()}?{options}"
    opened = sqlite3.connect(address, uri=True, timeout=PATIENCE_S, isolation_level=None)
    with closing(opened) as connection:
        connection.text_factory = bytes
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        return question(Database(connection, list(remarks)))


def _is_torn(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)  # its low byte is the class, the rest the variety
    return code & 0xFF == sqlite3.SQLITE_CORRUPT or code in _UNREADABLE
