"""Values that every room shares: identifiers and error families. No logic, no I/O, no helpers."""
