"""Ranks of a test: processes that find each other and work together."""

import multiprocessing
import os
import socket

import pytest
import torch

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["tests.rig"])


def together(world, work, *arguments, seconds=400, ends=0):
    """Call `work(rank, *arguments)` in so many processes, which may `Ranks.join`; until all end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lives = [
        _server.Process(target=_live, args=(rank, world, port, work, arguments))
        for rank in range(world)
    ]
    for life in lives:
        life.start()
    try:
        for life in lives:
            life.join(seconds)
        assert [life.exitcode for life in lives] == [ends] * world
    finally:
        for life in lives:
            life.kill()


def need_shards_on_the_cpu():
    """Skip where FSDP2 cannot run without CUDA."""
    if not hasattr(torch.cpu.Stream, "record_event"):
        pytest.skip(f"FSDP2 of PyTorch {torch.__version__} runs on CUDA alone; 2.7 and later do")


def _live(rank, world, port, work, arguments):
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    work(rank, *arguments)
