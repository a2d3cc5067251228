"""Property tests draw the same examples in every run, so that a change is what makes one fail.

AUTOMQ_TEST_EXPLORE=1 draws fresh examples instead, for finding what nobody thought of.
"""

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("explore", derandomize=False, print_blob=True)
settings.load_profile("explore" if os.environ.get("AUTOMQ_TEST_EXPLORE") else "same")
