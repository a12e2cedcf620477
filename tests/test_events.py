"""Every event survives the journal, NaN and infinity included; old lines load for ever."""

import json
from pathlib import Path

import msgspec
import pytest

from steadytrain import codec, events
from tests.samples import EVERY_KIND

GOLDEN = Path(__file__).parent / "golden" / "events"


def _name(event):
    return type(event).__name__


@pytest.mark.parametrize("event", EVERY_KIND, ids=_name)
class TestEveryEvent:
    def test_survives_the_round_trip(self, event):
        line = codec.encode(event)
        assert codec.encode(codec.decode(line)) == line
        assert type(codec.decode(line)) is type(event)

    def test_is_one_line_of_plain_json_without_bare_nan(self, event):
        line = codec.encode(event)
        assert b"\n" not in line
        json.loads(line, parse_constant=lambda word: pytest.fail(f"bare {word}"))

    def test_still_reads_its_golden_line(self, event):
        golden = (GOLDEN / f"{_name(event)}.json").read_bytes().strip()
        assert codec.encode(codec.decode(golden)) == golden
        assert codec.encode(event) == golden

    def test_cannot_be_changed(self, event):
        with pytest.raises(AttributeError):
            setattr(event, event.__struct_fields__[0], None)


def test_every_kind_has_a_sample_and_a_golden_line():
    assert {_name(event) for event in EVERY_KIND} == {kind.__name__ for kind in events.KINDS}
    assert {path.stem for path in GOLDEN.glob("*.json")} == {k.__name__ for k in events.KINDS}


def test_every_kind_is_a_fact_a_judgment_or_a_deed():
    families = (events.Fact, events.Judgment, events.Deed)
    assert all(sum(issubclass(kind, one) for one in families) == 1 for kind in events.KINDS)


def test_a_field_of_a_later_version_is_ignored():
    line = b'{"kind":"RunEnded","attempt":1,"step":2,"mood":"fine"}'
    assert codec.decode(line) == events.RunEnded(attempt=1, step=2)


def test_a_kind_of_a_later_version_is_an_error():
    with pytest.raises(msgspec.ValidationError, match="Invalid value 'Dreamt'"):
        codec.decode(b'{"kind":"Dreamt"}')


def test_a_text_that_holds_the_word_null_stays_itself():
    advice = events.Advice(topic="null", text='a "null" and {"float":"nan"}')
    assert codec.decode(codec.encode(advice)) == advice
