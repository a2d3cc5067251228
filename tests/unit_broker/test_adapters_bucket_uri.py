"""adapters/bucket_uri.py: every form that is allowed, and one clear line for each that is not."""

from pathlib import Path

import pytest
from automq_broker.adapters.bucket_uri import DirectoryLocation, S3Location, open_bucket, parse_bucket_uri
from automq_broker.adapters.directory_bucket import DirectoryBucket
from automq_broker.kernel.errors import Refused


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("data/bucket", "data/bucket"),
        ("./a b", "./a b"),
        ("/var/lib/x", "/var/lib/x"),
        ("file:///var/lib/x", "/var/lib/x"),
        ("0@file:///var/x%20y", "/var/x y"),
        ("file://localhost/v", "/v"),
    ],
)
def test_a_path_or_a_file_uri_is_a_directory(uri, path):
    assert parse_bucket_uri(uri) == DirectoryLocation(path=Path(path))


def test_our_s3_form_with_everything(tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_text("x")
    uri = (
        "s3://logs/team/a?endpoint=https://s3.local:9000/&region=eu-west-1&pathStyle=true&sse=aws:kms"
        f"&kmsKeyId=arn:aws:kms:eu:1:key/2&caFile={ca}&insecure=false"
    )
    assert parse_bucket_uri(uri) == S3Location(
        bucket="logs",
        prefix="team/a",
        region="eu-west-1",
        endpoint="https://s3.local:9000",
        path_style=True,
        sse="aws:kms",
        kms_key_id="arn:aws:kms:eu:1:key/2",
        ca_file=ca,
    )


def test_the_form_that_automq_writes():
    uri = "0@s3://automq-data?region=us-east-1&endpoint=http://127.0.0.1:9000&pathStyle=true&authType=static"
    assert parse_bucket_uri(uri) == S3Location(
        bucket="automq-data", region="us-east-1", endpoint="http://127.0.0.1:9000", path_style=True
    )


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("", "empty bucket URI"),
        ("gs://b", "scheme 'gs'"),
        ("s3://ab", "bucket name"),
        ("s3://", "bucket name"),
        ("s3://bucket/a//b", "no empty parts"),
        ("s3://bucket/../x", "no dots"),
        ("s3://bucket?regoin=x", "did you mean 'region'"),
        ("s3://bucket?pathstyle=true", "did you mean 'pathStyle'"),
        ("s3://bucket?zzz=1", "allowed are region, endpoint"),
        ("s3://bucket?pathStyle=yes", "true and false"),
        ("s3://bucket?region=", "no value"),
        ("s3://bucket?region=a&region=b", "twice"),
        ("s3://bucket?sse=rot13", "allowed are AES256"),
        ("s3://bucket?kmsKeyId=k", "needs sse=aws:kms"),
        ("s3://bucket?endpoint=localhost:9000", "http://host:port"),
        ("s3://bucket?authType=magic", "instance, static"),
        ("s3://bucket?caFile=/no/such", "no such file"),
        ("0@s3://first?region=a,1@s3://second?region=b", "several buckets"),
        ("file://host/x", "file URI with a host"),
        ("file:///", "without a path"),
        ("file:///x?region=a", "no options"),
    ],
)
def test_a_wrong_uri_is_refused_with_what_is_allowed(uri, words):
    with pytest.raises(Refused, match=words):
        parse_bucket_uri(uri)


@pytest.mark.parametrize(
    "uri",
    ["s3://AKIA12345:hunter2secret@bucket", "s3://bucket?accessKey=AKIA12345&secretKey=hunter2secret"],
)
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri):
    with pytest.raises(Refused) as caught:
        parse_bucket_uri(uri)
    assert "hunter2" not in str(caught.value)
    assert "AKIA" not in str(caught.value)


def test_opening_a_path_creates_the_directory(tmp_path):
    bucket = open_bucket(str(tmp_path / "new" / "bucket"))
    assert isinstance(bucket, DirectoryBucket)
    assert (tmp_path / "new" / "bucket").is_dir()
