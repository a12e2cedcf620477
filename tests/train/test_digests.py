"""The digest of raw bits: every flip and every swap shows, on any layout."""

import random

import pytest
import torch

from steadytrain.train.digests import COLUMNS, SMALL, Digests, halves, spell

DEVICE = torch.device("cpu")
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int8, torch.bool)


@pytest.fixture
def digests():
    return Digests(DEVICE)


def _of(digests, *tensors):
    return int(digests.of(tensors))


def _flip(tensor, bit):
    flat = tensor.view(-1).view(torch.uint8)
    flat[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_bit_of_a_small_tensor_counts(digests, dtype):
    tensor = torch.ones(3, 5).to(dtype)
    found = {_of(digests, tensor)}
    bits = 8 * tensor.numel() * tensor.element_size()
    for bit in range(bits):
        _flip(tensor, bit)
        found.add(_of(digests, tensor))
        _flip(tensor, bit)
    assert len(found) == bits + 1


@pytest.mark.parametrize("size", [SMALL // 4, SMALL // 4 + 1, 3 * COLUMNS * 16 + 5, 123_457])
def test_any_bit_of_a_large_tensor_counts(digests, size):
    chance = random.Random(size)
    tensor = torch.randn(size)
    clean = _of(digests, tensor)
    bits = [*range(64), *(chance.randrange(32 * size) for _ in range(100))]
    for bit in [*bits, *(32 * size - 1 - one for one in bits[:64])]:
        _flip(tensor, bit)
        assert _of(digests, tensor) != clean
        _flip(tensor, bit)
    assert _of(digests, tensor) == clean


def test_values_that_changed_places_show(digests):
    chance = random.Random(5)
    tensor = torch.randn(5 * COLUMNS * 2 + 77)
    clean = _of(digests, tensor)
    pairs = [tuple(chance.sample(range(len(tensor)), 2)) for _ in range(200)]
    pairs += [(0, 1), (0, 2 * COLUMNS), (1, 2 * COLUMNS + 1), (0, 4 * COLUMNS)]
    for one, other in pairs:
        tensor[[one, other]] = tensor[[other, one]]
        assert _of(digests, tensor) != clean
        tensor[[one, other]] = tensor[[other, one]]


def test_tensors_that_changed_places_show(digests):
    for size in (7, 100_000):
        one, other = torch.randn(size), torch.randn(size)
        assert _of(digests, one, other) != _of(digests, other, one)


def test_minus_zero_is_not_zero_and_nan_is_equal_to_itself(digests):
    assert _of(digests, torch.tensor([0.0])) != _of(digests, torch.tensor([-0.0]))
    nan = torch.full((9,), float("nan"))
    assert _of(digests, nan) == _of(digests, nan.clone())


def test_only_the_bits_count_not_how_they_lie_in_memory(digests):
    tensor = torch.randn(300, 211)
    room = torch.randn(300 * 211 + 1)
    room[1:] = tensor.view(-1)
    for other in (tensor.t().contiguous().t(), room[1:].view(300, 211), tensor.clone()):
        assert _of(digests, other) == _of(digests, tensor)


def test_nothing_and_scalars_have_digests(digests):
    assert _of(digests) == 0
    assert _of(digests, torch.zeros(0)) == 0
    assert _of(digests, torch.tensor(3.0)) != _of(digests, torch.tensor(4.0))


def test_another_process_comes_to_the_same(digests):
    tensors = [torch.arange(200_001, dtype=torch.float32), torch.arange(7, dtype=torch.float64)]
    assert _of(digests, *tensors) == _of(Digests(DEVICE), *tensors)
    low, high = halves(digests.of(tensors)).tolist()
    assert spell(low, high) == f"{_of(digests, *tensors) % 2**64:016x}"
