"""`python -m e2e`: build what the chosen platform needs and is not in the cache; says which platform it is."""

import sys

from e2e.build.binaries import build_all, found
from e2e.cluster import requirements
from e2e.images.images import all_images
from e2e.platform import Ground, chosen
from e2e.progress import say


def main() -> None:
    """Exits with every reason where the local cluster is chosen and cannot run."""
    ground = chosen()
    say(f"platform: {ground}")
    match ground:
        case Ground.GIVEN:
            pass
        case Ground.KIND:
            found("kind")
        case Ground.LOCAL:
            try:
                requirements.check()
            except requirements.CannotRun as error:
                sys.exit(str(error))
            build_all()
            all_images()


if __name__ == "__main__":
    main()
