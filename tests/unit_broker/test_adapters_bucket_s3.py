"""adapters/s3_*.py: every foreign error has one meaning, no secret leaves, buffers are free only when they are."""

import asyncio
import io
import socket
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import boto3
import pytest
from automq_broker.adapters.bucket_uri import S3Location, open_bucket, parse_bucket_uri
from automq_broker.adapters.s3_bucket import S3Bucket, open_s3_bucket
from automq_broker.adapters.s3_clients import make_clients
from automq_broker.adapters.s3_errors import translated
from automq_broker.adapters.s3_multipart import PARTS_MAX, MultipartTarget, SegmentReader, split_parts, upload_multipart
from automq_broker.kernel.errors import Corrupt
from automq_broker.ports import BucketDenied, BucketUnavailable, NotFound, PreconditionFailed
from botocore import exceptions as boto
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore import exceptions as obs

KEY_ID, SECRET = "AKIAQQQQQQQQQQQQQQQQ", "very/secret+value"


@pytest.fixture(autouse=True)
def credentials(monkeypatch, tmp_path):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


def boto_error(status, code):
    answer = {"Error": {"Code": code, "Message": f"about {KEY_ID}"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(answer, "PutObject")


def obstore_error(kind, status, code):
    body = f"<Error><Code>{code}</Code><Message>about {KEY_ID}</Message><StringToSign>{SECRET}</StringToSign></Error>"
    first = "Generic S3 error: Error performing PUT http://h/b/k in 1ms - Server returned non-2xx status code"
    return kind(f"{first}: {status} X: {body}")


CASES = [
    (404, "NoSuchKey", NotFound),
    (404, "", NotFound),
    (404, "NoSuchBucket", BucketDenied),
    (404, "NoSuchUpload", BucketUnavailable),
    (412, "PreconditionFailed", PreconditionFailed),
    (409, "ConditionalRequestConflict", PreconditionFailed),
    (409, "OperationAborted", BucketUnavailable),
    (416, "InvalidRange", Corrupt),
    (400, "RequestTimeout", BucketUnavailable),
    (400, "BadDigest", BucketUnavailable),
    (400, "InvalidArgument", BucketDenied),
    (400, "ExpiredToken", BucketDenied),
    (401, "Unauthorized", BucketDenied),
    (403, "AccessDenied", BucketDenied),
    (403, "SignatureDoesNotMatch", BucketDenied),
    (301, "PermanentRedirect", BucketDenied),
    (429, "TooManyRequests", BucketUnavailable),
    (500, "InternalError", BucketUnavailable),
    (503, "SlowDown", BucketUnavailable),
    (504, "", BucketUnavailable),
]


@pytest.mark.parametrize(("status", "code", "family"), CASES)
@pytest.mark.parametrize("library", ["boto3", "obstore"])
def test_every_answer_has_one_family_and_its_reason_and_no_secret(status, code, family, library):
    kind = FileNotFoundError if status == 404 else obs.GenericError
    error = boto_error(status, code) if library == "boto3" else obstore_error(kind, status, code)
    with pytest.raises(family) as caught, translated("put meta/head"):
        raise error
    shown = "".join(traceback.format_exception(caught.value))
    assert "put meta/head" in str(caught.value)
    assert code in str(caught.value)
    assert KEY_ID not in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("error", "family"),
    [
        (boto.NoCredentialsError(), BucketDenied),
        (boto.ProfileNotFound(profile="x"), BucketDenied),
        (boto.SSLError(endpoint_url="https://h", error="certificate verify failed"), BucketDenied),
        (boto.EndpointConnectionError(endpoint_url="http://h"), BucketUnavailable),
        (boto.ReadTimeoutError(endpoint_url="http://h"), BucketUnavailable),
        (boto.ConnectionClosedError(endpoint_url="http://h"), BucketUnavailable),
        (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), BucketUnavailable),
        (obs.GenericError("Error performing GET http://h/b - HTTP error: reset\n\nDebug: x"), BucketUnavailable),
        (
            obs.GenericError("Error performing GET http://h - HTTP error: x\n\nInvalidCertificate(\n  Expired,"),
            BucketDenied,
        ),
        (obs.AlreadyExistsError("exists"), PreconditionFailed),
        (obs.PreconditionError("no"), PreconditionFailed),
        (obs.PermissionDeniedError("no"), BucketDenied),
        (obs.UnauthenticatedError("no"), BucketDenied),
    ],
)
def test_errors_without_an_answer_have_a_family_too(error, family):
    with pytest.raises(family), translated("get k"):
        raise error


def test_nothing_that_can_be_printed_shows_a_credential():
    location = S3Location(bucket="bucket", endpoint="http://127.0.0.1:1", region="us-east-1")
    clients = make_clients(location, connections=2)
    bucket = S3Bucket(location, clients, part_bytes=1, single_put_bytes=1)
    for shown in (bucket, clients, clients.bulk, clients.control, location):
        assert SECRET not in repr(shown)
        assert KEY_ID not in repr(shown)


def test_no_credentials_anywhere_is_denied_at_the_open(monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(BucketDenied, match="s3://bucket"):
        open_bucket("s3://bucket?region=eu-west-1")


def test_bulk_asks_the_session_for_its_credentials_of_the_moment(monkeypatch):
    from automq_broker.adapters.s3_clients import _Credentials

    session = boto3.session.Session(aws_access_key_id="first", aws_secret_access_key="a")
    provider = _Credentials(session)
    assert provider()["access_key_id"] == "first"
    session.get_credentials().access_key = "second"
    assert provider()["access_key_id"] == "second"
    assert provider()["expires_at"].tzinfo is not None


@pytest.mark.parametrize(
    ("uri", "host", "path_style"),
    [
        ("s3://bucket?region=eu-west-1", "https://s3.eu-west-1.amazonaws.com", False),
        ("s3://bucket?endpoint=https://store.example:9000", "https://store.example:9000", False),
        ("s3://bucket?endpoint=https://store.example:9000&pathStyle=true", "https://store.example:9000", True),
        ("s3://my.bucket?region=eu-west-1", "https://s3.eu-west-1.amazonaws.com", True),
        ("s3://bucket?endpoint=http://127.0.0.1:9000", "http://127.0.0.1:9000", True),
    ],
)
def test_both_clients_address_the_bucket_in_the_same_style(uri, host, path_style):
    clients = make_clients(parse_bucket_uri(uri), connections=2)
    assert clients.control.meta.endpoint_url == host
    assert clients.control.meta.config.s3["addressing_style"] == ("path" if path_style else "virtual")
    config = clients.bulk.config
    assert str(config["virtual_hosted_style_request"]).lower() == str(not path_style).lower()
    assert config["endpoint"] == (host if path_style else host.replace("//", "//bucket."))


@pytest.mark.parametrize(
    ("region", "endpoint"),
    [
        ("cn-north-1", "https://bucket.s3.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "https://bucket.s3.us-gov-west-1.amazonaws.com"),
    ],
)
def test_other_partitions_of_aws_have_their_own_names_for_both_clients(region, endpoint):
    assert (
        make_clients(parse_bucket_uri(f"s3://bucket?region={region}"), connections=2).bulk.config["endpoint"]
        == endpoint
    )


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_what_the_uri_leaves_open_both_clients_take_from_awss_own_settings(monkeypatch, variable):
    monkeypatch.setenv(variable, "http://127.0.0.1:9000")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    clients = make_clients(parse_bucket_uri("s3://bucket"), connections=2)
    assert clients.control.meta.endpoint_url == clients.bulk.config["endpoint"] == "http://127.0.0.1:9000"
    assert clients.control.meta.config.s3["addressing_style"] == "path"
    assert clients.control.meta.region_name == clients.bulk.config["region"] == "eu-central-1"


def test_encryption_reaches_both_clients():
    location = parse_bucket_uri("s3://bucket?region=eu-west-1&sse=aws:kms&kmsKeyId=key-1")
    bucket = open_s3_bucket(location)
    assert bucket._encryption == {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-1"}
    assert bucket._bulk.config["sse_kms_key_id"] == "key-1"
    asyncio.run(bucket.close())


def test_a_store_that_does_not_answer_is_unavailable_for_every_call():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        bucket = open_bucket(f"s3://bucket?region=x&endpoint=http://127.0.0.1:{closed.getsockname()[1]}")

        async def scenario():
            for call in (
                partial(bucket.get, "k"),
                partial(bucket.get, "k", 0, 5),
                partial(bucket.get_with_etag, "k"),
                partial(bucket.put, "k", [b"x"]),
                partial(bucket.put_if_match, "k", b"x", "e"),
                partial(bucket.head, "k"),
                partial(bucket.list, "k"),
                partial(bucket.delete_many, ["k"]),
            ):
                with pytest.raises(BucketUnavailable, match=r"refused|Could not connect"):
                    await call()
            await bucket.close()

        asyncio.run(scenario())


segments = st.lists(st.binary(max_size=40), max_size=20)


@settings(max_examples=100, deadline=None)
@given(segments, st.integers(1, 60))
def test_parts_are_cut_at_the_size_and_hold_every_byte_in_order(pieces, size):
    parts = split_parts(pieces, size)
    whole = b"".join(pieces)
    assert b"".join(bytes(piece) for part in parts for piece in part) == whole
    lengths = [sum(map(len, part)) for part in parts]
    assert all(length == size for length in lengths[:-1])
    assert lengths[-1] <= size


def test_no_object_has_more_parts_than_s3_takes():
    assert len(split_parts([bytes(PARTS_MAX * 3)], 1)) <= PARTS_MAX


@settings(max_examples=60, deadline=None)
@given(segments)
def test_a_body_reads_the_same_each_time_it_is_read(pieces):
    reader = SegmentReader(pieces)
    whole = b"".join(pieces)
    for _ in range(2):
        got = io.BytesIO()
        while chunk := reader.read(16):
            got.write(chunk)
        assert got.getvalue() == whole
        assert reader.tell() == len(whole) == len(reader)
        reader.seek(0)
    assert reader.read() == whole


def test_large_segments_of_a_body_are_handed_on_and_small_ones_joined():
    large = bytes(1_000_000)
    reader = SegmentReader([large, b"a", b"b", large])
    assert reader.read(10) is large
    assert reader.read(10) == b"ab"
    assert reader.read(10) is large


class FakeClient:
    """Just enough of boto3's client for an upload in parts; `fail` names the part or step that fails."""

    def __init__(self, fail=None, status=503):
        self.fail, self.status, self.calls, self.lock = fail, status, [], threading.Lock()

    def _call(self, name, answer):
        with self.lock:
            self.calls.append(name)
        if name == self.fail:
            raise boto_error(self.status, "PreconditionFailed" if self.status == 412 else "SlowDown")
        return answer

    def create_multipart_upload(self, **_):
        return self._call("create", {"UploadId": "u"})

    def upload_part(self, *, PartNumber, Body, **_):
        assert Body.read()
        return self._call(PartNumber, {"ETag": str(PartNumber)})

    def complete_multipart_upload(self, *, MultipartUpload, **condition):
        assert [part["PartNumber"] for part in MultipartUpload["Parts"]] == [1, 2, 3]
        return self._call("complete" if condition.get("IfNoneMatch") == "*" else "unconditional", {"ETag": "e"})

    def abort_multipart_upload(self, **_):
        return self._call("abort", {})


def upload(client, if_absent=True):
    with ThreadPoolExecutor(2) as pool:
        target = MultipartTarget(client=client, pool=pool, bucket="b", key="k", encryption={}, count=lambda kind: None)
        return upload_multipart(target, [[b"1"], [b"2"], [b"3"]], if_absent=if_absent)


def test_an_upload_in_parts_carries_its_condition_to_the_completion():
    client = FakeClient()
    assert upload(client) == "e"
    assert client.calls[-1] == "complete"
    client = FakeClient()
    upload(client, if_absent=False)
    assert client.calls[-1] == "unconditional"


def test_an_upload_whose_part_fails_is_aborted():
    client = FakeClient(fail=2)
    with pytest.raises(BucketUnavailable, match="part 2"):
        upload(client)
    assert client.calls[-1] == "abort"


def test_an_upload_that_loses_its_condition_is_aborted_and_one_of_unknown_outcome_is_not():
    client = FakeClient(fail="complete", status=412)
    with pytest.raises(PreconditionFailed):
        upload(client)
    assert client.calls[-1] == "abort"
    client = FakeClient(fail="complete", status=503)
    with pytest.raises(BucketUnavailable):
        upload(client)
    assert client.calls[-1] == "complete"
