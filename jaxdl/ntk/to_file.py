"""Kernels larger than memory, block by block into a file."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdl.ntk import unfinished
from jaxdl.ntk.blocks import even, length
from jaxdl.ntk.empirical import METHODS, kernels_of
from jaxdl.ntk.finite import check_kernel, check_outputs, outputs_are_finite
from jaxdl.ntk.precision import cast, mode
from jaxdl.ntk.problem import Problem, check_choice, pose
from jaxdl.ntk.symmetry import mirror, transposed
from jaxdl.progress import bar
from jaxdl.train.checkpoint import digest
from jaxdl.train.drive import is_traced
from jaxdl.types import Params

AHEAD = 2  # blocks that a device is given before the first of them is fetched
KEPT_EVERY = 1.0  # seconds of work that a killed process may lose
PROBED = 8  # outputs of the first example by which apply is recognized


def ntk_to_file(
    apply: Callable[[Params, Any], Any],
    params: Params,
    x1: Any,
    x2: Any,
    path: str | os.PathLike[str],
    *,
    outputs: str = "trace",
    method: str = "auto",
    block_size: int | None = 256,
    where: Any = None,
    dtype: Any = None,
    devices: Sequence[Any] | None = None,
    resume: bool = True,
    progress: bool | Callable[[int], object] = True,
) -> np.ndarray:
    """Write a tangent kernel block by block into a ``.npy`` file.

    The numbers are those of `empirical_ntk`. Only some blocks are in memory at a
    time; they are computed in compiled code, once for all of them, and rows of blocks
    take the devices in turn. Until the file is complete, a small file
    ``PATH.progress`` beside it says what is done. The same call then goes on from
    there, and comes to the same bits.

    Args:
        apply: As in `empirical_ntk`. Its code is not compared when work is resumed,
            but its outputs for the first example are.
        params: Pytree of arrays; real where they count.
        x1: ``(n1, ...)``, or a pytree of such arrays; also NumPy's memory maps.
        x2: ``(n2, ...)`` likewise, or None for ``x1``: then each block above the
            diagonal is computed once and written twice.
        path: The file. One that is complete is replaced.
        outputs: ``"trace"``, ``"diagonal"`` or ``"full"``.
        method: ``"auto"``, ``"jacobian"``, ``"products"`` or ``"structured"``.
        block_size: Most rows and columns of a block; None for one block.
        where: None, or which parameters count, as in `empirical_ntk`.
        dtype: Of the file, float16, float32 or float64; None for that of
            `empirical_ntk`. The numbers are computed in float32 or float64, and in
            float64 also where JAX is set to 32 bits.
        devices: Devices of JAX; None for the default device.
        resume: Whether to go on with what a call before this one has left. False
            begins anew.
        progress: Whether to show a bar, or a function that gets the number of blocks
            newly done.

    Returns:
        The file as a read-only memory map, as ``np.load(path, mmap_mode="r")``:
        ``(n1, n2)``, ``(n1, n2, k)`` or ``(n1, n2, k, k)``.

    Raises:
        ValueError: As in `empirical_ntk`; if a block is not finite, with what is done
            so far kept; if what is left there is of another call, or damaged; if
            ``dtype``, ``devices`` or the free space of the disk does not do; or if
            something is traced.

    Examples:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     kernel = ntk_to_file(
        ...         lambda w, x: w @ x,
        ...         jnp.ones(2),
        ...         jnp.eye(3, 2),
        ...         None,
        ...         f"{folder}/kernel.npy",
        ...         progress=False,
        ...     )
        ...     print(kernel)
        [[1. 0. 0.]
         [0. 1. 0.]
         [0. 0. 0.]]
    """
    check_choice("method", method, tuple(METHODS))
    if is_traced((params, x1, x2)):
        raise ValueError(
            "ntk_to_file writes numbers to a file, got traced arrays; call it outside "
            "of jit, vmap and grad"
        )
    x1, x2 = (jax.tree.map(_on_host, x) for x in (x1, x2))
    wanted = (
        np.dtype(np.float64) if dtype is not None and np.dtype(dtype) == float else None
    )
    with mode(wanted):
        params, x1, x2 = cast((params, x1, x2), wanted)
        problem = pose(apply, params, x1, x2, outputs, block_size, where)
        devices = _checked_devices(devices)
        plan = _plan(problem, outputs, method, block_size)
        work = _work(problem, plan, Path(path), dtype)
        file, done = unfinished.begin(work, resume=resume)
        kept, since = sum(done), time.monotonic()
        try:
            with bar(sum(work.parts), "kernel", show=progress is True) as drawn:
                report = progress if callable(progress) else drawn.update
                if kept:
                    report(kept)
                for i, j, kernel, finite in _blocks(problem, plan, devices, done):
                    _write(file, plan, i, j, _checked(plan, i, j, kernel, finite, file))
                    done[i] += 1
                    if time.monotonic() - since >= KEPT_EVERY:
                        unfinished.keep(work, file, done)
                        kept, since = sum(done), time.monotonic()
                    report(1)
        finally:
            if kept != sum(done):
                unfinished.keep(work, file, done)
    unfinished.finish(work, file)
    return np.load(path, mmap_mode="r")


class _Plan(NamedTuple):
    """Which blocks there are, and how they are computed."""

    outputs: str
    method: str
    symmetric: bool
    n: tuple[int, int]  # examples
    m: tuple[int, int]  # blocks along each axis
    size: tuple[int, int]  # examples in a block

    def first(self, i: int) -> int:
        """The first column of a row of blocks."""
        return i if self.symmetric else 0


def _plan(problem: Problem, outputs: str, method: str, block_size: int | None) -> _Plan:
    """The blocks of a problem."""
    symmetric = problem.x2 is None
    n1 = length(problem.x1)
    n2 = n1 if symmetric else length(problem.x2)
    (m1, rows), (m2, columns) = even(n1, block_size), even(n2, block_size)
    return _Plan(outputs, method, symmetric, (n1, n2), (m1, m2), (rows, columns))


def _work(problem: Problem, plan: _Plan, path: Path, dtype: Any) -> unfinished.Work:
    """What is to be written, and how to recognize it.

    Raises:
        ValueError: If the file cannot have that dtype.
    """
    in_file: np.dtype[Any] = np.dtype(problem.dtype if dtype is None else dtype)
    if in_file.name not in ("float16", "float32", "float64"):
        raise ValueError(f"dtype must be float16, float32 or float64, got {in_file}")
    axes = {"trace": 0, "diagonal": 1, "full": 2}[plan.outputs]
    example = jax.tree.map(lambda leaf: leaf[0], problem.x1)
    probe = np.asarray(jax.jit(problem.outputs_of)(problem.leaves, example), float)
    return unfinished.Work(
        path,
        (*plan.n, *(problem.k,) * axes),
        in_file,
        tuple(plan.m[1] - plan.first(i) for i in range(plan.m[0])),
        {
            "params": digest(problem.leaves),
            "x1": digest(problem.x1),
            "x2": digest(problem.x2),
            "where": list(problem.selected),
            "outputs": plan.outputs,
            "method": plan.method,
            "size of a block": list(plan.size),
        },
        probe[:PROBED].tolist(),
    )


def _blocks(
    problem: Problem, plan: _Plan, devices: list[Any], done: list[int]
) -> Iterator[tuple[int, int, np.ndarray, dict[str, np.ndarray]]]:
    """Each block that is not done; the devices work ahead of the host."""
    kernels = kernels_of(problem, [problem.selected], plan.outputs, plan.method)

    @jax.jit
    def block(leaves, a, b):
        (kernel,) = kernels(leaves, a, b)
        return kernel, [
            outputs_are_finite(problem.outputs_of, leaves, x) for x in (a, b)
        ]

    leaves = [jax.device_put(problem.leaves, device) for device in devices]
    x1, x2 = problem.x1, problem.x1 if plan.symmetric else problem.x2

    def begun(i, j):
        device = devices[i % len(devices)]
        a = jax.device_put(_cut(x1, plan, i, 0), device)
        b = jax.device_put(_cut(x2, plan, j, 1), device)
        kernel, finite = block(leaves[i % len(devices)], a, b)
        return i, j, mirror(kernel) if plan.symmetric and i == j else kernel, finite

    waiting = deque()
    for pair in _pairs(plan, len(devices), list(done)):
        waiting.append(begun(*pair))
        if len(waiting) > AHEAD * len(devices):
            yield jax.device_get(waiting.popleft())
    while waiting:
        yield jax.device_get(waiting.popleft())


def _pairs(plan: _Plan, n_devices: int, done: list[int]) -> Iterator[tuple[int, int]]:
    """The blocks that are not done, in turn from as many rows as there are devices."""
    for start in range(0, plan.m[0], n_devices):
        rows = range(start, min(start + n_devices, plan.m[0]))
        for step in range(plan.m[1]):
            for i in rows:
                if done[i] <= step < plan.m[1] - plan.first(i):
                    yield i, plan.first(i) + step


def _cut(x: Any, plan: _Plan, number: int, axis: int) -> Any:
    """A block of examples, the last one repeated beyond the end."""
    rows = np.arange(plan.size[axis]) + number * plan.size[axis]
    rows = np.minimum(rows, plan.n[axis] - 1)
    return jax.tree.map(lambda leaf: leaf[rows], x)


def _checked(plan, i, j, kernel, finite, file):
    """The part of a block that is in the file, in its dtype.

    Raises:
        ValueError: If it is not finite.
    """
    names = ("x1", "x1" if plan.symmetric else "x2")
    firsts = (i * plan.size[0], j * plan.size[1])
    stops = (plan.n[0] - firsts[0], plan.n[1] - firsts[1])
    parts = zip(names, firsts, finite, stops, strict=True)
    check_outputs((name, first, is_so[:stop]) for name, first, is_so, stop in parts)
    kernel = kernel[: stops[0], : stops[1]]
    check_kernel(kernel, names, firsts)
    with np.errstate(over="ignore"):
        cast = kernel.astype(file.dtype)
    if not np.isfinite(cast).all():
        raise ValueError(
            f"dtype {file.dtype} must hold the kernel, got {np.abs(kernel).max()}"
        )
    return cast


def _write(file, plan, i, j, kernel):
    """Put a block where it belongs, and its mirror image."""
    row, column = i * plan.size[0], j * plan.size[1]
    rows = slice(row, row + kernel.shape[0])
    columns = slice(column, column + kernel.shape[1])
    file[rows, columns] = kernel
    if plan.symmetric and i != j:
        file[columns, rows] = transposed(kernel)


def _checked_devices(devices):
    """The devices; None stands for the default one.

    Raises:
        ValueError: If they are none.
    """
    if devices is None:
        return [None]
    devices = list(devices)
    if not devices or not all(isinstance(device, jax.Device) for device in devices):
        raise ValueError(f"devices must be some devices of JAX, got {devices!r}")
    return devices


def _on_host(leaf):
    """An array of NumPy; one that is stays where it is, such as in a file."""
    return leaf if isinstance(leaf, np.ndarray) else np.asarray(leaf)
