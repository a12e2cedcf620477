"""The average over replicas, with replicas that are threads' worth of tensors and no network."""

import torch
from torch import nn

from steadytrain.adapters.replicas import averages


class Work:
    def wait(self):
        return True


class Twin:
    """Stands for torchft's manager where the other replica holds `others` of what this one holds."""

    def __init__(self, others):
        self._others = iter(others)
        self.sizes = []

    def allreduce(self, tensor):
        self.sizes.append(tensor.numel())
        tensor.add_(next(self._others)).div_(2)
        return Work()


def test_gradients_are_averaged_in_buckets_of_one_dtype(monkeypatch):
    monkeypatch.setattr(averages, "BUCKET_BYTES", 64)
    parameters = [
        nn.Parameter(torch.zeros(5, 2)),
        nn.Parameter(torch.zeros(10)),
        nn.Parameter(torch.zeros(3, dtype=torch.float64)),
    ]
    for number, one in enumerate(parameters, start=1):
        one.grad = torch.full_like(one, float(number))
    twin = Twin([torch.ones(3), torch.full((20,), 4.0), torch.full((3,), 5.0)])
    averages.average(twin, parameters)
    assert twin.sizes == [3, 20, 3]
    assert [one.grad.unique().tolist() for one in parameters] == [[2.5], [3.0], [4.0]]


def test_a_parameter_that_nobody_used_keeps_no_gradient():
    used, unused, elsewhere = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    used.grad = torch.ones(2)
    twin = Twin([torch.tensor([1.0, 0.0, 1.0]), torch.tensor([3.0, 3.0, 0.0, 0.0, 4.0, 4.0])])
    averages.average(twin, [used, unused, elsewhere])
    assert used.grad.tolist() == [2.0, 2.0]
    assert unused.grad is None
    assert elsewhere.grad.tolist() == [2.0, 2.0]
