"""What Linux knows of the ranks: do they compute, read or write; did it kill one for its memory?"""

import os
from collections.abc import Mapping
from pathlib import Path

LOOK_SECONDS = 1.0
"""Between two looks: each is a few reads of /proc, and matters only before a rank's first beat."""

ACTIVE_SHARE = 0.01
"""Of a core. A process that sleeps in a poll or a lock uses a thousandth of this."""

_TICKS = os.sysconf("SC_CLK_TCK")


class Activity:
    """Which ranks used the processor or a file since the last look, with their ended children."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[float, int]] = {}
        self._num_oom_kills = count_oom_kills()

    def look(self, pids: Mapping[int, int], *, gap_seconds: float) -> set[int]:
        """Ranks that were active in the last `gap_seconds`."""
        active = set()
        now = {}
        for rank, pid in pids.items():
            now[pid] = cpu, moved = _cpu_seconds(pid), _bytes_moved(pid)
            cpu_before, moved_before = self._before.get(pid, (0.0, 0))
            if cpu - cpu_before > ACTIVE_SHARE * gap_seconds or moved != moved_before:
                active.add(rank)
        self._before = now
        return active

    def was_out_of_memory(self) -> bool:
        """Whether the kernel has killed a process of this container for its memory since asked."""
        before, self._num_oom_kills = self._num_oom_kills, count_oom_kills()
        return self._num_oom_kills > before


def count_oom_kills() -> int:
    """Of this process's cgroup (version 2), 0 where there is none."""
    try:
        group = Path("/proc/self/cgroup").read_text().splitlines()[-1].rpartition(":")[2]
        for root in (f"/sys/fs/cgroup{group}", "/sys/fs/cgroup"):
            path = Path(root, "memory.events")
            if path.exists():
                rows = dict(line.split() for line in path.read_text().splitlines())
                return int(rows.get("oom_kill", "0"))
    except (OSError, ValueError, IndexError):
        return 0
    return 0


def _cpu_seconds(pid: int) -> float:
    try:
        row = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = row.rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS  # utime, stime, and those of ended children


def _bytes_moved(pid: int) -> int:
    try:
        rows = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(row.split()[1]) for row in rows[:2])  # rchar, wchar
