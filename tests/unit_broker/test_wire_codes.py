"""Error codes: all of Kafka 4.3's, each with a line for people."""

from automq_broker.wire.codes import ErrorCode, message
from kio.schema.errors import ErrorCode as KioErrorCode


def test_names_and_numbers_are_those_of_kafka():
    ours = {code.value: code.name for code in ErrorCode}
    theirs = {
        int(code.value[0] if isinstance(code.value, tuple) else code.value): code.name.upper() for code in KioErrorCode
    }
    assert list(ours) == list(range(-1, 134))
    assert {number: theirs[number] for number in ours} == ours


def test_every_code_has_a_line_of_its_own():
    lines = [message(code) for code in ErrorCode]
    assert len(set(lines)) == len(lines)
    assert all((line and line[0].islower()) or line.startswith(("API", "SASL")) for line in lines if line)
    assert message(4711) == "unknown error code 4711"
