"""Plain PyTorch, double backward through a graph that is kept."""

# pyright: reportMissingImports=false

import numpy as np
import torch

from benchmarks._curvature.problem import flatten, parameters, split

PACKAGES = ("torch", "numpy")


def load(problem):
    """A model, its inputs and labels, and the direction as the model's shapes."""
    torch.set_num_threads(1)
    leaves = parameters(problem)
    layers = []
    for kernel, bias in zip(leaves[::2], leaves[1::2], strict=True):
        layer = torch.nn.Linear(*kernel.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(kernel.T.copy()))
            layer.bias.copy_(torch.from_numpy(bias))
        layers += [layer, torch.nn.Tanh()]
    model = torch.nn.Sequential(*layers[:-1])
    inputs = torch.from_numpy(problem["inputs"])
    labels = torch.from_numpy(problem["labels"]).long()
    vector = [torch.from_numpy(x.T.copy()) for x in split(problem["vector"], leaves)]
    return model, inputs, labels, vector


def flat(tensors):
    """Tensors in the model's shapes as one vector in the problem's order."""
    return flatten([x.detach().numpy().T for x in tensors])


def rows_from_flat(vectors, model):
    """``(k, p)`` rows in the model's order as rows in the problem's order."""
    sizes = [(tuple(x.shape), x.numel()) for x in model.parameters()]
    rows = []
    for vector in vectors:
        pieces = torch.split(torch.as_tensor(vector), [size for _, size in sizes])
        shaped = [x.reshape(s) for x, (s, _) in zip(pieces, sizes, strict=True)]
        rows.append(flat(shaped))
    return np.stack(rows)


def prepare(problem):
    """The graph of the gradient."""
    model, inputs, labels, vector = load(problem)
    weights = list(model.parameters())
    value = torch.nn.functional.cross_entropy(model(inputs), labels)
    gradient = torch.autograd.grad(value, weights, create_graph=True)

    def product(v):
        return torch.autograd.grad(gradient, weights, v, retain_graph=True)

    return product, weights, vector, value


def ladders(row, facts):
    """What Hutchinson's estimator needs."""
    return {"hvp": {"": [{}]}, "trace": {"Hutchinson": [{"probes": facts["probes"]}]}}[
        row
    ]


def _hvp(prepared, setting):
    del setting
    product, _, vector, value = prepared
    return lambda: product(vector), lambda found: {
        "product": flat(found),
        "loss": value.detach().numpy(),
    }


def _trace(prepared, setting):
    product, weights, _, _ = prepared

    def work():
        generator = torch.Generator().manual_seed(setting["seed"])
        total = 0.0
        for _ in range(setting["probes"]):
            z = [
                2.0 * torch.randint(2, w.shape, generator=generator) - 1
                for w in weights
            ]
            total += sum(
                torch.sum(a * b).item() for a, b in zip(z, product(z), strict=True)
            )
        return total / setting["probes"]

    return work, lambda found: {"trace": np.asarray(found)}


ROWS = {"hvp": _hvp, "trace": _trace}
