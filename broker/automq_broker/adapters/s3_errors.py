"""Errors of boto3 and obstore as errors of a bucket: one place, one remedy each, and no secret in any message.

The original exceptions are dropped, not chained: their texts carry signed requests, access key ids and whole response
bodies, and a traceback would print them.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from botocore import exceptions as boto
from obstore import exceptions as obs

from automq_broker.kernel.errors import AutomqError, Corrupt
from automq_broker.ports import BucketDenied, BucketUnavailable, NotFound, PreconditionFailed

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,80})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})</Message>")
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")
_INNERMOST = re.compile(r'(?:message|error): "([^"]{1,200})"')
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}\b")

_BAD_CERTIFICATE = "InvalidCertificate"
_TRUST_HINT = (
    "the endpoint's certificate is checked against caFile in the bucket URI, else AWS_CA_BUNDLE, else the system"
)
_CONFLICTS = {"PreconditionFailed", "ConditionalRequestConflict"}
_TRANSIENT = {
    "BadDigest",
    "IncompleteBody",
    "InternalError",
    "InvalidPart",
    "NoSuchUpload",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "Throttling",
    "ThrottlingException",
    "XAmzContentSHA256Mismatch",
}
"""Codes that come with a 4xx or 404 status here or there and still mean: do the whole call again."""

_TRANSIENT_STATUS = {0, 408, 429, *range(500, 600)}
"""0 stands for no answer at all."""

_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.NoRegionError,
    boto.ProfileNotFound,
    boto.ConfigParseError,
    boto.InvalidEndpointDiscoveryConfigurationError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a store answered, as far as anyone may read it. `status` is 0 when no answer came."""

    status: int
    code: str
    message: str

    def __str__(self) -> str:
        words = (str(self.status) if self.status else "", self.code, self.message)
        return _KEY_ID.sub("<access key id>", " ".join(word for word in words if word))


@contextmanager
def translated(subject: str) -> Iterator[None]:
    """Turn any error of boto3 or obstore inside the block into one of the port's, with `subject` in front."""
    try:
        yield
    except boto.ClientError as error:
        raise family(_answer_of_boto(error), subject) from None
    except boto.BotoCoreError as error:
        reason = f"{subject}: {_KEY_ID.sub('<access key id>', str(error))}"
        if isinstance(error, boto.SSLError):
            raise BucketDenied(f"{reason}: {_TRUST_HINT}") from None
        if isinstance(error, _NO_CREDENTIALS):
            raise BucketDenied(reason) from None
        raise BucketUnavailable(reason) from None
    except (obs.BaseError, FileNotFoundError) as error:
        raise family(_answer_of_obstore(error), subject) from None


def family(answer: Answer, subject: str) -> AutomqError:
    """The error that fits an answer; the remedy is the family's (see ports.py)."""
    text = f"{subject}: {answer}"
    if answer.code in _CONFLICTS or answer.status == 412:
        return PreconditionFailed(text)
    if answer.code in _TRANSIENT or (answer.status in _TRANSIENT_STATUS and answer.code != _BAD_CERTIFICATE):
        return BucketUnavailable(text)
    if answer.status == 404 and answer.code != "NoSuchBucket":
        return NotFound(text)
    if answer.status == 409:
        return PreconditionFailed(text)
    if answer.status == 416:
        return Corrupt(f"{text}: the object is shorter than its metadata says")
    return BucketDenied(text)


def _answer_of_boto(error: boto.ClientError) -> Answer:
    found = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = str(found.get("Code", ""))
    return Answer(status=status, code="" if code.isdigit() else code, message=str(found.get("Message", ""))[:300])


def _answer_of_obstore(error: Exception) -> Answer:
    text = str(error)
    status, code, message = _STATUS.search(text), _CODE.search(text), _MESSAGE.search(text)
    if status is None and (certificate := _CERTIFICATE.search(text)) is not None:
        # No retry mends a certificate, so this must not read as a store that is merely away.
        return Answer(status=0, code=_BAD_CERTIFICATE, message=f"{certificate[1]}: {_TRUST_HINT}")
    return Answer(
        status=int(status[1]) if status else _status_of(error),
        code=code[1] if code else "",
        message=message[1] if message else ("" if status else _transport_reason(text)),
    )


def _status_of(error: Exception) -> int:
    """What the exception's class alone tells, for answers without a body."""
    match error:
        case FileNotFoundError():
            return 404
        case obs.AlreadyExistsError() | obs.PreconditionError():
            return 412
        case obs.PermissionDeniedError():
            return 403
        case obs.UnauthenticatedError():
            return 401
        case _:
            return 0


def _transport_reason(text: str) -> str:
    """The first line without the request, and the innermost cause out of the dump below it."""
    first, _, dump = text.partition("\n")
    causes = _INNERMOST.findall(dump)
    return ": ".join([first.rpartition(" - ")[2][:200], *causes[-1:]])


__all__ = ["Answer", "family", "translated"]
