"""What an epsilon may be, by the gradients that there were."""

import torch
from torch import nn

from steadytrain.train import Ranks
from steadytrain.train.marks import Marks
from steadytrain.train.state import TrainingState


def _marks(sizes):
    """An optimizer whose second moments are the squares of these sizes of gradients."""
    model = nn.Linear(len(sizes), 1, bias=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.ones(1, len(sizes))).sum().backward()
    optimizer.step()
    optimizer.state[model.weight]["exp_avg_sq"].copy_(torch.tensor(sizes)[None].square())
    return Marks(TrainingState(model, optimizer), optimizer, Ranks(), clip=None)


def test_a_harmless_epsilon_is_a_tenth_of_nearly_every_gradient():
    sizes = torch.logspace(-6, -2, 1000)
    found = _marks(sizes.tolist()).harmless_epsilon()
    assert (sizes > 10 * found).float().mean() >= 0.985  # a quantile between two samples
    assert (sizes > 10 * found).float().mean() <= 0.995


def test_weights_that_never_had_a_gradient_do_not_count():
    found = _marks([0.0] * 500 + [1e-4] * 500).harmless_epsilon()
    assert abs(found / 1e-5 - 1) < 1e-3


def test_without_any_history_nothing_is_said():
    assert _marks([0.0] * 10).harmless_epsilon() is None
