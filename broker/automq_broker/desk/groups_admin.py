"""Looking at groups and deleting them: DescribeGroups 0-6, ListGroups 0-5, DeleteGroups 0-2 (keys 15, 16, 42).

Checked: an unknown group is GROUP_ID_NOT_FOUND from DescribeGroups v6, before that a group in state Dead without an
error; filters by state (v4) and type (v5) are case-insensitive, and all groups are of type classic; a group that has
members is not deleted (NON_EMPTY_GROUP). While a partition is loading, ListGroups fails as a whole, since a short
list would look complete. Empty group ids are served, as Kafka does for old data.
"""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from automq_broker.desk import operations
from automq_broker.groups.values import DescribedGroup as GroupView
from automq_broker.kernel.errors import ClientFault
from automq_broker.wire.apis.k15_describe_groups import (
    DescribedGroup,
    DescribedGroupMember,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
)
from automq_broker.wire.apis.k16_list_groups import ListedGroup, ListGroupsRequest, ListGroupsResponse
from automq_broker.wire.apis.k42_delete_groups import DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse
from automq_broker.wire.codes import ErrorCode

if TYPE_CHECKING:
    from automq_broker.desk.context import RequestContext

_NOT_FOUND_FROM = 6
_CLASSIC = "classic"


def describe_groups(request: DescribeGroupsRequest, context: "RequestContext") -> DescribeGroupsResponse:
    """State, members, subscriptions and assignments, in the order asked for."""
    rows = [_described(group_id, context) for group_id in request.groups]
    if request.include_authorized_operations:
        for row in rows:
            if row.error_code == ErrorCode.NONE:
                row.authorized_operations = operations.GROUP
    return DescribeGroupsResponse(groups=rows)


def _described(group_id: str, context: "RequestContext") -> DescribedGroup:
    try:
        view = context.desk.groups.describe(group_id)
    except ClientFault as fault:
        return DescribedGroup(group_id=group_id, error_code=fault.code)
    if view is not None:
        return _row(view)
    row = DescribedGroup(group_id=group_id, group_state="Dead")
    if context.api_version >= _NOT_FOUND_FROM:
        row.error_code = ErrorCode.GROUP_ID_NOT_FOUND
        row.error_message = f"Group {group_id} not found."
    return row


def _row(view: GroupView) -> DescribedGroup:
    return DescribedGroup(
        group_id=view.group_id,
        group_state=view.state,
        protocol_type=view.protocol_type,
        protocol_data=view.protocol_name,
        members=[
            DescribedGroupMember(
                member_id=member.member_id,
                group_instance_id=member.instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                member_metadata=member.metadata,
                member_assignment=member.assignment,
            )
            for member in view.members
        ],
    )


def list_groups(request: ListGroupsRequest, context: "RequestContext") -> ListGroupsResponse:
    """All groups that this broker coordinates and that pass the filters."""
    states = {state.lower() for state in request.states_filter}
    types = {kind.lower() for kind in request.types_filter}
    if types and _CLASSIC not in types:
        return ListGroupsResponse()
    try:
        views = context.desk.groups.listed()
    except ClientFault as fault:
        return ListGroupsResponse(error_code=fault.code)
    return ListGroupsResponse(
        groups=[
            ListedGroup(
                group_id=view.group_id,
                protocol_type=view.protocol_type,
                group_state=view.state,
                group_type=_CLASSIC,
            )
            for view in views
            if not states or view.state.lower() in states
        ]
    )


def delete_groups(request: DeleteGroupsRequest, context: "RequestContext") -> "Awaitable[DeleteGroupsResponse]":
    """Each group for itself, in the order of the request; answered when every deletion is durable."""
    asked = [(group_id, _delete(group_id, context)) for group_id in dict.fromkeys(request.groups_names)]
    return _deleted(asked)


async def _deleted(asked: "list[tuple[str, int | asyncio.Future[int]]]") -> DeleteGroupsResponse:
    return DeleteGroupsResponse(
        results=[
            DeletableGroupResult(group_id=group_id, error_code=await row if isinstance(row, asyncio.Future) else row)
            for group_id, row in asked
        ]
    )


def _delete(group_id: str, context: "RequestContext") -> "int | asyncio.Future[int]":
    try:
        return context.desk.groups.delete(group_id, lambda answer: int(answer.error))
    except ClientFault as fault:
        return fault.code


__all__ = ["delete_groups", "describe_groups", "list_groups"]
