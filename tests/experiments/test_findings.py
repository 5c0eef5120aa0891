import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from experiments._findings import (
    Finding,
    at_least,
    at_most,
    between,
    close,
    expected_text,
    measured_text,
    relative,
)

LABELS = {"kind": "theorem", "source": "by hand"}
FIELDS = [
    "claim",
    "kind",
    "source",
    "expected",
    "measured",
    "tolerance",
    "unit",
    "holds",
    "note",
]


@pytest.mark.parametrize(
    ("measured", "holds"), [(3.5, True), (4.5, True), (3.4, False), (4.6, False)]
)
def test_close_holds_within_the_tolerance_ends_included(measured, holds):
    finding = close("x", measured=measured, expected=4, tolerance=0.5, **LABELS)
    assert finding.holds is holds


@pytest.mark.parametrize(("measured", "holds"), [(-4.4, True), (-4.5, False)])
def test_relative_scales_the_tolerance_by_the_size_of_the_expected(measured, holds):
    finding = relative("x", measured=measured, expected=-4.0, tolerance=0.11, **LABELS)
    assert finding.holds is holds
    assert finding.tolerance == pytest.approx(0.44)


@pytest.mark.parametrize(
    ("measured", "holds"), [(1, True), (2, True), (0.99, False), (2.01, False)]
)
def test_between_holds_inside_the_interval_ends_included(measured, holds):
    assert between("x", measured=measured, low=1, high=2, **LABELS).holds is holds


def test_one_sided_claims_have_an_open_end():
    least = at_least("x", measured=1.0, low=1.0, **LABELS)
    most = at_most("x", measured=1.1, high=1.0, **LABELS)
    assert (least.expected, least.holds) == ((1.0, None), True)
    assert (most.expected, most.holds) == ((None, 1.0), False)
    assert least.tolerance is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_never_holds(value):
    findings = [
        close("x", measured=value, expected=0, tolerance=1, **LABELS),
        close("x", measured=value, expected=value, tolerance=1, **LABELS),
        close("x", measured=0, expected=0, tolerance=abs(value), **LABELS),
        at_least("x", measured=value, low=-1e300, **LABELS),
        at_most("x", measured=value, high=1e300, **LABELS),
        at_most("x", measured=0, high=value, **LABELS),
    ]
    assert not any(finding.holds for finding in findings)


def test_json_has_exactly_the_fields_and_is_strict():
    finding = close(
        "x", measured=math.nan, expected=2, tolerance=1, unit="s", note="odd", **LABELS
    )
    fields = finding.to_json()
    assert list(fields) == FIELDS
    assert json.loads(json.dumps(fields, allow_nan=False)) == {
        **LABELS,
        "claim": "x",
        "expected": 2,
        "measured": None,
        "tolerance": 1,
        "unit": "s",
        "holds": False,
        "note": "odd; measured is nan, written as null",
    }
    interval = at_most("x", measured=1, high=math.inf, **LABELS).to_json()
    assert interval["expected"] == [None, None]
    assert interval["note"] == "expected is inf, written as null"
    assert at_least("x", measured=1, low=0, **LABELS).to_json()["expected"] == [0, None]


def test_numbers_of_numpy_and_jax_become_python_numbers():
    finding = close(
        "x",
        measured=np.float32(0.5),
        expected=jnp.asarray(1.0),
        tolerance=np.ones(1),
        **LABELS,
    )
    numbers = (finding.measured, finding.expected, finding.tolerance)
    assert numbers == (0.5, 1.0, 1.0)
    assert {type(number) for number in numbers} == {float}
    count = at_least("x", measured=np.int64(3), low=np.int32(2), **LABELS)
    assert type(count.measured) is int


def test_the_verdict_cannot_be_given():
    with pytest.raises(TypeError, match="holds"):
        Finding(claim="x", expected=1, measured=2, tolerance=0, holds=True, **LABELS)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "guess"}, "kind must be one of .* got 'guess'"),
        ({"claim": " "}, "claim must not be empty"),
        ({"source": ""}, "source must not be empty"),
        ({"measured": True}, "measured must be a number, got True"),
        ({"measured": "1"}, "measured must be a number, got '1'"),
        ({"measured": np.ones(2)}, "measured must be a number"),
        ({"expected": None}, "expected must be a number, got None"),
        ({"tolerance": None}, "tolerance must be a number, got None"),
        ({"tolerance": -1.0}, "tolerance must be >= 0, got -1.0"),
        ({"expected": (1, 2)}, "takes no tolerance"),
        ({"expected": (None, None), "tolerance": None}, "not both None"),
        ({"expected": (1, 2, 3), "tolerance": None}, "two ends"),
        ({"expected": (2, 1), "tolerance": None}, "low end is above"),
    ],
)
def test_rejects(change, message):
    usual = {"claim": "x", "expected": 1, "measured": 1, "tolerance": 1, **LABELS}
    with pytest.raises(ValueError, match=message):
        Finding(**(usual | change))


@pytest.mark.parametrize(
    ("measured", "expected", "tolerance", "texts"),
    [
        (20.0312, 20, 0.01, ("20 ± 0.01", "20.031")),
        (0.50012345, 0.5, 1e-3, ("0.5 ± 0.001", "0.5001")),
        (3.21e-9, 0, 1e-6, ("0 ± 1e-06", "3.21e-09")),
        (1234567, 1234560, 10, ("1234560 ± 10", "1234567")),
        (math.nan, 1.5, 0.25, ("1.5 ± 0.25", "nan")),
        (2, 2, 0, ("2", "2")),
    ],
)
def test_texts_have_sensible_digits(measured, expected, tolerance, texts):
    finding = close(
        "x", measured=measured, expected=expected, tolerance=tolerance, **LABELS
    )
    assert (expected_text(finding), measured_text(finding)) == texts


def test_texts_of_intervals_and_units():
    finding = between("x", measured=0.3, low=0.25, high=0.5, unit="s", **LABELS)
    assert (expected_text(finding), measured_text(finding)) == (
        "0.25 to 0.5 s",
        "0.3 s",
    )
    assert expected_text(at_most("x", measured=1, high=1e-12, **LABELS)) == "≤ 1e-12"


def test_the_measured_text_never_belies_the_verdict():
    rng = np.random.default_rng(0)
    for nudge in rng.normal(size=200) * 10.0 ** rng.integers(-14, 0, 200):
        finding = close("x", measured=1.5 + nudge, expected=1, tolerance=0.5, **LABELS)
        shown = float(measured_text(finding))
        assert (abs(shown - 1) <= 0.5) is finding.holds
