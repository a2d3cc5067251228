"""The table of calls: what is asked how, and answered with what."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from automq_broker.contract.admin.changes import (
    Balanced,
    BalanceRequest,
    ClusterStopping,
    Configs,
    ConfigsRequest,
    Drained,
    DrainRequest,
    ForgetRequest,
    Forgotten,
    StopClusterRequest,
    SweepRequest,
    Swept,
)
from automq_broker.contract.admin.deaths import (
    AcceptWalLossRequest,
    AdoptDoneRequest,
    Done,
    FenceRequest,
    RescueGranted,
    RescueRequest,
    WalLossAccepted,
)
from automq_broker.contract.admin.values import PAGE_ROWS_MAX, Answer, Question
from automq_broker.contract.admin.views import Brokers, Cluster, Decisions, Moves, Partitions, Recoveries


class Call(BaseModel):
    """One call of the API. `query` holds the names of what a GET takes, with their JSON schemas."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    name: str
    method: str
    path: str
    answer: type[Answer]
    question: type[Question] | None = None
    query: dict[str, dict[str, Any]] = Field(default_factory=dict)
    meaning: str


def _get(name: str, answer: type[Answer], meaning: str, **query: dict[str, Any]) -> Call:
    return Call(name=name, method="GET", path=f"/v1/{name}", answer=answer, query=query, meaning=meaning)


def _post(name: str, question: type[Question], answer: type[Answer], meaning: str) -> Call:
    return Call(name=name, method="POST", path=f"/v1/{name}", question=question, answer=answer, meaning=meaning)


CLUSTER = _get("cluster", Cluster, "The cluster in a few numbers.")
BROKERS = _get("brokers", Brokers, "All brokers with their status, epoch, volume and load of partitions.")
PARTITIONS = _get(
    "partitions",
    Partitions,
    "Partitions with their owners and offsets, a page at a time.",
    after={"type": "string", "pattern": "^([a-zA-Z0-9._-]{1,249}/[0-9]{1,9})?$"},
    limit={"type": "integer", "minimum": 1, "maximum": PAGE_ROWS_MAX},
)
MOVES = _get("moves", Moves, "Partitions that are not open where they are to be.")
RECOVERIES = _get("recoveries", Recoveries, "Dead brokers whose logs adopters drain.")
DECISIONS = _get("decisions", Decisions, "What was decided lately, and why.")
DRAIN = _post("drain", DrainRequest, Drained, "Move every partition off a broker; safe to repeat until it is empty.")
BALANCE = _post("balance", BalanceRequest, Balanced, "Even out the load; only the controller knows it, others refuse.")
FENCE = _post("fence", FenceRequest, Done, "Take a silent broker out of service until its next heartbeat.")
RESCUE = _post("rescue", RescueRequest, RescueGranted, "Grant an epoch to an adopter of a broker that is proven dead.")
ADOPT_DONE = _post("adopt-done", AdoptDoneRequest, Done, "The adopter is done: no partition of the node is open.")
ACCEPT_WAL_LOSS = _post(
    "accept-wal-loss",
    AcceptWalLossRequest,
    WalLossAccepted,
    "Give up a dead broker's write-ahead log, and with it every record that is not in the bucket.",
)
STOP_CLUSTER = _post(
    "stop-cluster",
    StopClusterRequest,
    ClusterStopping,
    "Announce that all brokers stop: they keep their partitions, and open them again when they are back.",
)
FORGET = _post(
    "forget",
    ForgetRequest,
    Forgotten,
    "Show a broker that has stopped for good no more; refused while partitions depend on it.",
)
CONFIGS = _post("configs", ConfigsRequest, Configs, "Change settings of all brokers that need no restart for it.")
SWEEP = _post("sweep", SweepRequest, Swept, "Look for orphans in the bucket, and delete those that were agreed to.")

CALLS: Final = (
    CLUSTER,
    BROKERS,
    PARTITIONS,
    MOVES,
    RECOVERIES,
    DECISIONS,
    DRAIN,
    BALANCE,
    FENCE,
    RESCUE,
    ADOPT_DONE,
    ACCEPT_WAL_LOSS,
    STOP_CLUSTER,
    FORGET,
    CONFIGS,
    SWEEP,
)
"""Every call, in the order of the documentation."""


__all__ = [
    "ACCEPT_WAL_LOSS",
    "ADOPT_DONE",
    "BALANCE",
    "BROKERS",
    "CALLS",
    "CLUSTER",
    "CONFIGS",
    "DECISIONS",
    "DRAIN",
    "FENCE",
    "FORGET",
    "MOVES",
    "PARTITIONS",
    "RECOVERIES",
    "RESCUE",
    "STOP_CLUSTER",
    "SWEEP",
    "Call",
]
