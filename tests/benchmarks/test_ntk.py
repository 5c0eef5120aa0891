"""The tangent-kernel benchmark on tiny networks, without processes or peers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import ntk
from benchmarks._measure import Entry
from benchmarks._ntk import floor, networks, problem, with_jax
from benchmarks._ntk.problem import CASES, Case
from benchmarks._processes import Tool

TINY = problem.make("tiny")
LOADED = problem.load(TINY)


@pytest.fixture(scope="module")
def reference():
    """Imported here, as importing it turns float64 on."""
    before = jax.config.read("jax_enable_x64")
    from benchmarks._ntk import reference

    yield reference
    jax.config.update("jax_enable_x64", before)


@pytest.fixture(scope="module")
def truth(reference):
    prepared = reference.prepare(TINY)
    work, collect = reference.ROWS["truth"](prepared, {})
    return collect(work())
