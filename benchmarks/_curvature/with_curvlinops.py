"""curvlinops, with SciPy's ARPACK for eigenpairs, as its documentation has it."""

# pyright: reportMissingImports=false

import numpy as np
import torch
from curvlinops import HessianLinearOperator, hutchinson_trace, hutchpp_trace, xtrace
from curvlinops.papyan2020traces.spectrum import (
    fast_lanczos,
    lanczos_approximate_spectrum_from_iter,
)
from scipy.sparse.linalg import eigsh

from benchmarks._curvature.with_torch import load, rows_from_flat

PACKAGES = ("curvlinops-for-pytorch", "torch", "scipy", "numpy")
_TRACES = {"Hutchinson": hutchinson_trace, "Hutch++": hutchpp_trace, "XTrace": xtrace}


def prepare(problem):
    """Its operator."""
    model, inputs, labels, vector = load(problem)
    criterion = torch.nn.CrossEntropyLoss()
    operator = HessianLinearOperator(
        model, criterion, list(model.parameters()), [(inputs, labels)]
    )
    value = criterion(model(inputs), labels).detach()
    return operator, model, torch.cat([x.reshape(-1) for x in vector]), value


def ladders(row, facts):
    """Tolerances for several basis sizes, probes, products."""
    sizes = (10, 14, 20, 28, 40, 56)
    tolerances = (0.1, 0.01, 3e-3, 1e-3, 3e-4, 1e-4)
    return {
        "hvp": {"": [{}]},
        "eigenpairs": {
            f"ARPACK, basis of {ncv}": [{"ncv": ncv, "tol": tol} for tol in tolerances]
            for ncv in (12, 16, 20, 25, 30)
        },
        "trace": {
            "Hutchinson": [{"method": "Hutchinson", "products": facts["probes"]}],
            "Hutch++": [{"method": "Hutch++", "products": 3 * n} for n in sizes],
            "XTrace": [{"method": "XTrace", "products": 2 * n} for n in sizes],
        },
        "density": {"": [{"steps": 50}]},
    }[row]


def _hvp(prepared, setting):
    del setting
    operator, model, vector, value = prepared
    return lambda: operator @ vector, lambda found: {
        "product": rows_from_flat(found[None], model)[0],
        "loss": value.numpy(),
    }


def _eigenpairs(prepared, setting):
    operator, model, *_ = prepared
    scipy_operator = operator.to_scipy()
    rng = np.random.default_rng(setting["seed"])
    start = rng.normal(size=operator.shape[0]).astype(np.float32)

    def work():
        return eigsh(
            scipy_operator,
            k=5,
            which="LA",
            ncv=setting["ncv"],
            tol=setting["tol"],
            v0=start,
        )

    def collect(found):
        vectors = np.ascontiguousarray(found[1].T[::-1])
        return {"values": found[0][::-1], "vectors": rows_from_flat(vectors, model)}

    return work, collect


def _trace(prepared, setting):
    operator, *_ = prepared
    estimate = _TRACES[setting["method"]]

    def work():
        torch.manual_seed(setting["seed"])
        return estimate(operator, setting["products"]).item()

    return work, lambda found: {"trace": np.asarray(found)}


def _density(prepared, setting):
    operator, *_ = prepared

    def work():
        torch.manual_seed(setting["seed"])
        values, vectors = fast_lanczos(operator, setting["steps"])
        ends = values.min().item(), values.max().item()
        curve = lanczos_approximate_spectrum_from_iter(
            (values, vectors), ends, 512, 3.0, 0.05
        )
        return values, vectors, curve

    return work, lambda found: {
        "nodes": found[0].numpy(),
        "weights": np.square(found[1][0].numpy()),
    }


ROWS = {"hvp": _hvp, "eigenpairs": _eigenpairs, "trace": _trace, "density": _density}
