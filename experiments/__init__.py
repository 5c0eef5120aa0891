"""Studies: each module here without a leading underscore checks one claim."""

import os

# Before NumPy is imported: small decompositions are faster on one thread than on
# threads that wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
