"""The desk and the group coordinators, joined to a running engine, and the one function that the front calls."""

import random
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from automq_broker.assembly import knobs
from automq_broker.assembly.broker_configs import LiveConfigs
from automq_broker.desk import index
from automq_broker.desk.context import Desk, RequestContext
from automq_broker.engine.groups import GroupCoordinatorKnobs, GroupCoordinators
from automq_broker.engine.metadata_node import Controlling
from automq_broker.engine.running import Running
from automq_broker.engine.supervise import Supervisor
from automq_broker.front.view import ConnectionView
from automq_broker.groups.knobs import GroupKnobs
from automq_broker.groups.placement import GROUPS_TOPIC
from automq_broker.meta.records import Record, TopicAdded, TopicRemoved
from automq_broker.ports import Clock, Workers
from automq_broker.settings import Settings
from automq_broker.wire.frames import RequestHeader

Serve = Callable[[RequestHeader, Any, ConnectionView], Any]


def build_coordinators(settings: Settings, running: Running, clock: Clock, supervisor: Supervisor) -> GroupCoordinators:
    """Group coordinators that follow the open partitions of `__consumer_offsets`."""
    groups = settings.groups
    metadata = running.metadata

    def partition_count() -> int | None:
        topic = metadata.state.topic(GROUPS_TOPIC)
        return None if topic is None else len(topic.partitions)

    coordinators = GroupCoordinators(
        clock,
        GroupCoordinatorKnobs(
            groups=GroupKnobs(
                group_max_size=groups.group_max_size,
                initial_rebalance_delay_ms=groups.group_initial_rebalance_delay_ms,
                session_timeout_ms_min=groups.group_min_session_timeout_ms,
                session_timeout_ms_max=groups.group_max_session_timeout_ms,
                offset_metadata_length_max=groups.offset_metadata_max_bytes,
                offsets_retention_ms=groups.offsets_retention_minutes * 60_000,
                offsets_check_interval_ms=groups.offsets_retention_check_interval_ms,
            ),
            partitions=groups.offsets_topic_num_partitions,
            snapshot_bytes=groups.snapshot_bytes,
            snapshot_interval_s=groups.snapshot_interval_ms / 1000,
        ),
        lambda: uuid.uuid4().hex,
        start_task=supervisor.start,
        is_topic=lambda name: name in metadata.state.topic_ids,
        partition_count=partition_count,
    )

    join_coordinators(coordinators, running)
    return coordinators


def join_coordinators(coordinators: GroupCoordinators, running: Running) -> None:
    """Have them follow the partitions that open and close here, and the topics of the whole cluster."""
    metadata = running.metadata

    def applied(records: Sequence[Record]) -> None:
        if any(isinstance(record, TopicAdded | TopicRemoved) for record in records):
            created = frozenset(record.name for record in records if isinstance(record, TopicAdded))
            is_any_gone = any(isinstance(record, TopicRemoved) for record in records)
            coordinators.topics_changed(created, is_any_gone=is_any_gone)

    metadata.subscribe(applied, lambda _: coordinators.topics_changed(frozenset(), is_any_gone=True))
    running.engine.on_partition_opened(coordinators.opened)
    running.engine.on_partition_closed(coordinators.closed)


def build_desk(
    settings: Settings,
    running: Running,
    groups: GroupCoordinators,
    configs: LiveConfigs,
    control: Controlling,
    clock: Clock,
    workers: Workers,
    rng: random.Random,
) -> Desk:
    """Everything that handlers work with."""
    return Desk(
        engine=running.engine,
        metadata=running.metadata,
        groups=groups,
        settings=knobs.desk_settings(settings),
        advertised=index.advertised(),
        broker_configs=configs,
        clock=clock,
        workers=workers,
        rng=rng,
        make_uuid=uuid.uuid4,
        ask_quorum=control.quorum,
    )


def serve_with(desk: Desk) -> Serve:
    """What the front calls for each request, in the order of arrival; handlers are imported on their first request."""
    handlers: dict[int, index.Handle] = {}

    def serve(header: RequestHeader, request: Any, view: ConnectionView) -> Any:
        key = header.api_key
        handle = handlers.get(key)
        if handle is None:
            handle = handlers[key] = index.SERVED[key].load()
        return handle(
            request,
            RequestContext(
                header.api_version,
                header.client_id or "",
                header.correlation_id,
                view.listener,
                view.client_host,
                view.principal or "",
                view.connection_id,
                view.is_on_this_machine,
                desk,
            ),
        )

    return serve


__all__ = ["build_coordinators", "build_desk", "join_coordinators", "serve_with"]
