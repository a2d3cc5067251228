"""What a bucket URI may say, and the bucket it names.

    ./data/bucket, /var/lib/bucket, file:///var/lib/bucket        a directory
    s3://bucket/prefix?region=eu-west-1&endpoint=https://…        an S3 bucket, our form
    0@s3://bucket?region=…&endpoint=…&pathStyle=true              the same as AutoMQ writes it, the bucket's id in front

Credentials never stand in a URI: URIs are logged and shown. They come from boto3's default chain (environment, profile,
web identity, container, instance), whatever `authType` says.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from automq_broker.adapters.directory_bucket import DirectoryBucket
from automq_broker.kernel.errors import Refused
from automq_broker.ports import Bucket

_BUCKET_ID = re.compile(r"(-?\d+)@(.*)", re.DOTALL)
_BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_SECRET_KEYS = {"accesskey", "secretkey", "accesskeyid", "secretaccesskey", "sessiontoken", "token", "password"}
_ENCRYPTIONS = ("AES256", "aws:kms", "aws:kms:dsse")
_AUTH_TYPES = ("instance", "static")

QUERY_KEYS = {
    "region": "region of the bucket; default: boto3's (AWS_REGION, the profile)",
    "endpoint": "URL of an S3-compatible service; default: AWS",
    "pathStyle": "true: the bucket's name stands in the path, not in the host name; default false",
    "sse": "server-side encryption: AES256, aws:kms or aws:kms:dsse; default: the bucket's own",
    "kmsKeyId": "key for sse=aws:kms; default: the account's",
    "caFile": "PEM file with the certificate authorities to trust instead of the system's",
    "insecure": "true: do not verify the endpoint's certificate (never outside a laboratory); default false",
    "authType": "accepted because AutoMQ writes it (instance, static); boto3's default chain is used either way",
}
"""Every query key with its meaning; the configuration page is generated from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryLocation:
    """A bucket in a local directory."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Location:
    """A bucket of an S3 service. `prefix` has no slash at either end; "" = the whole bucket."""

    bucket: str
    prefix: str = ""
    region: str | None = None
    endpoint: str | None = None
    path_style: bool = False
    sse: str | None = None
    kms_key_id: str | None = None
    ca_file: Path | None = None
    insecure: bool = False


def parse_bucket_uri(uri: str) -> DirectoryLocation | S3Location:
    """Read a bucket URI; relative paths stay relative to the working directory.

    Raises Refused with one line that says what is wrong and what is allowed; it never repeats a secret.
    """
    numbered = _BUCKET_ID.fullmatch(uri.strip())
    plain = numbered[2] if numbered else uri.strip()
    if re.search(r",\s*-?\d+@\w+://", plain):
        raise Refused("several buckets in one URI: this program keeps its data in one bucket")
    scheme = plain.partition("://")[0].lower() if "://" in plain else ""
    match scheme:
        case "" if plain:
            return DirectoryLocation(path=Path(plain).expanduser())
        case "file":
            return _parse_file(plain)
        case "s3":
            return _parse_s3(plain)
        case "":
            raise Refused("an empty bucket URI; allowed are a path, file:///path and s3://bucket")
        case _:
            raise Refused(f"bucket URI with the scheme {scheme!r}; allowed are a path, file:///path and s3://bucket")


def open_bucket(uri: str) -> Bucket:
    """Open the bucket that `uri` names. A directory is created; of an S3 bucket nothing is asked yet.

    boto3 and obstore are imported for s3:// only. Raises Refused for a bad URI, BucketDenied without credentials.
    """
    location = parse_bucket_uri(uri)
    if isinstance(location, DirectoryLocation):
        return DirectoryBucket(location.path)
    from automq_broker.adapters.s3_bucket import open_s3_bucket  # noqa: PLC0415 - 40 MiB that a directory never needs

    return open_s3_bucket(location)


def _parse_file(uri: str) -> DirectoryLocation:
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise Refused(f"file URI with a host; for a relative path write the path alone, else file:///{parts.netloc}…")
    if parts.query or parts.fragment:
        raise Refused("a file URI takes no options behind ? or #")
    if not parts.path.strip("/"):
        raise Refused("file URI without a path")
    return DirectoryLocation(path=Path(unquote(parts.path)))


def _parse_s3(uri: str) -> S3Location:
    parts = urlsplit(uri)
    if "@" in parts.netloc:
        raise Refused("credentials in a bucket URI: give them by environment, profile or role instead")
    if not _BUCKET_NAME.fullmatch(parts.netloc):
        raise Refused(f"s3 URI with the bucket name {parts.netloc!r}: 3 or more letters, digits, dots or hyphens")
    prefix = unquote(parts.path).strip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise Refused(f"s3 URI with the prefix {prefix!r}: no empty parts, no dots")
    options = _options(parts.query)
    if options.get("kmsKeyId") and not options.get("sse", "").startswith("aws:kms"):
        raise Refused("kmsKeyId in the bucket URI needs sse=aws:kms")
    endpoint = options.get("endpoint")
    if endpoint is not None and not re.match(r"https?://[^/@?#]+/?$", endpoint):
        raise Refused(f"endpoint={endpoint!r} in the bucket URI: http://host:port or https://host:port is allowed")
    return S3Location(
        bucket=parts.netloc,
        prefix=prefix,
        region=options.get("region"),
        endpoint=endpoint.rstrip("/") if endpoint else None,
        path_style=_flag(options, "pathStyle"),
        sse=_choice(options, "sse", _ENCRYPTIONS),
        kms_key_id=options.get("kmsKeyId"),
        ca_file=_readable(options.get("caFile")),
        insecure=_flag(options, "insecure"),
    )


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key.lower().replace("_", "").replace("-", "") in _SECRET_KEYS:
            raise Refused(f"{key} in a bucket URI: give credentials by environment, profile or role instead")
        if key not in QUERY_KEYS:
            raise Refused(f"unknown {key!r} in the bucket URI; {_nearest(key)}allowed are {', '.join(QUERY_KEYS)}")
        if key in options:
            raise Refused(f"{key} stands twice in the bucket URI")
        if not value:
            raise Refused(f"{key} in the bucket URI has no value: {QUERY_KEYS[key]}")
        options[key] = value
    _choice(options, "authType", _AUTH_TYPES)
    return options


def _nearest(key: str) -> str:
    by_lower = {known.lower(): known for known in QUERY_KEYS}
    found = get_close_matches(key.lower(), by_lower, n=1)
    return f"did you mean {by_lower[found[0]]!r}? " if found else ""


def _flag(options: dict[str, str], key: str) -> bool:
    value = options.get(key, "false").lower()
    if value not in ("true", "false"):
        raise Refused(f"{key}={value!r} in the bucket URI: true and false are allowed")
    return value == "true"


def _choice(options: dict[str, str], key: str, allowed: tuple[str, ...]) -> str | None:
    value = options.get(key)
    if value is not None and value not in allowed:
        raise Refused(f"{key}={value!r} in the bucket URI: allowed are {', '.join(allowed)}")
    return value


def _readable(value: str | None) -> Path | None:
    if value is None:
        return None
    path = Path(value).expanduser()
    if not path.is_file():
        raise Refused(f"caFile={value!r} in the bucket URI: no such file")
    return path


__all__ = ["QUERY_KEYS", "DirectoryLocation", "S3Location", "open_bucket", "parse_bucket_uri"]
