"""A command repeated after an unknown outcome that meets its own effect: told apart from a refusal.

Most commands are idempotent by a key that they carry, so a repeat succeeds by itself. A few are answered by Kafka's own
errors when they come a second time; here the sender, who knows that it is a repeat, learns that it had succeeded.
"""

from typing import Any

from automq_broker.kernel.errors import AutomqError, ClientFault, NotMine
from automq_broker.meta.commands import Command, CreatePartitions, DeleteTopic, ReplaceObjects, TopicCreated
from automq_broker.meta.state import State
from automq_broker.wire.codes import ErrorCode


def settle_repeat(command: Command[Any], refusal: AutomqError, state: State) -> object:
    """The answer of the first attempt, if `refusal` says that it was carried out; else raises `refusal`.

    `state` must have everything up to the commit at which the repeat was refused.
    """
    code = refusal.code if isinstance(refusal, ClientFault) else None
    match command:
        case DeleteTopic() if code == ErrorCode.UNKNOWN_TOPIC_ID:
            return None
        case CreatePartitions() if code == ErrorCode.INVALID_PARTITIONS:
            topic = state.topic_by_id(command.topic_id)
            if topic is not None and len(topic.partitions) == command.total:
                return TopicCreated(topic=topic)
        case ReplaceObjects() if isinstance(refusal, NotMine):
            if command.added and all(state.object_or_deleting(row.object_id) is not None for row in command.added):
                return None
        case _:
            pass
    raise refusal


__all__ = ["settle_repeat"]
