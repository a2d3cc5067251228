"""Container images, built without a registry: a base from Debian's packages, ours from the repository's own Dockerfiles.

Each image's tag is the hash of what it was made from, so a changed source is another image and an old one is never run.
"""
