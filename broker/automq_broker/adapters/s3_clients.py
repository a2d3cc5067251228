"""Build the two clients of an S3 bucket from its location: boto3 for control, obstore for bulk.

boto3 owns sessions and credentials (environment, profile, web identity, container, instance); obstore asks the same
session for its credentials each time those run out, so a rotated role or token reaches both. What the location leaves
open (region, endpoint, trusted authorities) both take from AWS's own settings as boto3 reads them: AWS_REGION,
AWS_ENDPOINT_URL_S3, AWS_CA_BUNDLE, the profile, the partition of the region. Retries are off in both:
the engine decides what is tried again, and a conditional write that a library repeats reads as lost when it was won.
"""

import ipaddress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import NoCredentialsError
from botocore.session import get_session
from obstore.store import S3Store

from automq_broker.adapters.bucket_uri import S3Location
from automq_broker.adapters.s3_errors import translated
from automq_broker.ports import BucketDenied

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 30
_BULK_TIMEOUT_S = 120
_CREDENTIALS_FRESH = timedelta(minutes=4)
_DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Clients:
    """`control` is safe to share between threads, and so is `bulk`. Neither shows credentials in its repr."""

    control: "S3Client"
    bulk: S3Store


def make_clients(location: S3Location, *, connections: int) -> S3Clients:
    """Build both clients; asks the credential chain, not the bucket.

    Raises BucketDenied when there are no credentials, naming the places where they were looked for.
    """
    with translated(f"s3://{location.bucket}"):
        core = get_session()
        session = boto3.session.Session(botocore_session=core, region_name=location.region)
        region = session.region_name or _DEFAULT_REGION
        if session.get_credentials() is None:
            raise NoCredentialsError
        location = _with_trust(location, core.get_config_variable("ca_bundle"))
        control = _make_control(session, location, region, connections)
        if location.endpoint is None:
            location = replace(location, endpoint=control.meta.endpoint_url)
            if _is_path_style(location):
                control = _make_control(session, location, region, connections)
        return S3Clients(control=control, bulk=_make_bulk(session, location, region))


def _with_trust(location: S3Location, bundle: str | None) -> S3Location:
    """The location with the authorities of AWS_CA_BUNDLE or the profile, unless it names its own."""
    if location.ca_file is not None or not bundle:
        return location
    if not Path(bundle).is_file():
        raise BucketDenied(f"ca_bundle (AWS_CA_BUNDLE) is {bundle!r}: no such file")
    return replace(location, ca_file=Path(bundle))


def _make_control(session: boto3.session.Session, location: S3Location, region: str, connections: int) -> "S3Client":
    verify: Any = False if location.insecure else (str(location.ca_file) if location.ca_file else None)
    return session.client(
        "s3",
        region_name=region,
        endpoint_url=location.endpoint,
        verify=verify,
        config=Config(
            retries={"total_max_attempts": 1},
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            max_pool_connections=connections,
            signature_version="s3v4",
            # The signature covers the body's SHA-256: that is the end-to-end check which every S3 store knows.
            s3={"addressing_style": "path" if _is_path_style(location) else "virtual", "payload_signing_enabled": True},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            tcp_keepalive=True,
        ),
    )


def _make_bulk(session: boto3.session.Session, location: S3Location, region: str) -> S3Store:
    endpoint = location.endpoint or ""
    config: dict[str, Any] = {
        "region": region,
        "virtual_hosted_style_request": not _is_path_style(location),
        "endpoint": endpoint if _is_path_style(location) else _with_bucket(location),
    }
    if location.sse is not None:
        config["server_side_encryption"] = location.sse
    if location.kms_key_id is not None:
        config["sse_kms_key_id"] = location.kms_key_id
    options: dict[str, Any] = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=_CONNECT_TIMEOUT_S),
        "timeout": timedelta(seconds=_BULK_TIMEOUT_S),
        "allow_invalid_certificates": location.insecure,
    }
    if location.ca_file is not None:
        options["root_certificate"] = location.ca_file.read_bytes()
    return S3Store(
        location.bucket,
        config=config,  # type: ignore[arg-type]  # a TypedDict built key by key
        client_options=options,  # type: ignore[arg-type]
        retry_config={"max_retries": 0},
        credential_provider=_Credentials(session),
    )


class _Credentials:
    """Hands obstore the session's credentials of the moment; called from obstore's threads."""

    def __init__(self, session: boto3.session.Session) -> None:
        self._session = session

    def __repr__(self) -> str:
        return "_Credentials(…)"

    def __call__(self) -> Any:
        credentials = self._session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        # Frozen = one consistent triple; botocore renews it here when it is about to expire.
        frozen = credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_FRESH,
        }


def _is_path_style(location: S3Location) -> bool:
    """Asked for, or the only way that can work: names with dots break TLS, and an address has no subdomains."""
    if location.path_style or "." in location.bucket:
        return True
    host = urlsplit(location.endpoint or "").hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def _with_bucket(location: S3Location) -> str:
    scheme, _, host = (location.endpoint or "").partition("://")
    return f"{scheme}://{location.bucket}.{host}"


__all__ = ["S3Clients", "make_clients"]
