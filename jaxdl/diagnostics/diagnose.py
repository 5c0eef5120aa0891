"""From what is measured in training to problems, symptoms and remedies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdl.diagnostics.activations import ActivationStatistics
from jaxdl.diagnostics.gradient_check import GradientCheck
from jaxdl.diagnostics.training_curve import (
    CurveShape,
    curve_shape,
    not_a_curve,
)

GIVEN_BACK = 0.3
"""Share of the descent that is lost again, for instability. A level is a median of a
tenth of the run, and the rise must stand out of the noise besides."""

OVERFITTED = 0.1
"""The same of a validation curve, whose noise is small: a tenth is worth a stop."""

STEADY = 0.2
"""Least share of the descent in each third of a run for it to be linear. A line has a
third in each; ``exp(-c t / T)`` has this in the last third for c = 1.25, and less for
larger c: then the run has come near its end."""

VISIBLE = 0.02
"""Least amplitude of an oscillation, over the descent: smaller does no harm."""

NOISY = 0.1
"""Standard deviation over the descent: then ten records differ as much as a third of
what was ever gained."""

LONG = 0.3
"""Share of the run that a plateau takes."""

LOST = 0.25
"""Share of the units of a layer that are dead, stuck or copies: their capacity."""

SATURATED = 0.5
"""Share of the entries of a layer at a bound: at most examples, no gradient passes."""

SPIKE = 100.0
"""A gradient norm over the median of the ten before it. Norms of mini-batches differ by
a factor of a few."""

BACKWARD = -0.5
"""Median cosine of successive updates. Steps independent of each other about a fixed
point have -1/2; beyond it each takes back most of the last one."""

_REMEDIES = {
    "incorrect gradients": "fix the derivative, or use automatic differentiation",
    "instability": "decrease the learning rate; clip the gradient norm",
    "oscillations": "decrease the learning rate; momentum",
    "fluctuations": "decay the learning rate; average the iterates",
    "slow progress": "increase the learning rate; momentum",
    "plateau": "another initial scale; increase the learning rate; momentum",
    "dead units": "another initial scale; a smaller learning rate; leaky units",
    "saturated units": "a smaller initial scale; normalize the inputs; ReLU",
    "symmetries": "initialize the weights at random",
    "ill-conditioning": (
        "normalize inputs and activations; momentum; Adam; second-order methods"
    ),
    "overfitting": "stop at the lowest validation loss; more data; regularize",
}

PROBLEMS = tuple(_REMEDIES)
"""The problems that `diagnose` knows, the most severe first."""


@dataclass(frozen=True)
class Symptom:
    """One problem, what gives it away, and what to try."""

    problem: str  # one of PROBLEMS
    symptom: str  # what is seen, in a sentence with its numbers
    evidence: dict[str, float]  # those numbers
    remedy: str


def diagnose(
    loss: Any,
    *,
    validation: Any = None,
    gradient_norms: Any = None,
    update_cosines: Any = None,
    activations: ActivationStatistics | Sequence[ActivationStatistics] = (),
    gradient_check: GradientCheck | None = None,
    condition_number: float | None = None,
    steps: int | None = None,
) -> list[Symptom]:
    """What is wrong with a training run, why it seems so, and what to try.

    The thresholds are the constants of this module and those of `curve_shape`; all are
    without units. Shifting a loss or scaling it changes nothing.

    ==================== ======================================================
    incorrect gradients  the check says "wrong"
    instability          the loss is not finite, or ends above where it began or
                         high above its lowest level; a gradient norm jumps or is
                         not finite
    oscillations         a period in the loss; updates that take each other back
    fluctuations         noise in the loss, without a period
    slow progress        a straight line, still falling at the end
    plateau              no descent, or none for long before there is some
    dead units           zero on all examples
    saturated units      at a bound on most examples
    symmetries           units that copy each other
    ill-conditioning     more steps to go than were done: ``kappa ln(10) / 2``
                         gradient steps shrink the flattest error to a tenth
    overfitting          the validation loss rises while the loss does not
    ==================== ======================================================

    Only what is given is looked at. Local optima do not show in any of this: restart
    from other weights and compare.

    Args:
        loss: ``(T,)`` the training loss, one number a record at equal distances, T
            ``>= 50``. A smoothed one has lost its noise.
        validation: ``(T,)`` the loss on held-out data at the same records.
        gradient_norms: ``(m,)`` along the run.
        update_cosines: ``(m,)`` between successive updates, as in `Path`.
        activations: What the layers say, after training or at several times.
        gradient_check: From `check_gradient`.
        condition_number: kappa of the Hessian, of Gauss-Newton or of the data,
            ``>= 1``. Infinite says nothing: directions without curvature do not slow
            descent. Give the one of the rest.
        steps: Updates done, ``>= 1``; None for one between two records.

    Returns:
        Symptoms in the order of `PROBLEMS`; none for a healthy run.

    Raises:
        ValueError: If a curve is not a real vector of the stated length, or a number
            lies outside its domain.

    References:
        Glorot, Bengio (2010), Understanding the difficulty of training deep feedforward
        neural networks (saturation).

    Examples:
        >>> healthy = np.exp(-np.arange(100) / 10)
        >>> diagnose(healthy)
        []
        >>> (found,) = diagnose(healthy[::-1])
        >>> print(f"{found.problem}: {found.remedy}")
        instability: decrease the learning rate; clip the gradient norm
    """
    if message := not_a_curve(loss=loss):
        raise ValueError(message)
    records = len(loss)
    if steps is not None and (not isinstance(steps, int) or steps < 1):
        raise ValueError(f"steps must be a positive integer, got {steps!r}")
    if condition_number is not None and not condition_number >= 1:
        raise ValueError(f"condition_number must be >= 1, got {condition_number}")
    if validation is not None:
        if message := not_a_curve(validation=validation):
            raise ValueError(message)
        if len(validation) != records:
            raise ValueError(
                f"validation must have one value a record, {records}, got "
                f"{len(validation)}"
            )
    for name, values in (
        ("gradient_norms", gradient_norms),
        ("update_cosines", update_cosines),
    ):
        if values is not None and np.ndim(values) != 1:
            raise ValueError(f"{name} must be a vector, got shape {np.shape(values)}")
    shape = curve_shape(loss)
    symptoms = [
        *_of_check(gradient_check),
        *_of_loss(shape),
        *_of_norms(gradient_norms),
        *_of_cosines(update_cosines),
        *_of_units(activations),
        *_of_condition(condition_number, steps or records - 1),
        *_of_validation(validation, shape),
    ]
    return sorted(symptoms, key=lambda each: PROBLEMS.index(each.problem))


def _symptom(problem, symptom, **evidence):
    """A symptom with the remedy of its problem."""
    numbers = {name: float(value) for name, value in evidence.items()}
    return Symptom(problem, symptom.format(**numbers), numbers, _REMEDIES[problem])


def _of_check(check):
    """The table's first row."""
    if check is None or check.verdict != "wrong":
        return
    yield _symptom(
        "incorrect gradients",
        f"finite differences disagree, most in {check.worst}: relative error "
        "{relative_error:.2g}",
        relative_error=check.relative_error,
    )


def _of_loss(shape: CurveShape):
    """What the training curve shows."""
    if shape.first_bad >= 0:
        yield _symptom(
            "instability",
            "the loss is not finite from record {record:.0f} on",
            record=shape.first_bad,
        )
        return
    unstable = shape.leaps or (shape.rises and shape.rise > GIVEN_BACK)
    if shape.period and shape.amplitude > VISIBLE:
        yield _symptom(
            "oscillations",
            "the loss oscillates with a period of {period:.0f} records: the signs of "
            "its increments correlate by {alternation:.2f} after one",
            period=shape.period,
            alternation=shape.alternation,
            amplitude=shape.amplitude,
        )
    elif shape.noise > NOISY and (shape.descends or not unstable):
        yield _symptom(
            "fluctuations",
            "the loss fluctuates by {noise:.2f} of its descent, without a period"
            if shape.descends
            else "the loss fluctuates, and descends no farther than that",
            noise=shape.noise,
            alternation=shape.alternation,
        )
    if shape.leaps:
        yield _symptom(
            "instability", "the loss ends above where it began", rise=shape.rise
        )
    elif unstable:
        yield _symptom(
            "instability",
            "the loss rises: at its end by {rise:.2g} of its descent",
            rise=shape.rise,
        )
    elif not shape.descends:
        yield _symptom("plateau", "the loss does not descend", descent=0.0)
    elif shape.plateau >= LONG:
        yield _symptom(
            "plateau",
            "the loss stood still for {plateau:.0%} of the run before it fell on",
            plateau=shape.plateau,
        )
    elif min(shape.thirds) >= STEADY:
        yield _symptom(
            "slow progress",
            "the loss falls along a line and has not ended: {last_third:.0%} of its "
            "descent is in the last third",
            last_third=shape.thirds[-1],
            first_third=shape.thirds[0],
        )


def _of_norms(norms):
    """Gradients that explode."""
    if norms is None:
        return
    norms = np.asarray(norms, np.float64)
    if len(bad := np.flatnonzero(~np.isfinite(norms))):
        yield _symptom(
            "instability",
            "a gradient is not finite: number {number:.0f}",
            number=bad[0],
        )
        return
    before = 10
    if len(norms) <= before:
        return
    windows = np.lib.stride_tricks.sliding_window_view(norms[:-1], before)
    usual = np.median(windows, axis=1)
    jumps = norms[before:] / np.where(usual > 0, usual, np.inf)
    if jumps.max() > SPIKE:
        yield _symptom(
            "instability",
            "gradient {number:.0f} is {jump:.3g} times as long as those before it",
            number=before + np.argmax(jumps),
            jump=jumps.max(),
        )


def _of_cosines(cosines):
    """Steps across a ravine and back."""
    if cosines is None:
        return
    cosines = np.asarray(cosines, np.float64)
    late = cosines[len(cosines) // 2 :]
    late = late[~np.isnan(late)]
    if len(late) and np.median(late) < BACKWARD:
        yield _symptom(
            "oscillations",
            "successive updates take each other back: median cosine {cosine:.2f}",
            cosine=np.median(late),
        )


def _of_units(activations):
    """What each layer shows, in the worst of them."""
    if isinstance(activations, ActivationStatistics):
        activations = (activations,)
    if not len(activations):
        return
    for problem, field, least, words in (
        ("dead units", "dead", LOST, "of the units are zero on every example"),
        ("saturated units", "stuck", LOST, "of the units are always at a bound"),
        ("saturated units", "saturated", SATURATED, "of the entries are at a bound"),
        ("symmetries", "duplicate", LOST, "of the units copy another one"),
    ):
        shares = np.concatenate([
            np.atleast_1d(np.asarray(getattr(each, field))) for each in activations
        ])
        layers = np.concatenate([np.arange(np.size(each.mean)) for each in activations])
        worst = int(np.argmax(np.nan_to_num(shares, nan=-1.0)))
        if shares[worst] >= least:
            yield _symptom(
                problem,
                "in hidden layer {layer:.0f} {share:.0%} " + words,
                layer=layers[worst],
                share=shares[worst],
            )


def _of_condition(kappa, steps):
    """Whether the run was long enough for its flattest direction."""
    if kappa is None:
        return
    needed = float(kappa) * math.log(10) / 2
    if math.isfinite(needed) and needed > steps:
        yield _symptom(
            "ill-conditioning",
            "condition number {condition_number:.3g}: gradient descent takes about "
            "{needed:.3g} steps to shrink the flattest error to a tenth, and did "
            "{steps:.0f}",
            condition_number=kappa,
            needed=needed,
            steps=steps,
        )


def _of_validation(validation, shape):
    """A rise that the training loss does not share."""
    if validation is None:
        return
    found = curve_shape(validation)
    if found.first_bad >= 0 or shape.first_bad >= 0:
        return
    stable = shape.descends and not (shape.rises and shape.rise > OVERFITTED)
    if stable and found.rises and found.rise > OVERFITTED:
        yield _symptom(
            "overfitting",
            "the validation loss has risen by {rise:.2g} of its descent since its "
            "lowest level, near record {lowest:.0f}",
            rise=found.rise,
            lowest=np.argmin(validation),
        )
