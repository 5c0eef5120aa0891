"""Settings every test runs under."""

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Before JAX is imported: programs compiled once are kept for the next run.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Small decompositions are faster on one thread than on threads that wait.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax  # noqa: E402  (the settings above must come first)

jax.config.update("jax_numpy_rank_promotion", "raise")
