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
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="module", autouse=True)
def free_programs():
    """Let compiled programs go before they are too many.

    Each holds several memory maps, and Linux grants a process 65,530 of them; at the
    next one XLA ends in a segmentation fault.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()
