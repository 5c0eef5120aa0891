"""hessian-eigenthings: Lanczos, Hutchinson, Hutch++."""

# pyright: reportMissingImports=false

import numpy as np
import torch
from hessian_eigenthings.algorithms import lanczos, spectral_density, trace
from hessian_eigenthings.loss_fns import supervised_loss
from hessian_eigenthings.operators import HessianOperator

from benchmarks._curvature import with_torch
from benchmarks._curvature.with_torch import load, rows_from_flat

PACKAGES = ("hessian-eigenthings", "torch", "numpy")


def prepare(problem):
    """Its operator."""
    model, inputs, labels, vector = load(problem)
    criterion = torch.nn.CrossEntropyLoss()
    operator = HessianOperator(model, [(inputs, labels)], supervised_loss(criterion))
    value = criterion(model(inputs), labels).detach()
    return operator, model, torch.cat([x.reshape(-1) for x in vector]), value


def ladders(row, facts):
    """Steps of Lanczos, probes, products."""
    steps = [*range(14, 42, 2), 45, 50, 55, 60, 70, 80, 100]
    return {
        "hvp": {"": [{}]},
        "eigenpairs": {"Lanczos": [{"steps": m} for m in steps]},
        "trace": {
            "Hutchinson": [{"method": "hutchinson", "products": facts["probes"]}],
            "Hutch++": [
                {"method": "hutch++", "products": 3 * n}
                for n in (10, 14, 20, 28, 40, 56)
            ],
        },
        "density": {"": [{"steps": 50}]},
    }[row]


def _hvp(prepared, setting):
    del setting
    operator, model, vector, value = prepared
    return lambda: operator.matvec(vector), lambda found: {
        "product": rows_from_flat(found[None], model)[0],
        "loss": value.numpy(),
    }


def _eigenpairs(prepared, setting):
    operator, model, *_ = prepared

    def work():
        # Always orthogonalized: beyond 50 steps it would not by itself.
        return lanczos(
            operator,
            k=5,
            max_iter=setting["steps"],
            which="LA",
            seed=setting["seed"],
            reorthogonalize=True,
        )

    return work, lambda found: {
        "values": found.eigenvalues.numpy(),
        "vectors": rows_from_flat(found.eigenvectors, model),
    }


def _trace(prepared, setting):
    operator, *_ = prepared

    def work():
        return trace(
            operator,
            num_matvecs=setting["products"],
            method=setting["method"],
            seed=setting["seed"],
        )

    return work, lambda found: {"trace": np.asarray(found.estimate)}


def _density(prepared, setting):
    operator, *_ = prepared

    def work():
        return spectral_density(
            operator,
            num_runs=1,
            lanczos_steps=setting["steps"],
            num_grid_points=512,
            seed=setting["seed"],
        )

    return work, lambda found: {
        "nodes": found.raw_eigenvalues[0].numpy(),
        "weights": found.raw_weights[0].numpy(),
    }


ROWS = {
    **with_torch.ROWS,
    "hvp": _hvp,
    "eigenpairs": _eigenpairs,
    "trace": _trace,
    "density": _density,
}
