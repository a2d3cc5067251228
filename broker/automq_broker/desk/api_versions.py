"""ApiVersions (key 18), versions 0-4.

Checked: client software name and version (v3+) must be alphanumeric with dashes and dots inside only, else
INVALID_REQUEST and the connection stays. A version above 4 never comes here: the front answers UNSUPPORTED_VERSION in
the v0 form with this key's range alone, and the client asks again (KIP-511).
Advertised is exactly what the index serves, with one exception that Kafka makes too: Produce starts at 0, because old
librdkafka takes a higher minimum for "this broker cannot do gzip" and silently sends uncompressed (KAFKA-18659).
No features are finalized: transactions (transaction.version) and the new groups (group.version) are not served.
"""

import re

from automq_broker.desk.context import RequestContext
from automq_broker.wire.apis.k18_api_versions import ApiVersion, ApiVersionsRequest, ApiVersionsResponse
from automq_broker.wire.codes import ErrorCode

API_KEY = 18
_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")


def handle(request: ApiVersionsRequest, context: RequestContext) -> ApiVersionsResponse:
    """The table of what this broker serves."""
    if context.api_version >= 3 and not (
        _SOFTWARE.fullmatch(request.client_software_name) and _SOFTWARE.fullmatch(request.client_software_version)
    ):
        return ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST)
    return ApiVersionsResponse(api_keys=[_row(key, *versions) for key, versions in context.desk.advertised.items()])


def unsupported(advertised: dict[int, tuple[int, int]]) -> ApiVersionsResponse:
    """The v0 answer to an ApiVersions request of a version that is not served."""
    return ApiVersionsResponse(error_code=ErrorCode.UNSUPPORTED_VERSION, api_keys=[_row(API_KEY, *advertised[API_KEY])])


def _row(key: int, min_version: int, max_version: int) -> ApiVersion:
    return ApiVersion(api_key=key, min_version=min_version, max_version=max_version)


__all__ = ["handle", "unsupported"]
