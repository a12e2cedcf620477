"""A pipeline of two stages without a Session, harmed once: `stages.py HOME OUT HARM RANK STEP STEPS`.

Each rank keeps its stage by itself, every 10 steps, and says to the progress board where it is.
"""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.pipelining import PipelineStage, ScheduleGPipe

from steadytrain.progress import beat
from tests.launch.harms import IN_FORWARD

WIDTH, ROWS = 8, 12


class Stage(nn.Module):
    """One layer; before its forward pass it does what it is told to."""

    def __init__(self, harm):
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)
        self._harm = harm

    def forward(self, x_BD):
        self._harm()
        return torch.tanh(self.layer(x_BD))


def main():
    home, out, harm, harmed, at, steps = sys.argv[1:]
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    step = 0

    def harm_once():
        once = Path(out, f"harmed{rank}")
        if rank == int(harmed) and harm in IN_FORWARD and step == int(at) and not once.exists():
            once.write_text("")
            IN_FORWARD[harm]()

    torch.manual_seed(rank)
    stage = Stage(harm_once)
    optimizer = torch.optim.AdamW(stage.parameters(), lr=1e-2)
    both = [Path(home, f"stage{one}.pt") for one in range(2)]
    if all(path.exists() for path in both):
        states = [torch.load(path) for path in both]
        assert states[0]["step"] == states[1]["step"]
        step = states[rank]["step"]
        stage.load_state_dict(states[rank]["stage"])
        optimizer.load_state_dict(states[rank]["optimizer"])
    schedule = ScheduleGPipe(
        PipelineStage(stage, rank, 2, torch.device("cpu")),
        n_microbatches=3,
        loss_fn=nn.functional.mse_loss,
    )
    while step < int(steps):
        beat("forward", step)
        x_BD = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(step))
        if rank == 0:
            schedule.step(x_BD)
        else:
            schedule.step(target=x_BD.flip(1))
        beat("step", step)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step % 10 == 0:
            beat("checkpoint", step)
            fresh = both[rank].with_suffix(".new")
            state = {"stage": stage.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({"step": step, **state}, fresh)
            dist.barrier()
            os.replace(fresh, both[rank])
            dist.barrier()
    beat("finished", step)
    end = {name: one.tolist() for name, one in stage.state_dict().items()}
    Path(out, f"{rank}.json").write_text(json.dumps(end))
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
