"""jaxdl itself, which decides when to stop."""

import jax
import numpy as np

from benchmarks._curvature.with_jax import flat, load, loss
from jaxdl.curvature import Stopping, eigenpairs, hvp, spectral_density, trace

PACKAGES = ("jaxdl-experiments", "jax", "jaxlib", "numpy")


def prepare(problem):
    """The operator."""
    params, batch, vector = load(problem)
    return hvp(loss, params, batch), params, batch, vector


def ladders(row, facts):
    """Tolerances."""
    return {
        "hvp": {"": [{}]},
        "eigenpairs": {
            way: [{"tol": facts["bound"] / 2**i, "search": search} for i in range(4)]
            for way, search in (("", True), ("no search for missed pairs", False))
        },
        "trace": {
            name: [
                {"method": name.lower(), "rtol": facts["standard_error"], "sketch": n}
            ]
            for name, n in (("Hutchinson", 0), ("Hutch++", 20), ("Krylov", 20))
        },
        "density": {"": [{"steps": 50}]},
    }[row]


def _hvp(prepared, setting):
    del setting
    operator, params, batch, vector = prepared
    value = loss(params, batch)

    def work():
        return jax.block_until_ready(operator.matvec(vector))

    return work, lambda found: {"product": flat(found), "loss": np.asarray(value)}


def _eigenpairs(prepared, setting):
    operator, *_ = prepared
    key = jax.random.key(setting["seed"])

    def work():
        options = {"tol": setting["tol"], "search": setting["search"]}
        return jax.block_until_ready(eigenpairs(operator, 5, key=key, **options))

    return work, lambda found: {
        "values": found.values,
        "vectors": flat(found.vectors),
        "products": found.matvecs,
        "says": found.converged.all() & found.finished,
    }


def _trace(prepared, setting):
    operator, *_ = prepared
    key, method = jax.random.key(setting["seed"]), setting["method"]
    options = {"method": method, "stopping": Stopping(rtol=setting["rtol"])}
    if setting["sketch"]:
        options["sketch"] = setting["sketch"]

    def work():
        return jax.block_until_ready(trace(operator, key, **options))

    return work, lambda found: {
        "trace": found.value,
        "products": found.probes + {"hutch++": 2}.get(method, 1) * setting["sketch"],
        "says": found.converged,
    }


def _density(prepared, setting):
    operator, *_ = prepared
    key = jax.random.key(setting["seed"])

    def work():
        return jax.block_until_ready(
            spectral_density(operator, 1, setting["steps"], key)
        )

    return work, lambda found: {"nodes": found.nodes[0], "weights": found.weights[0]}


ROWS = {"hvp": _hvp, "eigenpairs": _eigenpairs, "trace": _trace, "density": _density}
