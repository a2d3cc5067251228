"""`python -m e2e.build [PROGRAM ...]`: build every program of the local cluster into the cache, or those that are named."""

import sys

from e2e.build.binaries import binary, build_all

if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(binary(name))
    if not sys.argv[1:]:
        build_all()
