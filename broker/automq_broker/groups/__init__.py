"""Consumer groups as pure state machines: events and the time in, replies and records out."""
