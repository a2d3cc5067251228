"""The API against its own description: random questions, right and wrong ones, get only answers that it announces."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from automq_broker.admin.openapi import description
from hypothesis import settings
from schemathesis.specs.openapi.checks import use_after_free
from twins.admin_api import TOKEN, serving
from twins.meta_world import MetaWorld

SCHEMA = schemathesis.openapi.from_dict(description())


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    world = MetaWorld(nodes=3)
    for partition in world.topic("orders", 6).partitions:
        world.open(partition.stream_id)
    token_file: Path = tmp_path_factory.mktemp("token") / "admin.token"
    token_file.write_text(TOKEN)
    with serving(world, token_file=token_file) as address:
        yield address


@SCHEMA.parametrize()
@settings(max_examples=40, deadline=None)
def test_every_answer_is_one_that_the_description_announces(case: schemathesis.Case, url: str) -> None:
    case.call_and_validate(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, excluded_checks=[use_after_free])
