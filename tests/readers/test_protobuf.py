"""A log of records is read chunk by chunk; what is damaged costs itself and says so."""

import struct
import zlib

import pytest

from steadytrain.errors import LogError
from steadytrain.readers.protobuf import BLOCK_BYTES, GarbledError, Log, fields, number

SIGNATURE = b":TST\x01\x02"


def chunk(kind, data):
    return struct.pack("<IHB", zlib.crc32(bytes([kind]) + data), len(data), kind) + data


def log_of(signature, version, records):
    """The bytes of a log, written the obvious way."""
    made = bytearray(signature + bytes([version]))
    for record in records:
        kind = 1
        while True:
            room = BLOCK_BYTES - len(made) % BLOCK_BYTES
            if room < 7:
                made += bytes(room)
                continue
            part, record = record[: room - 7], record[room - 7 :]
            made += chunk((3 if kind == 2 else 2) if record else (4 if kind == 2 else 1), part)
            kind = 2
            if not record:
                break
    return bytes(made)


def varint(value):
    value &= 2**64 - 1
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*octets, value])


def text(field, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def whole(field, value):
    return varint(field << 3) + varint(value)


def double(field, value):
    return varint(field << 3 | 1) + struct.pack("<d", value)


@pytest.fixture
def opened(tmp_path):
    def write(octets):
        path = tmp_path / "log"
        path.write_bytes(octets)
        return Log(path=path, tool="Tester", signature=SIGNATURE, versions=(0,))

    return write


SIZES = (0, 1, 100, 32_741 - 108, 40_000, 100_000, 32_761, 5)
RECORDS = [bytes([65 + i]) * size for i, size in enumerate(SIZES)]


def test_records_of_every_size_are_read(opened):
    log = opened(log_of(SIGNATURE, 0, RECORDS))
    assert list(log.records()) == RECORDS
    assert log.remarks() == []


@pytest.mark.parametrize("spare", range(16))
def test_a_record_may_end_anywhere_before_the_end_of_a_block(opened, spare):
    records = [b"a" * (BLOCK_BYTES - 14 - spare), b"b" * 20, b"c"]
    log = opened(log_of(SIGNATURE, 0, records))
    assert list(log.records()) == records
    assert log.remarks() == []


@pytest.mark.parametrize("cut", [*range(8, 60, 5), *range(32_700, 33_000, 29), 140_000])
def test_of_a_log_cut_off_the_whole_records_are_read(opened, cut):
    octets = log_of(SIGNATURE, 0, RECORDS)
    log = opened(octets[:cut])
    found = list(log.records())
    assert found == RECORDS[: len(found)]
    assert len(log.remarks()) <= 1


def test_a_log_cut_off_between_two_records_needs_no_remark(opened):
    log = opened(log_of(SIGNATURE, 0, RECORDS[:3]))
    assert list(log.records()) == RECORDS[:3]
    assert log.torn is None


def test_a_record_in_parts_without_its_last_is_torn_where_it_begins(opened):
    log = opened(log_of(SIGNATURE, 0, [b"a" * 10, b"b" * 70_000])[:65_536])
    assert list(log.records()) == [b"a" * 10]
    assert log.torn == 7 + 17


def test_a_flipped_bit_costs_one_record(opened):
    octets = bytearray(log_of(SIGNATURE, 0, [b"aaaa", b"bbbb", b"cccc"]))
    octets[7 + 11 + 8] ^= 1
    log = opened(bytes(octets))
    assert list(log.records()) == [b"aaaa", b"cccc"]
    assert log.remarks() == ["bytes 18 to 28 hold no record; skipped"]


def test_a_wrong_size_costs_one_record(opened):
    records = [bytes([65 + i]) * 1000 for i in range(60)]
    octets = bytearray(log_of(SIGNATURE, 0, records))
    octets[7 + 1007 + 5] ^= 0x40
    octets[-1007 + 5] ^= 0x40  # larger than what is left
    octets[-2014 + 5] ^= 0x40
    log = opened(bytes(octets))
    assert list(log.records()) == [records[0], *records[2:-2]]
    assert log.gaps == [(7 + 1007, 7 + 2014)]
    assert log.torn == len(octets) - 2014


def test_a_wrong_size_before_the_end_is_not_taken_for_the_end(opened):
    octets = bytearray(log_of(SIGNATURE, 0, [b"a", b"b", b"c"]))
    octets[15 + 4] = 200
    log = opened(bytes(octets))
    assert list(log.records()) == [b"a", b"c"]
    assert log.remarks() == ["bytes 15 to 22 hold no record; skipped"]


def test_a_damaged_part_costs_the_whole_record_in_parts_only(opened):
    octets = bytearray(log_of(SIGNATURE, 0, [b"a", b"b" * 100_000, b"c"]))
    octets[40_000] ^= 1
    log = opened(bytes(octets))
    assert list(log.records()) == [b"a", b"c"]
    assert log.gaps == [(15, len(octets) - 8)]


def test_parts_without_a_beginning_and_without_an_end_are_no_record(opened):
    head = SIGNATURE + b"\0"
    orphans = [chunk(3, b"x"), chunk(4, b"x"), chunk(2, b"x"), chunk(1, b"a"), chunk(2, b"x")]
    log = opened(head + b"".join([*orphans, chunk(2, b"b"), chunk(4, b"c")]))
    assert list(log.records()) == [b"a", b"bc"]
    assert log.gaps == [(7, 31), (39, 47)]


def test_zeros_at_the_end_hold_no_record(opened):
    log = opened(log_of(SIGNATURE, 0, [b"a"]) + bytes(50))
    assert list(log.records()) == [b"a"]
    assert log.remarks() == ["bytes 15 to 64 hold no record; skipped"]


def test_many_gaps_are_summed_up(opened):
    octets = bytearray(log_of(SIGNATURE, 0, [b"a"] * 20))
    for at in range(7 + 7, 7 + 160, 16):
        octets[at] ^= 1
    log = opened(bytes(octets))
    assert list(log.records()) == [b"a"] * 10
    assert log.remarks()[-1] == "56 bytes at 7 more places hold no record; skipped"


@pytest.mark.parametrize("octets", [b"", b":TST", SIGNATURE, b"#" * 100])
def test_another_file_is_refused_with_a_reason(opened, octets):
    with pytest.raises(LogError, match="does not begin as the files of Tester do"):
        list(opened(octets).records())


def test_another_version_is_refused_with_a_reason(opened):
    with pytest.raises(LogError, match="version 3 .* only 0 can"):
        list(opened(log_of(SIGNATURE, 3, [b"a"])).records())


def test_a_file_that_is_not_there_is_refused_with_a_reason(tmp_path):
    log = Log(path=tmp_path / "gone", tool="Tester", signature=SIGNATURE, versions=(0,))
    with pytest.raises(LogError, match="cannot be read"):
        list(log.records())


def test_the_fields_of_a_message_are_read():
    message = whole(1, 300) + double(2, 1.5) + text(300, "x" * 200) + b"\x2d" + b"four"
    assert list(fields(message)) == [
        (8, varint(300)),
        (17, struct.pack("<d", 1.5)),
        (300 << 3 | 2, b"x" * 200),
        (45, b"four"),
    ]


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**63 - 1, -1, -(2**63)])
def test_a_number_comes_back(value):
    assert number(varint(value)) == value


@pytest.mark.parametrize(
    "octets", [b"\x0a", b"\x0a\x05abc", b"\x08", b"\x09abc", b"\x0b", b"\xff" * 20]
)
def test_what_is_no_message_is_told(octets):
    with pytest.raises(GarbledError):
        list(fields(octets))
