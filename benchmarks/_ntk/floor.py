"""The least that a structured kernel must do, counted by hand.

Operations are those of matrix products alone, an addition and a multiplication each:

- the forward pass of every example;
- the backward pass of every example and output, through activations only, down to the
  lowest layer with parameters; through the dense head it is free, its slopes being the
  head's own weights;
- for each kernel of (a, b) used at p places of an example, the cheaper of: gradients of
  every example and output, 2 p a b, and their products, 2 a b for each pair of examples
  and outputs; or the products of inputs, 2 p^2 a for each pair of examples, and of
  slopes, 2 p^2 b for each pair of examples and outputs. Outputs pair each with itself
  for a trace, each with each for a full kernel. Where slopes are the head's weights
  times a mask, a gradient is that of the mask times those weights: counted once an
  example, and its products once a pair of examples;
- half the pairs, and one side, if the kernel is symmetric.

Bytes are those of inputs, parameters and the result, and of every layer's inputs and
slopes, written once and read once. Elementwise work, biases and norms are left out, so
no program reaches the floor; one that does not compute in this order may.
"""

from typing import NamedTuple

from benchmarks._ntk.problem import Case
from benchmarks._table import Floor


class Use(NamedTuple):
    """A kernel and where it is used."""

    places: int  # in one example
    a: int  # inputs, for a convolution of one patch
    b: int  # outputs
    below: bool = True  # parameters below need slopes at the inputs
    top: bool = False  # its slopes are the head's weights times a mask
    width: int = 0  # inputs that exist, if patches overlap


def uses(network: str) -> tuple[list[Use], float]:
    """What a network at full size consists of.

    Args:
        network: Its name.

    Returns:
        Its kernels below the head in their order, and operations of the forward pass
        that have no parameters.

    Raises:
        ValueError: If there is no such network.
    """
    if network == "mlp":
        return [Use(1, 784, 512, below=False), Use(1, 512, 512, top=True)], 0
    if network == "cnn":
        place = 32 * 32
        middle = Use(place, 9 * 64, 64, width=64)
        return [
            Use(place, 27, 64, below=False, width=3),
            middle,
            middle._replace(top=True),
        ], 0
    if network == "transformer":
        # The norms below the projections have parameters, too.
        projections = [Use(32, 64, 64)] * 4
        return [*projections, Use(32, 64, 256), Use(32, 256, 64)], 4 * 32 * 32 * 64
    if network == "lstm":
        return [Use(32, 32, 256, below=False), Use(32, 64, 256)], 0
    raise ValueError(f"no network {network!r}")


_OUTPUTS = 10


def head_size(network: str) -> int:
    """Weights of the dense head.

    Args:
        network: Its name.

    Returns:
        Their number.
    """
    return (512 if network == "mlp" else 64) * _OUTPUTS


def examples(network: str) -> int:
    """In each of the two sets.

    Args:
        network: Its name.

    Returns:
        Their number.
    """
    return 256 if network == "mlp" else 32


def operations(case: Case) -> float:
    """Count for a row, as the module says.

    Args:
        case: The row.

    Returns:
        Floating-point operations.
    """
    n, k = examples(case.network), _OUTPUTS
    sides = n if case.symmetric else 2 * n
    pairs = n * (n + 1) / 2 if case.symmetric else n * n
    both = k if case.outputs == "trace" else k * k
    kernels, free = uses(case.network)
    head = head_size(case.network) / k
    total = sides * (free + 2 * head * k) + sides * k * 2 * free + pairs * 2 * head
    for p, a, b, below, top, _ in kernels:
        total += sides * 2 * p * a * b  # forward
        total += sides * k * 2 * p * a * b * below  # backward
        if top:
            gradients = sides * 2 * p * a * b + pairs * 2 * (a + both) * b
        else:
            gradients = sides * k * 2 * p * a * b + pairs * both * 2 * a * b
        products = pairs * 2 * p * p * (a + both * b)
        total += min(gradients, products)
    return total


def traffic(case: Case) -> float:
    """Bytes for a row, as the module says.

    Args:
        case: The row.

    Returns:
        Bytes read and written.
    """
    n, k = examples(case.network), _OUTPUTS
    sides = n if case.symmetric else 2 * n
    result = n * n * (1 if case.outputs == "trace" else k * k)
    total = result + head_size(case.network)
    for p, a, b, _, top, width in uses(case.network)[0]:
        total += a * b
        total += 2 * sides * p * ((width or a) + (1 if top else k) * b)
    return 4.0 * total


def floor(case: Case, flops: float, bandwidth: float) -> Floor:
    """The time of a row at a machine's rates.

    Args:
        case: The row.
        flops: Operations a second in a large product of matrices.
        bandwidth: Bytes a second in a large copy.

    Returns:
        The larger of the time of operations and that of bytes.
    """
    work, moved = operations(case), traffic(case)
    note = (
        f"{work / 1e9:.3g} GFlop at {flops / 1e9:.0f} GFlop/s, "
        f"{moved / 1e6:.3g} MB at {bandwidth / 1e9:.1f} GB/s"
    )
    return Floor(max(work / flops, moved / bandwidth), note)
