"""Tags of real tools find their roles; validation and auxiliary losses are no domains."""

import pytest

from steadytrain.errors import LogError
from steadytrain.readers.roles import assign


@pytest.mark.parametrize(
    ("tags", "loss", "norm", "rate"),
    [
        (["loss", "grad_norm", "learning_rate", "epoch"], "loss", "grad_norm", "learning_rate"),
        (["train/loss", "train/grad_norm", "train/learning_rate"], "train/loss",
         "train/grad_norm", "train/learning_rate"),
        (["lm loss", "grad norm", "learning rate", "loss scale"], "lm loss", "grad norm",
         "learning rate"),
        (["loss_metrics/global_avg_loss", "loss_metrics/global_max_loss", "grad_norm", "lr"],
         "loss_metrics/global_avg_loss", "grad_norm", "lr"),
        (["train/CE loss", "optim/total grad norm", "optim/LR (group 0)", "train/Z loss"],
         "train/CE loss", "optim/total grad norm", "optim/LR (group 0)"),
        (["trl", "tel", "eval", "norm", "lr"], "trl", "norm", "lr"),
        (["train_loss", "val_loss", "lr-AdamW"], "train_loss", None, "lr-AdamW"),
    ],
)  # fmt: skip
def test_tags_of_real_tools_have_their_roles(tags, loss, norm, rate):
    roles = assign(tags)
    assert (roles.loss, roles.grad_norm, roles.lr) == (loss, norm, rate)
    assert roles.domains == {}


@pytest.mark.parametrize(
    ("tag", "domain"),
    [
        ("loss/zh", "zh"), ("train/loss_code", "code"), ("loss:zh/web", "zh/web"),
        ("zh/loss", "zh"), ("train/zh_loss", "zh"), ("lm loss zh", "zh"), ("loss/train/en", "en"),
    ],
)  # fmt: skip
def test_a_domain_is_told_by_its_tag(tag, domain):
    assert assign(["loss", tag]).domains == {domain: tag}


@pytest.mark.parametrize(
    "tag", ["val_loss", "eval/loss", "loss/validation", "loss_scale", "aux_loss", "z_loss",
            "train/load_balancing_loss", "loss_ema", "lm loss validation ppl"],
)  # fmt: skip
def test_other_losses_are_no_domains(tag):
    assert assign(["loss", tag]).domains == {}


def test_what_the_user_says_goes_before_what_a_tag_looks_like():
    roles = assign(["loss", "my_curve", "web"], {"loss": "my_curve", "zh": "web"})
    assert roles.loss == "my_curve"
    assert roles.domains == {"zh": "web"}


def test_a_log_without_a_loss_says_what_it_has():
    with pytest.raises(LogError, match="reward, kl.*--tag loss=NAME"):
        assign(["reward", "kl"])
    with pytest.raises(LogError, match="There is no series 'los'"):
        assign(["loss"], {"loss": "los"})
