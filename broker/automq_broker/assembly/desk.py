"""The desk and the group coordinators, joined to a running engine, and the one function that the front calls."""

import random
import uuid
from collections.abc import Callable
from typing import Any

from automq_broker.assembly import knobs
from automq_broker.assembly.broker_configs import LiveConfigs
from automq_broker.desk import index
from automq_broker.desk.context import Desk, RequestContext
from automq_broker.engine.groups import GroupCoordinatorKnobs, GroupCoordinators
from automq_broker.engine.partition import Partition
from automq_broker.engine.start import Running
from automq_broker.engine.supervise import Supervisor
from automq_broker.front.view import ConnectionView
from automq_broker.groups.knobs import GroupKnobs
from automq_broker.groups.placement import GROUPS_TOPIC
from automq_broker.ports import Clock, Workers
from automq_broker.settings import Settings
from automq_broker.wire.frames import RequestHeader

Serve = Callable[[RequestHeader, Any, ConnectionView], Any]


def build_coordinators(settings: Settings, running: Running, clock: Clock, supervisor: Supervisor) -> GroupCoordinators:
    """Group coordinators that follow the open partitions of `__consumer_offsets`."""
    groups = settings.groups
    control = running.control

    def partition_count() -> int | None:
        topic = control.state.topic(GROUPS_TOPIC)
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
        partition_count=partition_count,
    )

    def closed(partition: Partition) -> None:
        coordinators.closed(partition)
        if control.state.topic_by_id(partition.topic_id) is None:
            coordinators.topics_deleted([partition.topic])

    running.engine.on_partition_opened(coordinators.opened)
    running.engine.on_partition_closed(closed)
    return coordinators


def build_desk(
    settings: Settings,
    running: Running,
    groups: GroupCoordinators,
    configs: LiveConfigs,
    clock: Clock,
    workers: Workers,
    rng: random.Random,
) -> Desk:
    """Everything that handlers work with."""
    return Desk(
        engine=running.engine,
        control=running.control,
        groups=groups,
        settings=knobs.desk_settings(settings),
        advertised=index.advertised(),
        broker_configs=configs,
        clock=clock,
        workers=workers,
        rng=rng,
        make_uuid=uuid.uuid4,
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
                desk,
            ),
        )

    return serve


__all__ = ["build_coordinators", "build_desk", "serve_with"]
