import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex

from experiments._figures import PALETTE, band, figure, style


def test_the_style_ends_with_its_context():
    before = mpl.rcParams["font.size"]
    with style():
        assert mpl.rcParams["font.size"] == 9
    assert mpl.rcParams["font.size"] == before


@pytest.mark.parametrize(
    ("rows", "columns", "size"),
    [(1, 1, (4.8, 3.1)), (2, 1, (4.8, 6.2)), (2, 3, (7.2, 5.2))],
)
def test_sizes_and_axes(rows, columns, size):
    drawing, axes = figure(rows, columns, squeeze=False)
    assert tuple(drawing.get_size_inches()) == size
    assert axes.shape == (rows, columns)
    assert not axes[0, 0].spines["top"].get_visible()


def test_a_size_can_be_given():
    drawing, axes = figure(1, 2, width=3, height=2, sharey=True)
    assert tuple(drawing.get_size_inches()) == (3, 2)
    assert axes[0].get_shared_y_axes().joined(*axes)


def test_a_band_has_the_color_of_its_line():
    _, axes = figure()
    x = np.arange(3)
    for shift in (0, 1):
        band(axes, x, x + shift, x + shift + 1, x + shift + 2, label=str(shift))
    colors = [to_hex(line.get_color()).upper() for line in axes.lines]
    fills = [to_hex(c.get_facecolor()[0]).upper() for c in axes.collections]
    assert colors == fills == list(PALETTE[:2])
    vertices = axes.collections[1].get_paths()[0].vertices
    np.testing.assert_array_equal(vertices.min(0), [0, 1])
    np.testing.assert_array_equal(vertices.max(0), [2, 5])
