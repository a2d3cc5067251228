"""The private APIs (keys 20000 to 20005), version 0, served on the inter-broker listener and nowhere else.

Checked: a peer is nobody until it has proven the cluster's shared secret (NodeHello, then NodeProof, once per
connection); until then the front takes small frames only, for a few seconds, and nothing but these two. A caller of
another cluster or with another secret is told so in words and stays nobody.
Not encrypted here: give the listener TLS where the network is not trusted.
"""

import secrets
from collections.abc import Callable
from typing import Any, Protocol

from automq_broker.cluster.proof import NONCE_BYTES, Greeting, Secret, is_same
from automq_broker.engine.metadata_service import MetadataService
from automq_broker.kernel.errors import CloseConnection
from automq_broker.wire.apis.k20000_node_hello import NodeHelloRequest, NodeHelloResponse
from automq_broker.wire.apis.k20001_node_proof import NodeProofRequest, NodeProofResponse
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.frames import RequestHeader
from automq_broker.wire.index import PRIVATE_APIS

HELLO, PROOF, SUBMIT_COMMANDS, NODE_HEARTBEAT, TAIL_METADATA, DESCRIBE_NODES = range(20000, 20006)
BEFORE_PROOF = frozenset({HELLO, PROOF})
WAITING = frozenset({TAIL_METADATA})
"""APIs that wait by design."""

ACCEPTED = frozenset((key, entry.max_version) for key, entry in PRIVATE_APIS.items())
_GREETINGS_MAX = 1_000


class Caller(Protocol):
    """The connection of a peer."""

    connection_id: int
    principal: str | None


class MustProve:
    """An authenticator for the inter-broker listener: nobody is anybody when the connection opens."""

    def principal(self, certificate_name: str | None) -> None:
        """Never a principal, whatever the certificate says: only the shared secret counts."""


class PrivateDesk:
    """What one broker answers to the others."""

    def __init__(
        self, *, service: MetadataService, secret: Secret, node_id: int, cluster_id: Callable[[], str]
    ) -> None:
        self._service = service
        self._secret = secret
        self._node_id = node_id
        self._cluster_id = cluster_id
        self._greetings: dict[int, Greeting | None] = {}

    def serve(self, header: RequestHeader, request: Any, caller: Caller) -> Any:
        """The answer, or something to wait for. The front lets only HELLO and PROOF through before the proof."""
        match header.api_key:
            case 20000:
                return self._greet(request, caller)
            case 20001:
                return self._judge(request, caller)
            case 20002:
                return self._service.submit_commands(request)
            case 20003:
                return self._service.heartbeat(request)
            case 20004:
                return self._service.tail(request)
            case _:
                return self._service.describe_nodes(request)

    def _greet(self, request: NodeHelloRequest, caller: Caller) -> NodeHelloResponse:
        if caller.connection_id in self._greetings:
            raise CloseConnection("a second greeting")
        if request.cluster_id != self._cluster_id():
            message = f"this is cluster {self._cluster_id()}, not {request.cluster_id}"
            return NodeHelloResponse(error_code=ErrorCode.INCONSISTENT_CLUSTER_ID, error_message=message)
        greeting = Greeting(
            cluster_id=request.cluster_id,
            caller_id=request.node_id,
            called_id=self._node_id,
            caller_nonce=bytes(request.nonce),
            called_nonce=secrets.token_bytes(NONCE_BYTES),
        )
        self._remember(caller, greeting)
        return NodeHelloResponse(node_id=self._node_id, nonce=greeting.called_nonce)

    def _judge(self, request: NodeProofRequest, caller: Caller) -> NodeProofResponse:
        greeting = self._greetings.get(caller.connection_id)
        if greeting is None:
            raise CloseConnection("a proof without a greeting")
        self._remember(caller, None)
        is_proven = len(greeting.caller_nonce) == NONCE_BYTES and is_same(
            bytes(request.proof), self._secret.caller_proof(greeting)
        )
        if not is_proven:
            message = "its inter-broker secret is another one (automq.inter.broker.secret.file)"
            return NodeProofResponse(error_code=ErrorCode.SASL_AUTHENTICATION_FAILED, error_message=message)
        caller.principal = f"Node:{greeting.caller_id}"
        return NodeProofResponse(proof=self._secret.called_proof(greeting))

    def _remember(self, caller: Caller, greeting: Greeting | None) -> None:
        """One greeting per connection, used once; the oldest make room, which can only close a slow caller."""
        self._greetings[caller.connection_id] = greeting
        while len(self._greetings) > _GREETINGS_MAX:
            del self._greetings[next(iter(self._greetings))]


__all__ = ["ACCEPTED", "BEFORE_PROOF", "WAITING", "Caller", "MustProve", "PrivateDesk"]
