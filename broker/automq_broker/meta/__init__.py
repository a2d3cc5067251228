"""The metadata state machine: commands in, records out, named invariants; and the head object as a value."""
