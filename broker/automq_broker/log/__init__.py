"""One partition's truth: offsets, leader epochs, idempotent producers, timestamps. Bytes stay outside."""
