"""Diagnosing training: broken runs recognized, healthy ones left alone.

Claim: what a training run shows of itself (its loss, held-out loss, gradient norms,
updates, activations, the condition number of its inputs, a gradient check) tells which
of eleven faults it has; healthy runs raise no alarm; and the remedy that is proposed
removes the symptom and lowers the loss.

Source: this study, of `jaxdl.diagnostics.diagnose`, whose thresholds were fixed before;
the list of problems is that of Glorot, Bengio (2010) and of common courses.

Run: python -m experiments diagnose

Time: quick 1 minute, full 6 minutes on two cores.

Expected: healthy runs raise no alarm, and most faults are recognized. Missed are what
is small next to the whole descent though plain in the curve, the oscillations of too
much momentum and the noise of tiny batches; and a loss that leaps up at once and stays,
which has no lower level behind it. The edge of stability and overfitting are seen in
about half of the runs, and there the remedy lowers the loss in about as many.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
from matplotlib.patches import Rectangle

from experiments import _cli, _diag_runs, _parts
from experiments._diag_runs import SETTINGS, Group, Numbers, Problem
from experiments._figures import BLUE, GRAY, VERMILLION, Plot, figure
from experiments._findings import Finding, at_least, at_most
from jaxdl import diagnostics
from jaxdl.progress import bar

DEMO = False

MOST = 0.9
"""Share of seeds a claim asks for."""


@dataclass(frozen=True)
class Config:
    """What to run; every field is a command-line flag."""

    seed: int = 0
    """Of all randomness: rows, labels, initial weights, batches."""
    seeds: int = 10
    """Runs of each setting."""
    n_train: int = 300
    """Training rows of digits; as many are held out."""
    inputs: int = 16
    """Principal components, whitened; fewer than rows."""
    hidden: int = 16
    """Units of each of two hidden layers."""
    steps: int = 400
    """Updates, 200 or more, a multiple of 4."""

    def __post_init__(self):
        """Reject what could not be run.

        Raises:
            ValueError: Which field is wrong.
        """
        _parts.check_seed(self.seed)
        for name in ("seeds", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if not 30 <= self.n_train <= 898:
            raise ValueError(f"n_train must lie in 30..898, got {self.n_train}")
        if not 1 <= self.inputs < min(self.n_train, 62):
            raise ValueError(
                f"inputs must be at least 1, fewer than n_train={self.n_train} and at "
                f"most 61, got {self.inputs}"
            )
        if self.steps < 200 or self.steps % _diag_runs.FEW:
            raise ValueError(
                f"steps must be 200 or more and a multiple of {_diag_runs.FEW}, got "
                f"{self.steps}"
            )


PRESETS = {"quick": Config(), "full": Config(seeds=100)}


@dataclass(frozen=True)
class Result:
    """Rows are the settings of `SETTINGS`, columns seeds."""

    reported: np.ndarray  # (r, s, p) bool, by problem
    remedied: np.ndarray  # (r, s, p) the same of the runs with the remedy
    loss: np.ndarray  # (r, s, T) recorded; NaN: failed, or fewer records
    remedied_loss: np.ndarray  # (r, s, T)
    final: np.ndarray  # (r, s) mean of the last tenth; of the held-out loss, if
    remedied_final: np.ndarray  # (r, s) overfitting is the fault; infinite: failed


def run(config: Config) -> Result:
    """Train all settings and remedies, a compiled program a group; then diagnose."""
    data_key, fit_key, check_key = jax.random.split(jax.random.key(config.seed), 3)
    problems = [
        _diag_runs.problem(key, config.n_train, config.inputs)
        for key in jax.random.split(data_key, config.seeds)
    ]
    stacked = jax.tree.map(lambda *seeds: np.stack(seeds), *problems)
    keys = jax.random.split(fit_key, config.seeds)
    wanted = list(
        dict.fromkeys(
            pair
            for each in SETTINGS
            for pair in ((each.group, each.numbers), *_remedy(each))
        )
    )
    found = {}
    with bar(len(wanted), "diagnose") as drawn:
        for group in dict.fromkeys(group for group, _ in wanted):
            rows = [numbers for g, numbers in wanted if g == group]
            numbers = jax.tree.map(lambda *each: np.array(each, np.float32), *rows)
            runs = jax.tree.map(
                np.asarray,
                _diag_runs.train_all(
                    group, config.hidden, config.steps, numbers, keys, stacked
                ),
            )
            for row, each in enumerate(rows):
                found[group, each] = _look(
                    config,
                    group,
                    each,
                    jax.tree.map(lambda leaf, row=row: leaf[row], runs),
                    stacked,
                    check_key,
                )
                drawn.update(1)
    faulty = [found[each.group, each.numbers] for each in SETTINGS]
    cured = [found[(_remedy(s) or [(s.group, s.numbers)])[0]] for s in SETTINGS]
    return Result(
        reported=np.stack([reported for reported, *_ in faulty]),
        remedied=np.stack([reported for reported, *_ in cured]),
        loss=np.stack([loss for _, loss, *_ in faulty]),
        remedied_loss=np.stack([loss for _, loss, *_ in cured]),
        final=_final(faulty),
        remedied_final=_final(cured),
    )


def _remedy(setting):
    """Group and numbers of the remedied runs, none or one."""
    return [setting.remedy[1:]] if setting.remedy else []


def _final(found):
    """What each run is judged by."""
    return np.stack([
        each[3] if setting.problem == "overfitting" else each[2]
        for each, setting in zip(found, SETTINGS, strict=True)
    ])


def _look(
    config: Config,
    group: Group,
    numbers: Numbers,
    runs: _diag_runs.Run,
    problems: Problem,
    key: jax.Array,
) -> tuple[np.ndarray, ...]:
    """What is reported of each seed, the losses, and where they end."""
    reported = []
    for seed in range(len(runs.loss)):
        mine = jax.tree.map(lambda leaf, seed=seed: leaf[seed], runs)
        x = np.asarray(
            _diag_runs.spread_inputs(
                numbers, jax.tree.map(lambda leaf, s=seed: leaf[s], problems)
            ).x
        )
        gradient_check = None
        if group.by_hand:
            gradient_check = _diag_runs.check(
                mine.initial,
                (x, mine.y),
                numbers.error,
                jax.random.fold_in(key, seed),
            )
        symptoms = diagnostics.diagnose(
            mine.loss,
            validation=mine.validation,
            gradient_norms=None if np.isnan(mine.loss).any() else mine.norms,
            update_cosines=None if group.batch_size else mine.cosines,
            activations=mine.activations,
            gradient_check=gradient_check,
            condition_number=diagnostics.data_conditioning(x).on_its_range,
            steps=config.steps,
        )
        seen = {symptom.problem for symptom in symptoms}
        reported.append([name in seen for name in diagnostics.PROBLEMS])
    tenth = max(1, runs.loss.shape[1] // 10)
    ends = [
        np.nan_to_num(curve[:, -tenth:].mean(1), nan=np.inf)
        for curve in (runs.loss, runs.validation)
    ]
    missing = config.steps - runs.loss.shape[1]
    padded = np.pad(runs.loss, ((0, 0), (0, missing)), constant_values=np.nan)
    return np.array(reported), padded, *ends


def interval(hits: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share.

    Args:
        hits: 0..trials.
        trials: At least 1.

    Returns:
        Low and high end, in 0..1.
    """
    z = 1.959964
    share, spread = hits / trials, z**2 / trials
    middle = (share + spread / 2) / (1 + spread)
    half = (
        z
        * math.sqrt(share * (1 - share) / trials + z**2 / 4 / trials**2)
        / (1 + spread)
    )
    return max(0.0, middle - half), min(1.0, middle + half)


def check(result: Result) -> list[Finding]:
    """Recognition rates, false alarms, and whether remedies work."""
    labels = {"kind": "observation", "source": "this study"}
    findings = []
    for row, setting in enumerate(SETTINGS):
        if not setting.problem:
            alarms = result.reported[row].any(1)
            findings.append(
                at_most(
                    f"{setting.name}: share of runs with an alarm",
                    high=1 - MOST,
                    measured=alarms.mean(),
                    note=_rate(alarms) + _others(result.reported[row], ""),
                    **labels,
                )
            )
            continue
        hit = _has(result.reported[row], setting.problem)
        findings.append(
            at_least(
                f"{setting.name}: share of runs in which {setting.problem} is reported",
                low=MOST,
                measured=hit.mean(),
                note=_rate(hit) + _others(result.reported[row], setting.problem),
                **labels,
            )
        )
    for row, setting in enumerate(SETTINGS):
        if setting.remedy is None:
            continue
        had = _has(result.reported[row], setting.problem)
        gone = ~_has(result.remedied[row], setting.problem)[had]
        lower = result.remedied_final[row] < result.final[row]
        name = setting.remedy[0]
        findings += [
            at_least(
                f"{setting.name}, remedied ({name}): of the runs that had the symptom, "
                "share without it",
                low=MOST,
                measured=gone.mean() if len(gone) else np.nan,
                note=_rate(gone) + _others(result.remedied[row], setting.problem),
                **labels,
            ),
            at_least(
                f"{setting.name}, remedied ({name}): share of runs that end at a lower "
                f"{_judged(setting)}",
                low=MOST,
                measured=lower.mean(),
                note=f"{_rate(lower)}; medians {np.median(result.final[row]):.3g} and "
                f"{np.median(result.remedied_final[row]):.3g}",
                **labels,
            ),
        ]
    return findings


def _judged(setting):
    """Which loss a remedy shall lower."""
    return "held-out loss" if setting.problem == "overfitting" else "loss"


def _has(reported, problem):
    """In which seeds a problem is reported."""
    return reported[:, diagnostics.PROBLEMS.index(problem)]


def _rate(hits):
    """Counts and interval."""
    if not len(hits):
        return "none had it"
    low, high = interval(int(hits.sum()), len(hits))
    return f"{hits.sum()} of {len(hits)}, 95 % interval {low:.0%} to {high:.0%}"


def _others(reported, but):
    """What else is reported, and how often."""
    told = [
        f"{name} in {count}"
        for name, count in zip(diagnostics.PROBLEMS, reported.sum(0), strict=True)
        if count and name != but
    ]
    return f"; {'also ' if but else ''}reported: {', '.join(told)}" if told else ""


def plot(result: Result) -> dict[str, Plot]:
    """Faults against reports, example curves, and losses before and after."""
    return {
        "confusion": _plot_confusion(result),
        "curves": _plot_curves(result),
        "remedies": _plot_remedies(result),
    }


def _plot_confusion(result):
    """Shares of seeds, a row a setting and a column a problem."""
    drawn, axes = figure(width=7.2, height=5.6)
    none = ~result.reported.any(2)
    shares = np.concatenate([none.mean(1)[:, None], result.reported.mean(1)], 1)
    columns = ("none", *diagnostics.PROBLEMS)
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for row, setting in enumerate(SETTINGS):
        target = columns.index(setting.problem or "none")
        for column, share in enumerate(shares[row]):
            if share:
                axes.text(
                    column,
                    row,
                    f"{share:.0%}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if share > 0.6 else "black",
                    fontweight="bold" if column == target else "normal",
                )
        axes.add_patch(
            Rectangle((target - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=VERMILLION)
        )
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right")
    axes.set_yticks(range(len(SETTINGS)), [setting.name for setting in SETTINGS])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("reported")
    return Plot(
        drawn,
        caption=f"Share of {result.reported.shape[1]} runs of each kind in which each "
        "problem is reported. Outlined: what is wrong. A run may have several "
        "symptoms.",
        alt="Matrix of faults against reports. "
        + "; ".join(
            f"{setting.name}: {setting.problem or 'none'} in {shares[row, column]:.0%}"
            for row, setting in enumerate(SETTINGS)
            for column in (columns.index(setting.problem or "none"),)
        )
        + ".",
    )


def _plot_curves(result):
    """The first seed of every fault, with and without its remedy."""
    faults = [i for i, setting in enumerate(SETTINGS) if setting.problem]
    drawn, axes = figure(5, 3, height=9.0)
    for panel in axes.ravel()[len(faults) :]:
        panel.set_axis_off()
    for row, panel in zip(faults, axes.ravel(), strict=False):
        for curves, color, label in (
            (result.loss, VERMILLION, "as is"),
            (result.remedied_loss, BLUE, "remedied"),
        ):
            curve = curves[row, 0]
            panel.plot(
                np.linspace(0, 1, len(curve[~np.isnan(curve)]) or 1),
                curve[~np.isnan(curve)] if np.isfinite(curve).any() else [np.nan],
                color=color,
                lw=0.9,
                label=label,
            )
        panel.set_title(SETTINGS[row].name, fontsize=8)
        panel.set_yscale("log")
        panel.set_xticks([])
    for panel in axes[:, 0]:
        panel.set_ylabel("loss")
    drawn.supxlabel("run, from start to end", fontsize=9)
    axes[0, 0].legend()
    return Plot(
        drawn,
        caption="The training loss of one run with each fault, and of the same run "
        "with the remedy. A run that fails ends early.",
        alt="Small panels of training curves, one a fault: as is in one color, "
        "remedied in another.",
    )


_AXIS_END = 10.0
"""Losses beyond are drawn here."""


def _plot_remedies(result):
    """Where runs end, before and after."""
    drawn, axes = figure(width=7.2, height=4.4)
    faults = [i for i, setting in enumerate(SETTINGS) if setting.problem]
    for place, row in enumerate(faults):
        for values, color, shift, label in (
            (result.final[row], VERMILLION, -0.15, "as is"),
            (result.remedied_final[row], BLUE, 0.15, "remedied"),
        ):
            beyond = ~(values <= _AXIS_END)
            for some, marker in ((~beyond, "o"), (beyond, ">")):
                axes.plot(
                    np.where(beyond, _AXIS_END, values)[some],
                    np.full(some.sum(), place + shift),
                    marker,
                    color=color,
                    alpha=0.6,
                    label=label if place == 0 and marker == "o" else None,
                )
    axes.set_yticks(range(len(faults)), [f"{SETTINGS[i].name}" for i in faults])
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="loss at the end (overfitting: held-out loss)")
    axes.grid(axis="y", color=GRAY, alpha=0.2)
    drawn.legend(loc="outside upper right", ncols=2)
    return Plot(
        drawn,
        caption="Each marker is a run; triangles: beyond the axis, or failed.",
        alt="Final loss of runs with each fault and with its remedy. Medians: "
        + "; ".join(
            f"{SETTINGS[i].name} {np.median(result.final[i]):.3g}, remedied "
            f"{np.median(result.remedied_final[i]):.3g}"
            for i in faults
        )
        + ".",
    )


def metrics(result: Result) -> Iterator[dict]:
    """One row a setting and seed."""
    for row, setting in enumerate(SETTINGS):
        for seed in range(result.final.shape[1]):
            yield {
                "setting": setting.name,
                "problem": setting.problem,
                "seed": seed,
                "reported": [
                    name
                    for name, said in zip(
                        diagnostics.PROBLEMS, result.reported[row, seed], strict=True
                    )
                    if said
                ],
                "final_loss": float(result.final[row, seed]),
                "remedied_loss": float(result.remedied_final[row, seed]),
            }


if __name__ == "__main__":
    _cli.main(__file__)
