"""`automq` and `python -m automq_broker`: runs the command line and ends with its exit code."""

import sys

from automq_broker.cli import leave, run


def main() -> None:
    """Exit codes: 0 done, 1 refused (one line says why), 2 wrong usage, 70 a bug of ours, 130 interrupted,
    141 when whoever read the output has gone."""
    leave(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
