"""PyHessian: power iterations with deflation, Hutchinson, Lanczos."""

# pyright: reportMissingImports=false

import numpy as np
import torch
from pyhessian import hessian
from pyhessian.utils import hessian_vector_product

from benchmarks._curvature.with_torch import flat, load

PACKAGES = ("pyhessian", "torch", "numpy")


def prepare(problem):
    """Its object, which keeps the graph of the gradient."""
    model, inputs, labels, vector = load(problem)
    criterion = torch.nn.CrossEntropyLoss()
    value = criterion(model(inputs), labels).detach()
    return hessian(model, criterion, (inputs, labels), cuda=False), vector, value


def ladders(row, facts):
    """Tolerances of the power iteration; a fixed number of probes."""
    return {
        "hvp": {"": [{}]},
        "eigenpairs": {
            "power iteration": [
                {"tol": tol, "iterations": most}
                for tol, most in (
                    (1e-3, 100),
                    (1e-4, 200),
                    (1e-5, 1000),
                    (1e-6, 1000),
                    (1e-7, 5000),
                )
            ]
        },
        "trace": {"Hutchinson": [{"probes": facts["probes"]}]},
        "density": {"": [{"steps": 50}], "patched": [{"steps": 50, "patch": True}]},
    }[row]


def _hvp(prepared, setting):
    del setting
    tool, vector, value = prepared

    def work():
        return hessian_vector_product(tool.gradsH, tool.params, vector)

    return work, lambda found: {"product": flat(found), "loss": value.numpy()}


def _eigenpairs(prepared, setting):
    tool, *_ = prepared

    def work():
        torch.manual_seed(setting["seed"])
        return tool.eigenvalues(setting["iterations"], setting["tol"], top_n=5)

    def collect(found):
        values, vectors = found
        order = np.argsort(-np.asarray(values))
        return {
            "values": np.asarray(values)[order],
            "vectors": np.stack([flat(vectors[i]) for i in order]),
        }

    return work, collect


def _trace(prepared, setting):
    tool, *_ = prepared

    def work():
        torch.manual_seed(setting["seed"])
        # tol=0: its rule stops when two means in a row happen to agree.
        return np.mean(tool.trace(setting["probes"], tol=0))

    return work, lambda found: {"trace": found}


def _density(prepared, setting):
    tool, *_ = prepared
    if setting.get("patch"):
        torch.eig = _eig  # gone from PyTorch since 1.13, and the call has no other form

    def work():
        torch.manual_seed(setting["seed"])
        return tool.density(setting["steps"], n_v=1)

    return work, lambda found: {"nodes": found[0][0], "weights": found[1][0]}


def _eig(matrix, eigenvectors):
    """The old call, for a symmetric matrix."""
    del eigenvectors
    values, vectors = torch.linalg.eigh(matrix)
    return torch.stack([values, torch.zeros_like(values)], 1), vectors


ROWS = {"hvp": _hvp, "eigenpairs": _eigenpairs, "trace": _trace, "density": _density}
