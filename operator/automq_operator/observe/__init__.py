"""From an API server and brokers to a World. What cannot be seen is said to be unknown, never guessed."""
