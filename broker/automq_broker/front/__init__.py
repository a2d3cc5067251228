"""Sockets: accept, frames, limits, TLS, answers in request order. Knows no topic and no partition."""
