"""The HTTP side door: health, readiness, metrics, status. Small on purpose."""
