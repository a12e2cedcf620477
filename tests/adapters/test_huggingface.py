"""Perplexity against Hugging Face's own losses, and bits per byte against lm-eval's formula."""

import json
import math
import random

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from steadytrain import cli  # noqa: E402
from steadytrain.adapters import huggingface  # noqa: E402
from steadytrain.errors import CorpusError, PanelError, SettingError  # noqa: E402
from steadytrain.panels import FixedPanel, PanelSegment, PanelSequence  # noqa: E402
from steadytrain.stats.sums import DomainSums  # noqa: E402

ZH = "训练一个语言模型需要耐心与记录，损失下降之后仍要看困惑度是否真的变好。数据的配比会改变每个领域的曲线"
EN = "a long run needs patience and a record of what was seen while loss falls slowly over time"
CONTEXT = 64


def texts(seed, kind, count):
    chance = random.Random(f"{kind}-{seed}")
    made = []
    for _ in range(count):
        size = chance.randint(60, 400)
        if kind == "zh":
            made.append("".join(chance.choice(ZH) for _ in range(size // 2)))
        else:
            made.append(" ".join(chance.choice(EN.split()) for _ in range(size // 4)))
    return made


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for kind in ("zh", "en"):
        rows = [json.dumps({"text": one}, ensure_ascii=False) for one in texts(0, kind, 60)]
        (folder / f"{kind}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return folder


def save(folder, corpus_texts, *, seed, vocab=400, context=CONTEXT):
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(corpus_texts, vocab_size=vocab, special_tokens=["<|endoftext|>"])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=vocab, n_positions=context, n_embd=32, n_layer=2, n_head=2
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    learned = texts(1, "zh", 40) + texts(1, "en", 40)
    return save(tmp_path_factory.mktemp("gpt2"), learned, seed=0)


def own_losses(name, ids):
    """Loss of each predicted token by Hugging Face's own forward, one sequence at a time."""
    model = transformers.AutoModelForCausalLM.from_pretrained(name).eval()
    with torch.no_grad():
        rows = torch.tensor([ids])
        mean = model(rows, labels=rows).loss.double().item()
    return mean * (len(ids) - 1)


@pytest.fixture(scope="module")
def ragged(gpt2):
    model = huggingface.HubModel(gpt2)
    made = []
    chance = np.random.default_rng(0)
    for domain, kind in enumerate(("zh", "en")):
        for text in texts(2, kind, 9):
            ids = list(model.encode(text))[: int(chance.integers(3, CONTEXT + 1))]
            made.append(
                PanelSequence(
                    domain=domain, tokens=np.array(ids), num_bytes=len(text.encode()), text=text
                )
            )
    return FixedPanel(sequences=tuple(made), domains=("zh", "en"), tokenizer=model.tokenizer)


def test_perplexity_of_ragged_sequences_is_that_of_the_models_own_losses(gpt2, ragged):
    record = huggingface.HubModel(gpt2).measure(ragged, batch_size=4)
    for domain in (0, 1):
        mine = [one.tokens.tolist() for one in ragged.sequences if one.domain == domain]
        nll = math.fsum(own_losses(gpt2, ids) for ids in mine)
        tokens = sum(len(ids) - 1 for ids in mine)
        assert record.tokens[domain] == tokens
        found = math.exp(record.nll[domain] / record.tokens[domain])
        assert found == pytest.approx(math.exp(nll / tokens), rel=1e-6)


def test_the_batch_does_not_change_a_sequences_loss(gpt2, ragged):
    model = huggingface.HubModel(gpt2)
    one, many = model.measure(ragged, batch_size=1), model.measure(ragged, batch_size=18)
    assert np.concatenate(one.losses) == pytest.approx(np.concatenate(many.losses), rel=1e-6)


def test_packed_documents_are_credited_to_their_own_domains(gpt2, ragged):
    first = next(one for one in ragged.sequences if one.domain == 0).tokens[:20]
    second = next(one for one in ragged.sequences if one.domain == 1).tokens[:15]
    ids = np.concatenate([first, second])
    packed = PanelSequence(
        domain=0,
        tokens=ids,
        num_bytes=99,
        segments=(
            PanelSegment(begin=0, domain=0, source="a", num_bytes=60),
            PanelSegment(begin=len(first), domain=1, source="b", num_bytes=39),
        ),
    )
    panel = FixedPanel(sequences=(packed,), domains=("zh", "en"))
    record = huggingface.HubModel(gpt2).measure(panel)
    model = transformers.AutoModelForCausalLM.from_pretrained(gpt2).eval()
    with torch.no_grad():
        logits = model(torch.tensor(ids[None, :-1])).logits[0].double()
    each = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
    edge = len(first) - 1  # the second's first token is a target of the first's last
    assert record.tokens == (edge, len(ids) - 1 - edge)
    assert record.bytes == (60, 39)
    for domain, part in enumerate((each[:edge], each[edge:])):
        found = math.exp(record.nll[domain] / record.tokens[domain])
        assert found == pytest.approx(part.mean().exp().item(), rel=1e-6)


def quoted(items):
    """As lm-eval 0.4 has it in api/metrics.py: items of (loglikelihood, bytes of the text)."""
    return -(sum(own for own, _ in items) / sum(weight for _, weight in items)) / math.log(2)


def lm_evals_own(items):
    metrics = pytest.importorskip("lm_eval.api.metrics", reason="lm_eval is not installed")
    return metrics.bits_per_byte(items)


@pytest.mark.parametrize("formula", [quoted, lm_evals_own])
def test_bits_per_byte_are_lm_evals_on_original_bytes(gpt2, ragged, formula):
    # A text weighs len(text.encode("utf-8")), as in lm-eval's tasks/wikitext/preprocess_wikitext.py.
    items = [
        (-own_losses(gpt2, one.tokens.tolist()), len(one.text.encode("utf-8")))
        for one in ragged.sequences
        if one.domain == 0
    ]
    record = huggingface.HubModel(gpt2).measure(ragged)
    sums = DomainSums(nll=record.nll[0], tokens=record.tokens[0], bytes=record.bytes[0])
    assert sums.bits_per_byte == pytest.approx(formula(items), rel=1e-6)


def test_a_drawn_window_counts_the_bytes_that_it_predicts(gpt2, corpus):
    panel, _ = huggingface.look(gpt2, texts=[str(corpus)], per_domain=40)
    model = huggingface.HubModel(gpt2)
    for one in panel.sequences:
        whole = len(model._tokenizer.decode(one.tokens.tolist()).encode())
        first = len(model._tokenizer.decode(one.tokens.tolist()[:1]).encode())
        assert abs(whole - first - one.num_bytes) <= 2  # a character may be cut by its first token


def test_texts_are_domains_by_name_or_by_what_lies_in_a_folder(corpus):
    assert huggingface.named_texts(["a=x", "b/c=y"]) == {"a": "x", "b/c": "y"}
    found = huggingface.named_texts([str(corpus)])
    assert set(found) == {"zh", "en"}
    with pytest.raises(SettingError, match="domain once"):
        huggingface.named_texts(["a=x", "a=y"])
    with pytest.raises(SettingError, match="no text of its own"):
        huggingface.named_texts(["a="])


def test_a_panel_of_another_tokenizer_is_refused(gpt2, ragged, tmp_path):
    other = save(tmp_path, texts(5, "en", 40), seed=0, vocab=300)
    with pytest.raises(PanelError, match="another|other words"):
        huggingface.HubModel(other).measure(ragged)


def test_windows_longer_than_the_model_are_refused(gpt2, ragged, tmp_path):
    short = save(tmp_path, texts(1, "zh", 40) + texts(1, "en", 40), seed=0, context=16)
    with pytest.raises(SettingError, match="16 at most"):
        huggingface.HubModel(short).measure(ragged)


def test_a_model_that_is_not_there_says_what_to_write(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SettingError, match="Write a folder with config.json"):
        huggingface.HubModel(str(tmp_path))


def test_a_text_that_is_not_there_is_named(gpt2, tmp_path):
    with pytest.raises(CorpusError, match="gives the domain zh no text"):
        huggingface.look(gpt2, texts=[f"zh={tmp_path / 'nothing'}"])


class TestTheCommand:
    def run(self, capsys, *arguments):
        status = cli.main(["panel", *[str(one) for one in arguments]])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    def test_it_draws_keeps_and_compares(self, capsys, gpt2, corpus, tmp_path):
        panel, told = tmp_path / "panel.jsonl", tmp_path / "a.json"
        status, out, _ = self.run(
            capsys, gpt2, "--texts", f"zh={corpus}/zh.jsonl", f"en={corpus}/en.jsonl",
            "--out", panel, "--per-domain", 40, "--json",
        )  # fmt: skip
        assert status == 0
        told.write_text(out)
        first = json.loads(out)
        assert first["panel"] == FixedPanel.read(panel).digest
        other = save(tmp_path / "b", texts(1, "zh", 40) + texts(1, "en", 40), seed=7)
        status, out, _ = self.run(capsys, other, "--panel", panel, "--against", told)
        assert status == 0
        assert gpt2 in out
        status, out, _ = self.run(capsys, gpt2, "--panel", panel, "--against", told, "--json")
        again = json.loads(out)
        assert all(one["since"]["nats"] == 0.0 for one in again["domains"])

    def test_measurements_on_different_panels_are_not_paired(self, capsys, gpt2, corpus, tmp_path):
        told = tmp_path / "a.json"
        _, out, _ = self.run(
            capsys, gpt2, "--texts", f"zh={corpus}/zh.jsonl", "--per-domain", 30, "--json"
        )
        told.write_text(out)
        status, _, error = self.run(
            capsys, gpt2, "--texts", f"zh={corpus}/zh.jsonl", "--per-domain", 30, "--seed", 1,
            "--against", told,
        )  # fmt: skip
        assert status == 2
        assert "cannot be paired" in error

    def test_options_of_a_run_and_of_a_model_do_not_go_together(self, capsys, gpt2, corpus):
        status, _, error = self.run(capsys, gpt2, "--texts", str(corpus), "--step", 0)
        assert status == 2
        assert "--step is of a run" in error

    def test_a_model_without_texts_says_what_is_missing(self, capsys, gpt2):
        status, _, error = self.run(capsys, gpt2)
        assert status == 2
        assert "--texts zh=PATH" in error
