"""The only place that joins rooms: builds adapters, engine, desk, front and admin page, runs them, and takes them down."""

from automq_broker.assembly.run import run

__all__ = ["run"]
