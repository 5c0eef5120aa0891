"""Layers one after the other and side by side."""

from dataclasses import replace

import jax

from jaxdl.ntk.infinite.kernels import Kernels
from jaxdl.ntk.infinite.layer import (
    KernelFunction,
    Layer,
    needs_pixel_pairs,
    shapes_of,
    step,
    structs_of,
    without_parameters,
)


def serial(*layers: Layer) -> Layer:
    """Layers one after the other.

    It looks ahead: covariances between the pixels of an image, ``(h w)^2`` numbers for
    two examples in place of ``h w``, are computed up to the last layer that pools and
    not at all if none does.

    Args:
        *layers: Each gets what the one before gives.

    Returns:
        A layer; its parameters are one tuple with an entry a layer.

    Raises:
        ValueError: If there are none.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxdl.ntk.infinite import dense, relu
        >>> init, apply, kernel = serial(dense(512, w_std=2**0.5), relu(), dense(1))
        >>> params = init(jax.random.key(0), (3,))
        >>> print(apply(params, jnp.ones(3)).shape)
        (1,)
        >>> nngp, ntk = kernel(jnp.array([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]))
        >>> print(nngp, ntk)
        [[1. 0.]
         [0. 1.]] [[2. 0.]
         [0. 2.]]
    """
    if message := _not_layers("serial", layers):
        raise ValueError(message)

    def init(key, input_shape, dtype=float):
        params, shape = [], input_shape
        for number, layer in enumerate(layers):
            drawn = layer.init(jax.random.fold_in(key, number), shape, dtype)
            out = jax.eval_shape(layer.apply, drawn, structs_of(shape, dtype))
            params.append(drawn)
            shape = shapes_of(out)
        return tuple(params)

    def apply(params, x, *, key=None):
        for number, layer in enumerate(layers):
            x = layer.apply(params[number], x, key=_fold_in(key, number))
        return x

    def needs(after):
        return _needs(layers, after)[0]

    def transform(kernels, pixel_pairs):
        after = _needs(layers, pixel_pairs)[1:]
        for layer, needed in zip(layers, after, strict=True):
            kernels = step(layer.kernel, kernels, needed)
        return kernels

    flattens = getattr(layers[0].kernel, "flattens", False)
    return Layer(init, apply, KernelFunction(transform, needs, flattens))


def parallel(*layers: Layer) -> Layer:
    """Layers side by side: the i-th gets the i-th entry of a tuple.

    Args:
        *layers: One a branch; use it between `fan_out` and `fan_in_sum`.

    Returns:
        A layer from a tuple to a tuple; ``init`` gets a tuple of shapes.

    Raises:
        ValueError: If there are none.
    """
    if message := _not_layers("parallel", layers):
        raise ValueError(message)

    def check(branches):
        if not isinstance(branches, tuple | list) or len(branches) != len(layers):
            got = len(branches) if isinstance(branches, tuple | list) else "one input"
            raise ValueError(
                f"parallel needs a tuple of {len(layers)} inputs, one a layer, "
                f"got {got}"
            )

    def init(key, input_shape, dtype=float):
        if any(isinstance(side, int) for side in input_shape):
            check(None)
        check(input_shape)
        return tuple(
            layer.init(jax.random.fold_in(key, number), shape, dtype)
            for number, (layer, shape) in enumerate(
                zip(layers, input_shape, strict=True)
            )
        )

    def apply(params, x, *, key=None):
        check(x)
        return tuple(
            layer.apply(params[number], x[number], key=_fold_in(key, number))
            for number, layer in enumerate(layers)
        )

    def needs(after):
        return any(needs_pixel_pairs(layer.kernel, after) for layer in layers)

    def transform(kernels, pixel_pairs):
        check(kernels)
        return tuple(
            step(layer.kernel, branch, pixel_pairs)
            for layer, branch in zip(layers, kernels, strict=True)
        )

    return Layer(init, apply, KernelFunction(transform, needs))


def fan_out(n: int) -> Layer:
    """A tuple of ``n`` copies of the input, for `parallel`.

    Args:
        n: Copies, one or more.

    Returns:
        A layer without parameters.

    Raises:
        ValueError: If ``n < 1``.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")

    def transform(kernels):
        return (replace(kernels, independent=(*kernels.independent, False)),) * n

    return without_parameters(lambda x: (x,) * n, transform)


def fan_in_sum() -> Layer:
    """The sum of a tuple of inputs, which ends a residual block.

    Kernels add where the branches' outputs are uncorrelated: all branches but one must
    have mean zero and be independent of the others. So it is after `dense` or `conv`,
    also if pooling, normalization, dropout or a residual block come in between, not
    after an activation.
    The result is Gaussian if all branches are.

    Returns:
        A layer without parameters. Its ``apply`` and ``kernel`` raise a
        ``ValueError`` if the input is not a tuple, if the shapes differ, and its
        ``kernel`` if two branches may be correlated.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxdl.ntk.infinite import dense, identity, relu
        >>> branch = serial(relu(), dense(8, w_std=2**0.5))
        >>> block = serial(fan_out(2), parallel(identity(), branch), fan_in_sum())
        >>> print(serial(dense(8), block).kernel(jnp.eye(2)).nngp.round(4))
        [[1.     0.1592]
         [0.1592 1.    ]]
    """

    def check(branches, shapes):
        if len(branches) < 1 or any(shape != shapes[0] for shape in shapes):
            raise ValueError(
                f"fan_in_sum needs branches of one shape, got {tuple(shapes)}"
            )

    def init(key, input_shape, dtype=float):
        del key, dtype
        _check_tuple(tuple if any(isinstance(s, int) for s in input_shape) else ())
        check(input_shape, [tuple(shape) for shape in input_shape])
        return ()

    def apply(params, x, *, key=None):
        del params, key
        _check_tuple(x)
        check(x, [branch.shape for branch in x])
        return sum(x[1:], x[0])

    def transform(kernels, pixel_pairs):
        del pixel_pairs
        _check_tuple(kernels)
        check(kernels, [branch.shape for branch in kernels])
        check(kernels, [branch.nngp.shape for branch in kernels])
        correlated = sum(not branch.independent[-1] for branch in kernels)
        if correlated > 1:
            raise ValueError(
                "fan_in_sum needs branches that are uncorrelated: all but one must "
                "end in dense or conv, with no activation after it; "
                f"{correlated} of {len(kernels)} do not"
            )
        return _sum(kernels)

    return Layer(init, apply, KernelFunction(transform, lambda after: after))


def identity() -> Layer:
    """The input as it is: a branch that is skipped.

    Returns:
        A layer without parameters.
    """
    return without_parameters(lambda x: x, lambda kernels: kernels)


def _sum(branches: tuple[Kernels, ...]) -> Kernels:
    first = branches[0]

    def total(name):
        parts = [getattr(branch, name) for branch in branches]
        parts = [part for part in parts if part is not None]  # None is zero
        return sum(parts[1:], parts[0]) if parts else None

    levels = [*zip(*(branch.independent for branch in branches), strict=True)]
    return replace(
        first,
        **{name: total(name) for name in ("nngp", "ntk", "own1", "own2")},
        gaussian=all(branch.gaussian for branch in branches),
        independent=tuple(all(level) for level in levels[:-1] or levels),
    )


def _needs(layers, after):
    """Whether pixels' covariances are needed before each layer and at the end."""
    needed = [after]
    for layer in reversed(layers):
        needed.insert(0, needs_pixel_pairs(layer.kernel, needed[0]))
    return needed


def _fold_in(key, number):
    return None if key is None else jax.random.fold_in(key, number)


def _not_layers(name, layers):
    if not layers or not all(isinstance(layer, tuple) for layer in layers):
        return f"{name} needs one or more layers, got {layers}"
    return ""


def _check_tuple(branches):
    if not isinstance(branches, tuple | list):
        raise ValueError("fan_in_sum needs a tuple of inputs, as after parallel")
