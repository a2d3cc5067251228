"""Kafka's error codes (4.3) with one line each in our words. Rooms below desk raise them inside ClientFault."""

from enum import IntEnum


class ErrorCode(IntEnum):
    """The int16 that Kafka puts on the wire; names are Kafka's. Source: org.apache.kafka.common.protocol.Errors."""

    UNKNOWN_SERVER_ERROR = -1
    NONE = 0
    OFFSET_OUT_OF_RANGE = 1
    CORRUPT_MESSAGE = 2
    UNKNOWN_TOPIC_OR_PARTITION = 3
    INVALID_FETCH_SIZE = 4
    LEADER_NOT_AVAILABLE = 5
    NOT_LEADER_OR_FOLLOWER = 6
    REQUEST_TIMED_OUT = 7
    BROKER_NOT_AVAILABLE = 8
    REPLICA_NOT_AVAILABLE = 9
    MESSAGE_TOO_LARGE = 10
    STALE_CONTROLLER_EPOCH = 11
    OFFSET_METADATA_TOO_LARGE = 12
    NETWORK_EXCEPTION = 13
    COORDINATOR_LOAD_IN_PROGRESS = 14
    COORDINATOR_NOT_AVAILABLE = 15
    NOT_COORDINATOR = 16
    INVALID_TOPIC_EXCEPTION = 17
    RECORD_LIST_TOO_LARGE = 18
    NOT_ENOUGH_REPLICAS = 19
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20
    INVALID_REQUIRED_ACKS = 21
    ILLEGAL_GENERATION = 22
    INCONSISTENT_GROUP_PROTOCOL = 23
    INVALID_GROUP_ID = 24
    UNKNOWN_MEMBER_ID = 25
    INVALID_SESSION_TIMEOUT = 26
    REBALANCE_IN_PROGRESS = 27
    INVALID_COMMIT_OFFSET_SIZE = 28
    TOPIC_AUTHORIZATION_FAILED = 29
    GROUP_AUTHORIZATION_FAILED = 30
    CLUSTER_AUTHORIZATION_FAILED = 31
    INVALID_TIMESTAMP = 32
    UNSUPPORTED_SASL_MECHANISM = 33
    ILLEGAL_SASL_STATE = 34
    UNSUPPORTED_VERSION = 35
    TOPIC_ALREADY_EXISTS = 36
    INVALID_PARTITIONS = 37
    INVALID_REPLICATION_FACTOR = 38
    INVALID_REPLICA_ASSIGNMENT = 39
    INVALID_CONFIG = 40
    NOT_CONTROLLER = 41
    INVALID_REQUEST = 42
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43
    POLICY_VIOLATION = 44
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45
    DUPLICATE_SEQUENCE_NUMBER = 46
    INVALID_PRODUCER_EPOCH = 47
    INVALID_TXN_STATE = 48
    INVALID_PRODUCER_ID_MAPPING = 49
    INVALID_TRANSACTION_TIMEOUT = 50
    CONCURRENT_TRANSACTIONS = 51
    TRANSACTION_COORDINATOR_FENCED = 52
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53
    SECURITY_DISABLED = 54
    OPERATION_NOT_ATTEMPTED = 55
    KAFKA_STORAGE_ERROR = 56
    LOG_DIR_NOT_FOUND = 57
    SASL_AUTHENTICATION_FAILED = 58
    UNKNOWN_PRODUCER_ID = 59
    REASSIGNMENT_IN_PROGRESS = 60
    DELEGATION_TOKEN_AUTH_DISABLED = 61
    DELEGATION_TOKEN_NOT_FOUND = 62
    DELEGATION_TOKEN_OWNER_MISMATCH = 63
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED = 64
    DELEGATION_TOKEN_AUTHORIZATION_FAILED = 65
    DELEGATION_TOKEN_EXPIRED = 66
    INVALID_PRINCIPAL_TYPE = 67
    NON_EMPTY_GROUP = 68
    GROUP_ID_NOT_FOUND = 69
    FETCH_SESSION_ID_NOT_FOUND = 70
    INVALID_FETCH_SESSION_EPOCH = 71
    LISTENER_NOT_FOUND = 72
    TOPIC_DELETION_DISABLED = 73
    FENCED_LEADER_EPOCH = 74
    UNKNOWN_LEADER_EPOCH = 75
    UNSUPPORTED_COMPRESSION_TYPE = 76
    STALE_BROKER_EPOCH = 77
    OFFSET_NOT_AVAILABLE = 78
    MEMBER_ID_REQUIRED = 79
    PREFERRED_LEADER_NOT_AVAILABLE = 80
    GROUP_MAX_SIZE_REACHED = 81
    FENCED_INSTANCE_ID = 82
    ELIGIBLE_LEADERS_NOT_AVAILABLE = 83
    ELECTION_NOT_NEEDED = 84
    NO_REASSIGNMENT_IN_PROGRESS = 85
    GROUP_SUBSCRIBED_TO_TOPIC = 86
    INVALID_RECORD = 87
    UNSTABLE_OFFSET_COMMIT = 88
    THROTTLING_QUOTA_EXCEEDED = 89
    PRODUCER_FENCED = 90
    RESOURCE_NOT_FOUND = 91
    DUPLICATE_RESOURCE = 92
    UNACCEPTABLE_CREDENTIAL = 93
    INCONSISTENT_VOTER_SET = 94
    INVALID_UPDATE_VERSION = 95
    FEATURE_UPDATE_FAILED = 96
    PRINCIPAL_DESERIALIZATION_FAILURE = 97
    SNAPSHOT_NOT_FOUND = 98
    POSITION_OUT_OF_RANGE = 99
    UNKNOWN_TOPIC_ID = 100
    DUPLICATE_BROKER_REGISTRATION = 101
    BROKER_ID_NOT_REGISTERED = 102
    INCONSISTENT_TOPIC_ID = 103
    INCONSISTENT_CLUSTER_ID = 104
    TRANSACTIONAL_ID_NOT_FOUND = 105
    FETCH_SESSION_TOPIC_ID_ERROR = 106
    INELIGIBLE_REPLICA = 107
    NEW_LEADER_ELECTED = 108
    OFFSET_MOVED_TO_TIERED_STORAGE = 109
    FENCED_MEMBER_EPOCH = 110
    UNRELEASED_INSTANCE_ID = 111
    UNSUPPORTED_ASSIGNOR = 112
    STALE_MEMBER_EPOCH = 113
    MISMATCHED_ENDPOINT_TYPE = 114
    UNSUPPORTED_ENDPOINT_TYPE = 115
    UNKNOWN_CONTROLLER_ID = 116
    UNKNOWN_SUBSCRIPTION_ID = 117
    TELEMETRY_TOO_LARGE = 118
    INVALID_REGISTRATION = 119
    TRANSACTION_ABORTABLE = 120
    INVALID_RECORD_STATE = 121
    SHARE_SESSION_NOT_FOUND = 122
    INVALID_SHARE_SESSION_EPOCH = 123
    FENCED_STATE_EPOCH = 124
    INVALID_VOTER_KEY = 125
    DUPLICATE_VOTER = 126
    VOTER_NOT_FOUND = 127
    INVALID_REGULAR_EXPRESSION = 128
    REBOOTSTRAP_REQUIRED = 129
    STREAMS_INVALID_TOPOLOGY = 130
    STREAMS_INVALID_TOPOLOGY_EPOCH = 131
    STREAMS_TOPOLOGY_FENCED = 132
    SHARE_SESSION_LIMIT_REACHED = 133


_MESSAGES: dict[int, str] = {
    -1: "the broker met an unexpected error",
    0: "no error",
    1: "the offset is outside the partition's range",
    2: "the batch is corrupt: its checksum or length is wrong",
    3: "unknown topic or partition",
    4: "the fetch size is invalid",
    5: "the partition has no leader at the moment",
    6: "this broker does not lead the partition",
    7: "the request timed out",
    8: "the broker is not available",
    9: "the replica is not available",
    10: "the batch is larger than the topic's max.message.bytes",
    11: "the controller has moved to another broker",
    12: "the offset's metadata string is too long",
    13: "the connection broke before a response came",
    14: "the coordinator is still loading",
    15: "the coordinator is not available",
    16: "this broker is not the coordinator",
    17: "the topic name is invalid, or the topic is not for clients",
    18: "the batch is larger than a segment may be",
    19: "too few in-sync replicas",
    20: "written, but to too few in-sync replicas",
    21: "acks must be -1, 0 or 1",
    22: "the generation id is not the group's",
    23: "the member's protocols do not fit those of its group",
    24: "the group id is invalid",
    25: "the member is unknown to the group",
    26: "the session timeout is outside the allowed range",
    27: "the group is rebalancing: join again",
    28: "the committed offset's size is invalid",
    29: "not authorized for the topic",
    30: "not authorized for the group",
    31: "not authorized for the cluster",
    32: "a record's timestamp is outside the allowed range",
    33: "the SASL mechanism is not enabled",
    34: "the request does not fit the SASL exchange",
    35: "the API version is not supported",
    36: "a topic of this name exists",
    37: "the number of partitions is invalid",
    38: "the replication factor is invalid",
    39: "the replica assignment is invalid",
    40: "the configuration is invalid",
    41: "this node is not the controller",
    42: "the request is malformed or contradicts itself",
    43: "the message format does not support the request",
    44: "a policy forbids the request",
    45: "the producer's sequence number is out of order",
    46: "the producer's sequence number was seen before",
    47: "the producer's epoch is old",
    48: "the transaction is not in a state that allows this",
    49: "the producer id does not belong to the transactional id",
    50: "the transaction timeout is above the broker's maximum",
    51: "another operation on this transaction is under way",
    52: "the transaction coordinator is no longer the current one",
    53: "not authorized for the transactional id",
    54: "security is not enabled on this cluster",
    55: "not attempted, because another part of the request failed",
    56: "the partition's storage could not be read or written",
    57: "the log directory is unknown",
    58: "authentication failed",
    59: "the producer id is unknown to the partition",
    60: "a reassignment of the partition is under way",
    61: "delegation tokens are not enabled",
    62: "the delegation token does not exist",
    63: "the principal is neither owner nor renewer of the token",
    64: "delegation token requests are not allowed on this connection",
    65: "not authorized for the delegation token",
    66: "the delegation token has expired",
    67: "the principal type is not supported",
    68: "the group still has members",
    69: "the group does not exist",
    70: "the fetch session does not exist",
    71: "the fetch session epoch is invalid",
    72: "the leader has no listener of this name",
    73: "topic deletion is disabled",
    74: "the leader epoch is older than the broker's",
    75: "the leader epoch is newer than the broker's",
    76: "the client's version does not support the batch's compression",
    77: "the broker epoch has changed",
    78: "the high watermark has not caught up since the last change of leader",
    79: "join again with the member id of this response",
    80: "the preferred leader is not available",
    81: "the group is full",
    82: "another member uses the same group.instance.id",
    83: "no eligible leader is available",
    84: "no election is needed",
    85: "no reassignment is under way",
    86: "the group is subscribed to the topic",
    87: "a record failed validation",
    88: "offsets of an open transaction are pending",
    89: "a quota is used up",
    90: "a newer producer has taken over the transactional id",
    91: "the resource does not exist",
    92: "the resource is named twice",
    93: "the credential is not acceptable",
    94: "sender or receiver is not among the voters",
    95: "the feature version is invalid",
    96: "the features could not be updated",
    97: "the forwarded principal cannot be read",
    98: "the snapshot does not exist",
    99: "the position is outside the snapshot",
    100: "unknown topic id",
    101: "the broker id is in use",
    102: "the broker id is not registered",
    103: "the topic id does not match the partition's",
    104: "the cluster id is not this cluster's",
    105: "the transactional id does not exist",
    106: "the fetch session mixes topic names and topic ids",
    107: "a replica is not eligible for the in-sync set",
    108: "done, but the leader has changed",
    109: "the offset has moved to tiered storage",
    110: "the member epoch is fenced: give up all partitions and join again",
    111: "another member still holds the instance id",
    112: "the assignor is not supported",
    113: "the member epoch is stale",
    114: "the request went to the wrong kind of endpoint",
    115: "the kind of endpoint is not supported",
    116: "unknown controller id",
    117: "the telemetry subscription is unknown",
    118: "the telemetry payload is too large",
    119: "the registration is invalid",
    120: "the transaction must be aborted before going on",
    121: "the record cannot be acknowledged in its state",
    122: "the share session does not exist",
    123: "the share session epoch is invalid",
    124: "the share group's state epoch is fenced",
    125: "the voter's key does not match",
    126: "the voter is already known",
    127: "the voter is not known",
    128: "the regular expression is invalid",
    129: "the client's metadata is stale: bootstrap again",
    130: "the streams topology is invalid",
    131: "the streams topology epoch is invalid",
    132: "the streams topology epoch is outdated",
    133: "too many share sessions",
}


def message(code: int) -> str:
    """One line for people: error_message fields, logs, the command line. Unknown codes are named by their number."""
    return _MESSAGES.get(code) or f"unknown error code {code}"


__all__ = ["ErrorCode", "message"]
