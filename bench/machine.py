"""One line about the machine that a figure was measured on."""

import os
import platform


def line() -> str:
    """Processor, cores that this process may use, Python and torch."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            for row in file:
                if row.startswith("model name"):
                    name = row.split(":", 1)[1].strip()
                    break
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0))
    try:
        import torch

        version = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
        if torch.cuda.is_available():
            version += f", {torch.cuda.get_device_name()}"
    except ImportError:
        version = "no torch"
    return f"machine: {name}, {cores} cores, Python {platform.python_version()}, {version}"
