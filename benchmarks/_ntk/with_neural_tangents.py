"""neural-tangents, each of its methods, as its documentation says is fastest."""

# pyright: reportMissingImports=false

import jax
import neural_tangents as nt

from benchmarks._ntk.problem import CASES
from benchmarks._ntk.with_jax import prepare, start

__all__ = ["PACKAGES", "ROWS", "ladders", "prepare"]

PACKAGES = ("neural-tangents", "jax", "jaxlib", "numpy")

_METHODS = {"structured": 3, "Jacobian contraction": 1, "vector products": 2}


def ladders(row, facts):
    """Every method, where it is not known to be hopeless.

    On the network of dense layers the other two methods take 300 times as long as the
    structured one for the trace, and more than that for the rest.
    """
    del facts
    names = ["structured"] if row.startswith("mlp-full") else list(_METHODS)
    return {name: [{"implementation": _METHODS[name]}] for name in names}


def _compute(apply, outputs, setting):
    # Its trace is divided by the outputs traced over, as ours is.
    kernel = nt.empirical_ntk_fn(
        jax.vmap(apply, (None, 0)),
        trace_axes=(-1,) if outputs == "trace" else (),
        vmap_axes=0,
        implementation=setting["implementation"],
    )
    return jax.jit(lambda params, x1, x2: kernel(x1, x2, params))


ROWS = {row: start(row, _compute) for row in CASES}
