"""One broker among many: the listener for the others, the calls to them, and the metadata that they share."""

import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

from automq_broker.adapters.peers import WirePeers
from automq_broker.assembly.listeners import inter_broker_listeners, limits
from automq_broker.cluster.proof import Secret
from automq_broker.desk.private_apis import ACCEPTED, BEFORE_PROOF, WAITING, MustProve, PrivateDesk
from automq_broker.engine.balancing import Balancer, BalancerKnobs
from automq_broker.engine.control_values import ControlKnobs, Identity
from automq_broker.engine.decisions import Decisions
from automq_broker.engine.load_report import LoadReport
from automq_broker.engine.metadata_heartbeat import heartbeats
from automq_broker.engine.metadata_node import MetadataNode
from automq_broker.engine.metadata_values import ClusterKnobs
from automq_broker.engine.running import Running
from automq_broker.engine.supervise import Supervisor
from automq_broker.front.server import Server
from automq_broker.front.values import Bound, Limits
from automq_broker.front.view import ConnectionView
from automq_broker.kernel.errors import Refused
from automq_broker.ports import Bucket, Clock, Workers
from automq_broker.settings import Settings
from automq_broker.wire.frames import RequestHeader

_STOP_GRACE_S = 1.0


class InterBroker:
    """In the order of its life: `bind`, `make_metadata`, `serve`, `send_heartbeats`, `balance`, `leave`, `stop`."""

    def __init__(self, settings: Settings, clock: Clock, rng: Random) -> None:
        """Raises Refused if the secret cannot be read or is too short."""
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._secret = read_secret(settings.cluster.inter_broker_secret_file or "")
        self._server = Server(
            listeners=inter_broker_listeners(settings),
            serve=self._serve,
            accepted=ACCEPTED,
            unsupported_api_versions=lambda: None,
            limits=_limits(settings),
            clock=clock,
            authenticator=MustProve(),
        )
        self._desk: PrivateDesk
        self._metadata: MetadataNode
        self._peers: WirePeers | None = None
        self._is_draining = False

    def bind(self) -> list[Bound]:
        """Take the port; nobody is accepted before `serve`."""
        return self._server.bind()

    def make_metadata(self, bucket: Bucket, identity: Identity) -> MetadataNode:
        """The metadata of this process, not started yet."""
        self._peers = WirePeers(
            node_id=identity.node_id,
            cluster_id=lambda: self._metadata.state.cluster_id,
            secret=self._secret,
            rng=self._rng,
            tls=caller_tls(self._settings),
        )
        self._metadata = MetadataNode(
            bucket, self._clock, identity, self._peers, cluster_knobs(self._settings), rng=self._rng
        )
        self._desk = PrivateDesk(
            service=self._metadata.service,
            secret=self._secret,
            node_id=identity.node_id,
            cluster_id=lambda: self._metadata.state.cluster_id,
        )
        return self._metadata

    async def serve(self) -> None:
        """Answer other brokers from now on: whoever holds the seat is needed before it serves clients itself."""
        await self._server.start()

    def send_heartbeats(self, running: Running, clients: Server, supervisor: Supervisor) -> None:
        """The node is ACTIVE: say so, with its load, until it has stopped."""
        report = LoadReport(
            open_partitions=running.engine.open_partitions,
            clock=self._clock,
            wal_capacity_bytes=running.device.capacity_bytes,
            wal_free_bytes=lambda: running.writer.free_bytes,
            connections=lambda: clients.connection_count,
            is_draining=lambda: self._is_draining,
            applied_seq=lambda: self._metadata.seq,
        )
        beats = heartbeats(self._metadata, running.identity.node_id, running.broker_epoch, report.take, self._rng)
        running.heartbeats = supervisor.start("heartbeats", beats)

    def balance(
        self, decisions: Decisions, workers: Workers, knobs: Callable[[], BalancerKnobs], supervisor: Supervisor
    ) -> Balancer:
        """Even out the load whenever this process is the controller."""
        balancer = Balancer(self._metadata, decisions, self._clock, workers, knobs)
        supervisor.start("balancer", balancer.run())
        return balancer

    def leave(self) -> None:
        """The orderly stop begins: heartbeats say so, and its commands wait for nobody who could take a free seat."""
        self._is_draining = True
        self._metadata.leave()

    async def stop(self) -> None:
        """Leave the others; the metadata has stopped already."""
        await self._server.stop(_STOP_GRACE_S)
        if self._peers is not None:
            await self._peers.close()

    def _serve(self, header: RequestHeader, request: object, view: ConnectionView) -> object:
        return self._desk.serve(header, request, view)


def read_secret(path: str) -> Secret:
    """The shared secret in a file; raises Refused, never with a part of it."""
    try:
        return Secret(Path(path).read_bytes())
    except OSError as error:
        raise Refused(f"automq.inter.broker.secret.file: {path} cannot be read: {error.strerror}") from error
    except Refused as weak:
        raise Refused(f"automq.inter.broker.secret.file: {path}: {weak}") from None


def cluster_knobs(settings: Settings) -> ClusterKnobs:
    """How long a broker may be silent, and how often it speaks."""
    session_s = settings.cluster.session_timeout_ms / 1000
    return ClusterKnobs(
        control=ControlKnobs(renew_interval_s=session_s / 3, session_s=session_s, confirms_every_answer=True),
        session_s=session_s,
        heartbeat_s=settings.cluster.heartbeat_interval_ms / 1000,
    )


def _limits(settings: Settings) -> Limits:
    return replace(limits(settings), before_authentication=BEFORE_PROOF, waiting=WAITING, cancelled_when_lost=WAITING)


def caller_tls(settings: Settings) -> Callable[[], ssl.SSLContext] | None:
    """How to call the others' listeners, which are secured like our own; None without TLS."""
    (listener,) = inter_broker_listeners(settings)
    if listener.tls is None:
        return None
    tls = settings.tls_of(listener.name)

    def context() -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=tls.truststore_location, cadata=tls.truststore_certificates)
        if tls.keystore_location:
            made.load_cert_chain(tls.keystore_location, password=tls.key_password)
        return made

    return context


__all__ = ["InterBroker", "caller_tls", "cluster_knobs", "read_secret"]
