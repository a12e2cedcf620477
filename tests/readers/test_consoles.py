"""What trainers print is read between whatever else is printed."""

import math
from pathlib import Path

import pytest

from steadytrain.errors import LogError
from steadytrain.readers.consoles import CONSOLES
from steadytrain.readers.discovery import recognize

MEGATRON = """\
using world size: 8, data-parallel size: 8
[before the start of training step] datetime: 2025-01-01 00:00:00
 [2025-01-01 00:00:10] iteration      100/  500000 | consumed samples:        51200 | elapsed time per iteration (ms): 612.3 | learning rate: 6.000000E-05 | global batch size:   512 | lm loss: 7.123456E+00 | loss scale: 1.0 | grad norm: 1.234 | number of skipped iterations:   0 | number of nan iterations:   0 |
 [2025-01-01 00:01:10] iteration      200/  500000 | consumed samples:       102400 | elapsed time per iteration (ms): 612.3 | learning rate: 6.000000E-05 | global batch size:   512 | loss scale: 1.0 | grad norm: nan | number of skipped iterations:   1 | number of nan iterations:   1 |
WARNING: something about iteration 250
 [2025-01-01 00:02:10] iteration      300/  500000 | consumed samples:       153600 | elapsed time per iteration (ms): 612.3 | learning rate: 6.000000E-05 | global batch size:   512 | lm loss: 6.5E+00 | loss scale: 1.0 | grad norm: 0.9 | number of skipped iterations:   0 | number of nan iterations:   0 |
"""
TITAN = """\
\x1b[36m[titan] 2025-01-01 00:00:00,001 - root - INFO - Training starts at step 1\x1b[39m
[titan] 2025-01-01 00:00:01,001 - root - INFO - \x1b[31mstep:  1  \x1b[32mloss: 12.2553  \x1b[38;2;180;60;0mgrad_norm:  4.5300  \x1b[38;2;54;234;195mmemory:  9.13GiB(11.53%)  \x1b[34mtps: 1,007  \x1b[36mtflops: 5.83  \x1b[35mmfu: 1.87%\x1b[39m
[titan] 2025-01-01 00:00:02,001 - root - INFO - \x1b[31mstep: 10  \x1b[32mloss: nan  \x1b[38;2;180;60;0mgrad_norm:  nan  \x1b[38;2;54;234;195mmemory:  9.13GiB(11.53%)  \x1b[34mtps: 7,113  \x1b[36mtflops: 41.2  \x1b[35mmfu: 13.2%\x1b[39m
"""
NANOTRON = """\
01/01/2025 00:00:00 [INFO|DP=0|PP=0|TP=0|host]: iteration: 10 / 500 | consumed_tokens: 2.62M | elapsed_time_per_iteration_ms: 1.2K | tokens_per_sec: 213K | lm_loss: 9.1 | lr: 0.0003 | grad_norm: 1.2
01/01/2025 00:00:01 [INFO|DP=0|PP=0|TP=0|host]: iteration: 11 / 500 | consumed_tokens: 2.88M | elapsed_time_per_iteration_ms: 1.2K | tokens_per_sec: 213K | lm_loss: 9.05 | lr: 0.0003 | grad_norm: 1.1
"""
DEEPSPEED = """\
[2025-01-01 00:00:00,000] [INFO] [logging.py:96:log_dist] [Rank 0] step=10, skipped=0, lr=[0.0001, 0.0001], mom=[(0.9, 0.95), (0.9, 0.95)]
steps: 10 loss: 9.3012 iter time (s): 0.502 samples/sec: 63.745
[2025-01-01 00:00:05,000] [INFO] [logging.py:96:log_dist] [Rank 0] step=20, skipped=1, lr=[0.0002, 0.0002], mom=[(0.9, 0.95), (0.9, 0.95)]
steps: 20 loss: 8.7000 iter time (s): 0.498 samples/sec: 64.257
"""
LLMC_MAIN = "s:0 tel:11.0\ns:0 eval:0.2500\ns:1 trl:10.99 lr:0.000001 norm:20.1\ns:2 trl:10.50 lr:0.000002 norm:19.0\n"
LLMC = """\
| device                | NVIDIA H100                                        |
step    1/19560 | loss 10.990000 (+nanz)| norm 20.1000 (+nanz)| lr 1.00e-06 | 980.00 ms | 41.2% bf16 MFU | 535000 tok/s
step    2/19560 | loss 10.500000 (+0.50z)| norm 19.0000 (+0.10z)| lr 2.00e-06 | 970.00 ms | 41.6% bf16 MFU | 540000 tok/s
"""
NANOGPT = """\
number of parameters: 123.59M
step 0: train loss 10.9000, val loss 10.9000
iter 0: loss 10.9123, time 34000.1ms, mfu -100.00%
iter 10: loss 9.3000, time 135.2ms, mfu 31.50%
iter 20: loss nan, time 135.2ms, mfu 31.50%
"""
MODDED = "step:1/1390 train_loss:10.8 train_time:100ms step_avg:100.0ms\nstep:2/1390 train_loss:10.1 train_time:200ms\nstep:3/1390 val_loss:9.9 train_time:300ms\n"

# name -> (text, loss tag, steps, losses)
SHAPES = {
    "Megatron-LM": (MEGATRON, "lm loss", [100, 200, 300], [7.123456, math.nan, 6.5]),
    "torchtitan": (TITAN, "loss", [1, 10], [12.2553, math.nan]),
    "nanotron": (NANOTRON, "lm_loss", [10, 11], [9.1, 9.05]),
    "DeepSpeed": (DEEPSPEED, "loss", [10, 20], [9.3012, 8.7]),
    "llm.c": (LLMC, "loss", [1, 2], [10.99, 10.5]),
}


def read(tmp_path, text, name="train.log"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    reader = recognize(path)
    assert reader is not None
    (run,) = reader.read(path)
    return run


def same(found, wanted):
    assert found == pytest.approx(wanted, nan_ok=True)


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_is_known_and_read(tmp_path, name):
    text, tag, steps, losses = SHAPES[name]
    run = read(tmp_path, text)
    assert run.format == name
    assert run.series[tag].steps.tolist() == steps
    same(run.series[tag].values.tolist(), losses)


def test_megatron_leaves_out_a_loss_that_is_nan(tmp_path):
    series = read(tmp_path, MEGATRON).series
    assert math.isnan(series["lm loss"].values[1])
    assert series["number of nan iterations"].values.tolist() == [0, 1, 0]
    assert series["grad norm"].steps.tolist() == [100, 200, 300]


def test_numbers_carry_commas_percents_units_and_letters(tmp_path):
    titan, nanotron = read(tmp_path, TITAN).series, read(tmp_path, NANOTRON).series
    assert titan["tps"].values.tolist() == [1007, 7113]
    assert titan["mfu"].values.tolist() == [1.87, 13.2]
    assert nanotron["consumed_tokens"].values.tolist() == [2.62e6, 2.88e6]


def test_llm_c_writes_a_file_as_well(tmp_path):
    run = read(tmp_path, LLMC_MAIN, "main.log")
    assert run.series["trl"].values.tolist() == [10.99, 10.5]
    assert run.series["norm"].values.tolist() == [20.1, 19.0]


def test_lines_of_any_script_with_a_step_and_a_loss_are_read(tmp_path):
    run = read(tmp_path, NANOGPT)
    same(run.series["loss"].values.tolist(), [10.9123, 9.3, math.nan])
    run = read(tmp_path, MODDED)
    assert run.series["train_loss"].values.tolist() == [10.8, 10.1]
    own = "".join(f"INFO global_step={n} | loss={3 - n / 10:.2f} | lr=1e-4\n" for n in range(5))
    assert read(tmp_path, own).series["lr"].values.tolist() == [1e-4] * 5


def test_what_several_ranks_print_is_counted_once_and_a_resume_is_kept(tmp_path):
    lines = [f"step: {n}, loss: {9 - n}" for n in (1, 2, 3, 2, 3)]
    run = read(tmp_path, "\n".join(line for line in lines for _ in range(4)) + "\n")
    assert run.series["loss"].steps.tolist() == [1, 2, 3, 2, 3]


@pytest.mark.parametrize("name", SHAPES)
def test_a_log_cut_anywhere_gives_its_beginning_or_a_clear_message(tmp_path, name):
    text, tag, steps, _ = SHAPES[name]
    whole, path = text.encode(), tmp_path / "train.log"
    reader = next(one for one in CONSOLES if one.format == name)
    for end in range(0, len(whole), max(1, len(whole) // 20)):
        path.write_bytes(whole[:end])
        try:
            (run,) = reader.read(path)
        except LogError:
            continue
        found = run.series[tag].steps.tolist() if tag in run.series else []
        assert found == steps[: len(found)]


@pytest.mark.parametrize(
    "foreign",
    [
        b"", b"\x00\x01\x02" * 100, b"# Notes\n\nThe loss at step 100 was 3.0.\n",
        b"<html><body>step 1 loss</body></html>\n", b"step,loss\n1,2.0\n2,1.9\n3,1.8\n",
        Path(__file__).read_bytes()[:400], b'{"step": 1, "loss": 2.0}\n' * 5,
    ],
)  # fmt: skip
def test_other_files_are_no_console_logs(foreign):
    assert not any(one.recognizes(Path("x.txt"), foreign) for one in CONSOLES)


def test_bytes_that_are_no_text_do_no_harm(tmp_path):
    run = read(tmp_path, b"\xff\xfe\x80 noise\n" + DEEPSPEED.encode() + b"\xc3\x28\n")
    assert run.series["loss"].values.tolist() == [9.3012, 8.7]
