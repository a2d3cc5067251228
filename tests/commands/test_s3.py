"""The same commands over S3: SeaweedFS as the store, its metadata deleted, everything back."""

import shutil
from pathlib import Path

from commands.world import automq, consume, produce, started
from twins.seaweed import seaweed

RECORDS = [f"record {number}" for number in range(500)]


def test_metadata_lost_on_s3_is_rescued_and_verified(tmp_path: Path) -> None:
    with seaweed(tmp_path / "weed") as server, server.environment():
        uri = server.uri(bucket=server.make_bucket(), prefix="prod")
        where = ("--data", tmp_path / "data", "--bucket", uri)
        broker = started(tmp_path, uri)
        produce(broker, "orders", RECORDS)
        assert automq("verify", *where, "--deep").code == 0, "beside the running broker"
        broker.stop()
        ended = automq("verify", *where, "--deep", "--json")
        assert (ended.code, ended.json["objects"]) == (0, 1)
        name = uri.removeprefix("s3://").partition("/")[0]
        client = server.client()
        for key in client.list_objects_v2(Bucket=name, Prefix="prod/meta/")["Contents"]:
            client.delete_object(Bucket=name, Key=key["Key"])
        ended = automq("verify", *where)
        assert (ended.code, "`automq rescue` rebuilds it" in ended.err) == (2, True)
        assert automq("rescue", *where, "--json").json["losses"] == []
        assert automq("object", "inspect", 1, *where).code == 0
        broker = started(tmp_path, uri)
        assert list(consume(broker, "orders").values()) == RECORDS
        broker.stop()
    shutil.rmtree(tmp_path / "weed")


def test_an_unreachable_store_is_one_line_and_not_a_verdict(tmp_path: Path) -> None:
    ended = automq("verify", "--bucket", "s3://nowhere?endpoint=http://127.0.0.1:1&region=us-east-1&pathStyle=true")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
