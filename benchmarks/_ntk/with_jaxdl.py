"""jaxdl itself; what counts is the method that it chooses."""

from functools import partial

import jax

from benchmarks._ntk.problem import CASES
from benchmarks._ntk.with_jax import prepare, start
from jaxdl.ntk import empirical_ntk

__all__ = ["PACKAGES", "ROWS", "ladders", "prepare"]

PACKAGES = ("jaxdl-experiments", "jax", "jaxlib", "numpy")


def ladders(row, facts):
    """Its own choice first, then what it chooses from, where that takes no minutes."""
    del facts
    names = ["structured"] if row.startswith("mlp") else ["structured", "jacobian"]
    return {"": [{"method": "auto"}]} | {name: [{"method": name}] for name in names}


def _compute(apply, outputs, setting):
    method = setting["method"]
    return jax.jit(partial(empirical_ntk, apply, outputs=outputs, method=method))


ROWS = {row: start(row, _compute) for row in CASES}
