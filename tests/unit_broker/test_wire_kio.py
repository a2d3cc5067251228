"""kio as the oracle: what we write it reads, what it writes back is byte for byte the same, and we read that.

kio never sees anything but well-formed bytes here: it is not safe on hostile ones.
"""

import io
import random

import pytest
from automq_broker.wire import codec
from automq_broker.wire.index import APIS, request_class, response_class
from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_reader, entity_writer
from twins.random_messages import random_message


@pytest.mark.parametrize("entry", APIS.values(), ids=lambda entry: entry.name)
def test_kio_reads_what_we_write_and_writes_the_same_bytes(entry):
    sides = ((request_class(entry.key), load_request_schema), (response_class(entry.key), load_response_schema))
    for version in range(entry.min_version, entry.max_version + 1):
        for message_class, load_schema in sides:
            oracle = load_schema(entry.key, version)
            read, write = entity_reader(oracle), entity_writer(oracle)
            for seed in range(3):
                message = random_message(message_class, version, random.Random(seed), is_tame=True)
                data = codec.encode(message, version)
                parsed, size = read(data, 0)
                assert size == len(data)
                back = io.BytesIO()
                write(back, parsed)
                assert back.getvalue() == data
                assert codec.decode(message_class, version, memoryview(back.getvalue())) == message
