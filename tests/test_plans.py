"""The language of plans: every action can be written, read back, and is explained when unclear."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadytrain import actions as ac
from steadytrain import plans
from steadytrain.errors import SettingError
from steadytrain.ranges import merge

STEPS = st.integers(0, 10**7)
HOLD = st.none() | STEPS
FACTORS = st.floats(1e-12, 1e6)
SHARES = st.floats(0, 1)
RANGES = st.lists(st.tuples(STEPS, st.integers(1, 900)), min_size=1, max_size=5).map(
    lambda pairs: merge((first, first + length) for first, length in pairs)
)
SETTINGS = st.one_of(
    st.builds(ac.SkipUpdate, step=STEPS),
    st.builds(ac.SkipDraws, ranges=RANGES, from_step=STEPS),
    st.builds(
        ac.ScaleLearningRate, factor=FACTORS, from_step=STEPS, hold_steps=STEPS, rewarm_steps=STEPS
    ),
    st.builds(ac.ScaleEpsilon, factor=FACTORS, from_step=STEPS),
    st.builds(
        ac.ScaleShallowGradients,
        alpha=SHARES,
        from_step=STEPS,
        hold_steps=STEPS,
        relax_steps=STEPS,
        reach=SHARES,
    ),
    st.builds(
        ac.SetZLoss,
        coefficient=SHARES,
        from_step=STEPS,
        form=st.sampled_from(["logsumexp", "max"]),
        hold_steps=HOLD,
        relax_steps=STEPS,
    ),
    st.builds(
        ac.SetClipping,
        method=st.sampled_from(["zclip", "adagc", "spikes"]),
        from_step=STEPS,
        hold_steps=HOLD,
    ),
    st.builds(ac.ResetMoments, from_step=STEPS),
    st.builds(ac.LimitUpdates, from_step=STEPS, hold_steps=HOLD),
    st.builds(ac.ClipAttention, from_step=STEPS, threshold=FACTORS, hold_steps=HOLD),
    st.builds(ac.ExcludeRank, rank=st.integers(0, 9999), from_step=STEPS),
    st.builds(ac.LeaveHost, rank=st.integers(0, 9999)),
    st.builds(ac.BeginDecay, from_step=STEPS),
    st.builds(
        ac.Cancel, remedy=st.from_regex(r"remedy-[0-9]{1,4}", fullmatch=True), from_step=STEPS
    ),
    st.builds(ac.AskPerson, question=st.text(max_size=40)),
)
PLANS = st.tuples(
    st.lists(st.builds(ac.RollBack, to_step=STEPS), max_size=1),
    st.lists(SETTINGS, min_size=1, max_size=5),
).map(lambda parts: (*parts[0], *parts[1]))

WORDS = [word for phrase in plans.PHRASES for word in phrase.example.split()]
SENTENCES = st.lists(st.sampled_from([*WORDS, ";", "from", "hold", '"']), max_size=9).map(" ".join)


@given(PLANS, STEPS)
@settings(max_examples=300, deadline=None)
def test_every_plan_can_be_written_and_read_back(plan, after):
    assert plans.parse(plans.write(plan), after=after) == plan


@given(st.text(max_size=60) | SENTENCES)
@settings(max_examples=300, deadline=None)
def test_whatever_is_written_is_a_plan_or_is_explained(text):
    try:
        plan = plans.parse(text, after=5)
    except SettingError:
        return
    assert plans.parse(plans.write(plan), after=9) == plan


@pytest.mark.parametrize(
    "text", ["ask " + "[" * 60_000, "roll back " + "9" * 60_000, "lr " + "9" * 60_000]
)
def test_a_huge_number_or_nest_is_explained_too(text):
    with pytest.raises(SettingError, match="stands where"):
        plans.parse(text, after=5)


def test_every_action_has_a_phrase_whose_example_is_read():
    kinds = ac.Plan.__args__
    assert {phrase.kind for phrase in plans.PHRASES} == set(kinds)
    for phrase in plans.PHRASES:
        (action,) = plans.parse(phrase.example, after=5000)
        assert type(action) is phrase.kind
        assert phrase.example in plans.manual()


def test_every_field_of_an_action_can_be_written():
    for phrase in plans.PHRASES:
        named = {phrase.value, *phrase.options.values(), "from_step"} - {None}
        assert set(phrase.kind.__struct_fields__) <= named


def test_a_setting_holds_from_now_on_or_from_where_a_rollback_leads():
    assert plans.parse("epsilon 0.1", after=50) == (ac.ScaleEpsilon(factor=0.1, from_step=50),)
    both = plans.parse("epsilon 0.1; roll back 40", after=50)
    assert both == (ac.ScaleEpsilon(factor=0.1, from_step=40), ac.RollBack(to_step=40))
    assert plans.parse("epsilon 0.1 from 60", after=50)[0].from_step == 60


def test_draws_are_named_from_first_to_last():
    (skip,) = plans.parse("skip draws 5000-6000, 7012", after=1)
    assert skip.ranges == ((5000, 6001), (7012, 7013))


def test_a_rollback_may_be_counted_from_now():
    assert plans.parse("roll back by 100", after=812) == (ac.RollBack(to_step=712),)
    assert plans.parse("Roll Back to 7", after=812) == (ac.RollBack(to_step=7),)
    assert plans.parse("roll back by 100", after=5) == (ac.RollBack(to_step=0),)


def test_lines_and_chinese_semicolons_separate_as_well():
    found = plans.parse("reset moments\nlimit updates\uff1bbegin decay;", after=3)
    assert [type(one).__name__ for one in found] == ["ResetMoments", "LimitUpdates", "BeginDecay"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the plan is empty"),
        (" ; ", "the plan is empty"),
        ("warp 9", "'warp 9' is no action"),
        ("lr", "'' stands where a number above 0"),
        ("lr zero hold 1 rewarm 2", "'zero' stands where a number above 0"),
        ("lr -1 hold 1 rewarm 2", "'-1' stands where"),
        ("lr nan hold 1 rewarm 2", "'nan' stands where"),
        ("lr 0.5 hold 100", "does not say 'rewarm'"),
        ("lr 0.5 hold", "'' stands where a whole number"),
        ("lr 0.5 hold 1 hold 2 rewarm 3", "stands there twice"),
        ("lr 0.5 hold 1 rewarm 2 slowly", "none of its options (hold, rewarm, from)"),
        ("lr 0.5 hold 1.5 rewarm 2", "'1.5' stands where a whole number"),
        ("skip draws 9-3", "stands where draws such as"),
        ("skip draws", "stands where draws such as"),
        ("clipping gently", "zclip or adagc or spikes"),
        ("z-loss 3", "a number from 0 to 1"),
        ("reset moments twice", "'twice' means nothing here"),
        ("roll back 5; roll back 6", "rolls back twice, to 5 and to 6"),
        ('ask "why', "a question in double quotes"),
        ("exclude rank", "the number of a rank"),
    ],
)
def test_what_cannot_be_understood_is_explained(text, words):
    with pytest.raises(SettingError) as caught:
        plans.parse(text, after=100)
    assert words in str(caught.value)
    assert "Write" in str(caught.value)


def test_a_plan_survives_json():
    plan = plans.parse("; ".join(one.example for one in plans.PHRASES), after=9)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=tuple[ac.Plan, ...]) == plan
