import re
import zipfile

import numpy as np
import pytest

from jaxdl.data import load_npz

RNG = np.random.default_rng(0)
GOOD = {
    "x_train": RNG.normal(size=(6, 3)),
    "y_train": np.array([4, -2, 4, 9, 9, -2]),
    "x_test": RNG.normal(size=(4, 3)),
    "y_test": np.array([9, 4, 4, -2]),
}


@pytest.fixture
def save(tmp_path):
    def write(writer=np.savez, **changes):
        path = tmp_path / "mine.npz"
        arrays = GOOD | changes
        writer(path, **{k: v for k, v in arrays.items() if v is not None})
        return path

    return write


def rejects(path, *parts):
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        load_npz(path)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("writer", [np.savez, np.savez_compressed])
def test_labels_are_numbered_in_sorted_order(save, writer):
    data = load_npz(save(writer))
    np.testing.assert_array_equal(data.x_train, GOOD["x_train"])
    np.testing.assert_array_equal(data.x_test, GOOD["x_test"])
    assert data.classes.tolist() == [-2, 4, 9]
    assert data.y_train.tolist() == [1, 0, 1, 2, 2, 0]
    assert data.y_test.tolist() == [2, 1, 1, 0]
    assert data.y_train.dtype == data.y_test.dtype == np.int64


def test_a_path_may_be_a_string_and_other_arrays_are_ignored(save):
    path = save(notes=np.array(["mine"]), extra=np.array([{}], dtype=object))
    assert load_npz(str(path)).x_train.shape == (6, 3)


@pytest.mark.parametrize(
    "dtype",
    ["bool", "uint8", "int16", "int64", "float16", "float32", ">f4", "longdouble"],
)
def test_inputs_of_any_real_dtype_become_float64(save, dtype):
    x = RNG.integers(0, 200, (6, 2, 5)).astype(dtype)
    data = load_npz(save(x_train=x, x_test=x[:4]))
    assert data.x_train.dtype == data.x_test.dtype == np.float64
    assert data.x_train.dtype.isnative
    np.testing.assert_array_equal(data.x_train, x.astype(np.float64))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", ">i4", "uint64"])
def test_labels_of_any_integer_dtype_keep_their_values(save, dtype):
    y = np.array([1, 0, 1, 1, 0, 0]).astype(dtype)
    data = load_npz(save(y_train=y, y_test=y[:4].astype(np.int64)))
    assert data.classes.dtype == dtype
    assert data.y_train.tolist() == y.astype(int).tolist()
    assert data.y_test.tolist() == y[:4].astype(int).tolist()
    np.testing.assert_array_equal(data.classes[data.y_train], y)


def test_test_labels_are_numbered_as_in_training_though_some_are_absent(save):
    data = load_npz(save(y_test=np.array([9, 4, 4, 9])))
    assert data.y_test.tolist() == [2, 1, 1, 2]
    assert len(data.classes) == 3


def test_large_labels_are_compared_exactly(save):
    y = np.array([2**63, 2**63 + 1, 2**53, 2**53, 2**53, 2**53], np.uint64)
    data = load_npz(save(y_train=y, y_test=np.full(4, 2**53)))
    assert data.y_train.tolist() == [1, 2, 0, 0, 0, 0]
    rejects(save(y_train=y, y_test=np.full(4, 2**53 + 1)), "9007199254740993")


def test_rejects_a_missing_file_and_points_at_one_with_the_suffix(save, tmp_path):
    rejects(tmp_path / "other", "there is no such file")
    path = save()
    rejects(path.with_suffix(""), "there is no such file", f"there is {path}, is it")
    rejects(tmp_path, "expected an .npz file, got a folder")


def test_rejects_what_is_no_archive(tmp_path):
    single = tmp_path / "single.npy"
    np.save(single, GOOD["x_train"])
    rejects(single, "got a single array (.npy)", "write it with np.savez")
    text = tmp_path / "table.npz"
    text.write_text("1,2,3\n")
    rejects(text, "expected an .npz archive of arrays, got something else")
    text.write_bytes(b"")
    rejects(text, "expected an .npz archive of arrays, got something else")


@pytest.mark.parametrize("writer", [np.savez, np.savez_compressed])
def test_rejects_a_truncated_file(save, writer):
    path = save(writer)
    whole = path.read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        rejects(path, "truncated, damaged", "copy or write it again")


@pytest.mark.parametrize("writer", [np.savez, np.savez_compressed])
def test_a_damaged_byte_never_gives_other_data(save, writer):
    path = save(writer)
    whole = path.read_bytes()
    errors = 0
    for i in range(0, len(whole), 5):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :])
        try:
            data = load_npz(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017  (not every byte matters)
            errors += 1
            continue
        np.testing.assert_array_equal(data.x_train, GOOD["x_train"])
        assert data.y_test.tolist() == [2, 1, 1, 0]
    assert errors > len(whole) // 10


def test_damage_names_the_array(save):
    path = save()
    start = path.read_bytes().index(GOOD["x_test"].tobytes())
    damaged = bytearray(path.read_bytes())
    damaged[start + 5] ^= 1
    path.write_bytes(damaged)
    rejects(path, "x_test cannot be read", "CRC")


def test_rejects_a_locked_archive(save):
    path = save()
    whole = bytearray(path.read_bytes())
    whole[6] |= 1  # the flag "encrypted", in the first array's own header
    whole[whole.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    path.write_bytes(whole)
    rejects(path, "x_train cannot be read", "encrypted")


def test_rejects_missing_arrays_and_suggests_near_names(save):
    path = save(x_train=None, X_train=GOOD["x_train"], y_test=None)
    rejects(
        path,
        "missing x_train, y_test;",
        "there are y_train, x_test, X_train",
        "rename 'X_train' to 'x_train'?",
    )


def test_never_suggests_labels_for_inputs(save):
    path = save(x_train=None, y_train=None, train_y=GOOD["y_train"])
    rejects(path, "rename 'train_y' to 'y_train'?")
    with pytest.raises(ValueError, match="missing x_train") as caught:
        load_npz(path)
    assert "to 'x_train'" not in str(caught.value)


def test_rejects_an_empty_archive(tmp_path):
    path = tmp_path / "empty.npz"
    np.savez(path)
    rejects(path, "missing x_train, y_train, x_test, y_test; there are none")


def test_rejects_a_member_that_is_no_array(save):
    path = save(x_test=None)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_test", "1 2 3")
    rejects(path, "x_test is not a NumPy array")


class Trap:
    """Unpickling this would fail the test."""

    def __reduce__(self):
        return pytest.fail, ("it was unpickled",)


@pytest.mark.parametrize("key", GOOD)
def test_refuses_pickled_objects_without_opening_them(save, key):
    trap = np.array([Trap(), Trap()], dtype=object)
    rejects(save(**{key: trap}), f"{key} has dtype object", "run any code")


@pytest.mark.parametrize("key", ["x_train", "x_test"])
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda x: x.astype(complex), ["must be real, got dtype complex128"]),
        (
            lambda x: x.astype(str),
            ["must hold numbers, got dtype <U", ".astype(float)"],
        ),
        (lambda x: x.astype("M8[s]"), ["must hold numbers, got dtype datetime64"]),
        (lambda x: x[:, 0], ["must have shape (n, features)", ".reshape(-1, 1)"]),
        (lambda x: x[:0], ["must not be empty, got shape (0, 3)"]),
        (lambda x: x[:, :0], ["must not be empty, got shape"]),
    ],
)
def test_rejects_unfit_inputs(save, key, change, parts):
    rejects(save(**{key: change(GOOD[key])}), f": {key} must", *parts)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rejects_what_is_not_finite_and_says_where(save, bad):
    x = GOOD["x_test"].copy()
    x[1, 2] = x[3, 0] = bad
    rejects(save(x_test=x), "x_test must be finite, got 2", "12 entries", "at (1, 2);")


@pytest.mark.parametrize("key", ["y_train", "y_test"])
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda y: y[:, None], ["shape (n,), got (", ", 1)", ".ravel()"]),
        (lambda y: np.eye(10, dtype=int)[y], ["shape (n,), got (", ".argmax(axis=1)"]),
        (lambda y: y[0], ["must have shape (n,), got ()"]),
        (
            lambda y: y.astype(float),
            ["integer class labels", "float64", ".astype(int)"],
        ),
        (lambda y: y.astype(str), ["integer class labels", "<U", "np.unique"]),
        (lambda y: y[:0], ["must not be empty, got shape (0,)"]),
    ],
)
def test_rejects_unfit_labels(save, key, change, parts):
    rejects(save(**{key: change(GOOD[key])}), f": {key} must", *parts)


@pytest.mark.parametrize("part", ["train", "test"])
def test_rejects_lengths_that_differ(save, part):
    x = GOOD[f"x_{part}"]
    rejects(
        save(**{f"x_{part}": x[:-1]}),
        f"got {len(x) - 1} rows in x_{part} and {len(x)} in y_{part}",
    )


def test_rejects_features_that_differ(save):
    path = save(x_test=GOOD["x_test"][:, :2])
    rejects(path, "x_test must have the features of x_train, (3,) a row, got (2,)")


def test_rejects_a_single_class(save):
    path = save(y_train=np.full(6, 4), y_test=np.full(4, 4))
    rejects(path, "y_train must hold at least two classes, got only 4")


def test_rejects_test_labels_that_do_not_occur_in_training(save):
    path = save(y_test=np.array([4, 5, 9, 7]))
    rejects(path, "y_test must hold labels that occur in y_train, got [5, 7] as well")
