"""Membership of classic consumer groups: JoinGroup 0-9, Heartbeat 0-4, LeaveGroup 0-5, SyncGroup 0-5 (keys 11-14).

Checked: empty group ids (INVALID_GROUP_ID); session timeouts; protocol type and name from SyncGroup v5; everything that
the state machine checks. A heartbeat while the group is loading is answered NONE, so that a moved coordinator
does not shake its members off. Versions below what a client feature needs behave as Kafka's: the rebalance timeout of
JoinGroup v0 is its session timeout, LeaveGroup v0-2 carries one member and answers its error at the top.
Ignored: the client's reason for joining or leaving is only passed on.
An answer that has to wait is a future; no task stands behind it.
"""

import asyncio
from typing import TYPE_CHECKING

from automq_broker.desk.groups_admin import delete_groups, describe_groups, list_groups
from automq_broker.groups import values
from automq_broker.kernel.errors import ClientFault
from automq_broker.wire.apis.k11_join_group import JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember
from automq_broker.wire.apis.k12_heartbeat import HeartbeatRequest, HeartbeatResponse
from automq_broker.wire.apis.k13_leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberResponse
from automq_broker.wire.apis.k14_sync_group import SyncGroupRequest, SyncGroupResponse
from automq_broker.wire.codes import ErrorCode

if TYPE_CHECKING:
    from automq_broker.desk.context import RequestContext

_MEMBER_ID_FIRST_FROM = 4
_NULL_PROTOCOL_FROM = 7
_SKIP_ASSIGNMENT_FROM = 9
_SYNC_PROTOCOL_FROM = 5
_LEAVE_MANY_FROM = 3


def join_group(
    request: JoinGroupRequest, context: "RequestContext"
) -> "JoinGroupResponse | asyncio.Future[JoinGroupResponse]":
    """Waits until everybody joined or the rebalance timeout passed."""
    groups, version = context.desk.groups, context.api_version
    no_name = None if version >= _NULL_PROTOCOL_FROM else ""
    if not request.group_id:
        code = ErrorCode.INVALID_GROUP_ID
        return JoinGroupResponse(error_code=code, member_id=request.member_id, protocol_name=no_name)

    def respond(answer: values.JoinAnswer) -> JoinGroupResponse:
        return JoinGroupResponse(
            error_code=answer.error,
            generation_id=answer.generation,
            protocol_type=answer.protocol_type,
            protocol_name=no_name if answer.protocol_name is None else answer.protocol_name,
            leader=answer.leader,
            skip_assignment=answer.skip_assignment,
            member_id=answer.member_id,
            members=[
                JoinGroupResponseMember(member_id=m.member_id, group_instance_id=m.instance_id, metadata=m.metadata)
                for m in answer.members
            ],
        )

    try:
        return groups.join(_join(request, context, groups.make_id()), respond)
    except ClientFault as fault:
        return JoinGroupResponse(error_code=fault.code, protocol_name=no_name)


def _join(request: JoinGroupRequest, context: "RequestContext", fresh_id: str) -> values.JoinRequest:
    version = context.api_version
    return values.JoinRequest(
        group_id=request.group_id,
        member_id=request.member_id,
        instance_id=request.group_instance_id,
        client_id=context.client_id,
        client_host=f"/{context.client_host}",  # as Java prints an address, which is what tools expect
        session_timeout_ms=request.session_timeout_ms,
        rebalance_timeout_ms=request.rebalance_timeout_ms if version > 0 else request.session_timeout_ms,
        protocol_type=request.protocol_type,
        protocols=tuple(values.Protocol(p.name, bytes(p.metadata)) for p in request.protocols),
        fresh_id=fresh_id,
        requires_known_member_id=version >= _MEMBER_ID_FIRST_FROM,
        can_skip_assignment=version >= _SKIP_ASSIGNMENT_FROM,
        reason=request.reason or "",
    )


def sync_group(
    request: SyncGroupRequest, context: "RequestContext"
) -> "SyncGroupResponse | asyncio.Future[SyncGroupResponse]":
    """Waits until the leader's assignment is durable."""
    if not request.group_id:
        return SyncGroupResponse(error_code=ErrorCode.INVALID_GROUP_ID)
    is_nameless = request.protocol_type is None or request.protocol_name is None
    if context.api_version >= _SYNC_PROTOCOL_FROM and is_nameless:
        return SyncGroupResponse(error_code=ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
    asked = values.SyncRequest(
        group_id=request.group_id,
        member_id=request.member_id,
        generation=request.generation_id,
        instance_id=request.group_instance_id,
        protocol_type=request.protocol_type,
        protocol_name=request.protocol_name,
        assignments=tuple((row.member_id, bytes(row.assignment)) for row in request.assignments),
    )
    try:
        return context.desk.groups.sync(asked, _synced)
    except ClientFault as fault:
        return SyncGroupResponse(error_code=fault.code)


def _synced(answer: values.SyncAnswer) -> SyncGroupResponse:
    return SyncGroupResponse(
        error_code=answer.error,
        protocol_type=answer.protocol_type,
        protocol_name=answer.protocol_name,
        assignment=answer.assignment,
    )


def heartbeat(
    request: HeartbeatRequest, context: "RequestContext"
) -> "HeartbeatResponse | asyncio.Future[HeartbeatResponse]":
    """Keeps a member's session alive and tells it to join again when a rebalance is on."""
    if not request.group_id:
        return HeartbeatResponse(error_code=ErrorCode.INVALID_GROUP_ID)
    asked = values.HeartbeatRequest(
        group_id=request.group_id,
        member_id=request.member_id,
        generation=request.generation_id,
        instance_id=request.group_instance_id,
    )
    try:
        return context.desk.groups.heartbeat(asked, lambda answer: HeartbeatResponse(error_code=answer.error))
    except ClientFault as fault:
        is_loading = fault.code == ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
        return HeartbeatResponse(error_code=ErrorCode.NONE if is_loading else fault.code)


def leave_group(
    request: LeaveGroupRequest, context: "RequestContext"
) -> "LeaveGroupResponse | asyncio.Future[LeaveGroupResponse]":
    """Removes members at once; the others are asked to rebalance."""
    if not request.group_id:
        return LeaveGroupResponse(error_code=ErrorCode.INVALID_GROUP_ID)
    is_batch = context.api_version >= _LEAVE_MANY_FROM
    if is_batch:
        leaving = tuple(values.LeavingMember(m.member_id, m.group_instance_id, m.reason or "") for m in request.members)
    else:
        leaving = (values.LeavingMember(request.member_id),)

    def respond(answer: values.LeaveAnswer) -> LeaveGroupResponse:
        if not is_batch:
            return LeaveGroupResponse(error_code=answer.error or answer.member_errors[0])
        rows = [
            MemberResponse(member_id=member.member_id, group_instance_id=member.instance_id, error_code=error)
            for member, error in zip(leaving, answer.member_errors, strict=False)
        ]
        return LeaveGroupResponse(error_code=answer.error, members=rows)

    try:
        return context.desk.groups.leave(values.LeaveRequest(request.group_id, leaving), respond)
    except ClientFault as fault:
        return LeaveGroupResponse(error_code=fault.code)


__all__ = [
    "delete_groups",
    "describe_groups",
    "heartbeat",
    "join_group",
    "leave_group",
    "list_groups",
    "sync_group",
]
