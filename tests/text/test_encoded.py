"""Bytes written as letters, and the short ones that programs and manuals are full of."""

import base64
import json
import random

import pytest

from steadytrain.text import lint

RAW = random.Random(1).randbytes(900)
ENGLISH = (
    "A tool that writes down what it saw before it acts can be trusted to act. " * 9
).encode()
CHINESE = "训练开始之前，从每个域里随机抽两百条序列，封存起来，永远不拿去训练。" * 5


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(RAW).decode(),
        base64.encodebytes(RAW).decode(),
        base64.urlsafe_b64encode(RAW).decode(),
        base64.b32encode(RAW).decode(),
        base64.b85encode(RAW).decode(),
        RAW.hex(),
        RAW.hex(" "),
        ", ".join(f"0x{byte:02x}" for byte in RAW),
        ENGLISH.hex(" "),
        json.dumps({"id": 7, "body": base64.b64encode(RAW).decode()}),
        json.dumps({"text": CHINESE}),
        "".join(f"\\{byte:03o}" for byte in CHINESE.encode()),
        str(CHINESE.encode()),
        CHINESE.encode("ascii", "xmlcharrefreplace").decode(),
        "\n".join(
            f"{at:08x}: {RAW[at : at + 16].hex(' ', 2)}  ................"
            for at in range(0, 896, 16)
        ),
    ],
)
def test_encoded_bytes_are_told(text):
    assert lint(text).kind == "encoded"


@pytest.mark.parametrize(
    "text",
    [
        "The commit 3f2a9c1e7b5d4f6081a2b3c4d5e6f708192a3b4c broke it; see the log for the reason why.",
        "\n".join(f"{random.Random(at).random():.9f}" for at in range(200)),
        "\n".join(" ".join(str((at * 7 + k) % 100) for k in range(10)) for at in range(60)),
    ],
)
def test_short_hashes_and_columns_of_numbers_are_no_encoding(text):
    assert lint(text).kind != "encoded"
