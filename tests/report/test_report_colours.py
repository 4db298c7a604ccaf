"""What stands beside each other in a figure can be told apart, by colour-blind readers too."""

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest

from crisp_loop.report.page.colours import INK, LEAKAGE, design_keys, level_keys, tensor_keys

Floats = npt.NDArray[np.float64]

# Machado, Oliveira and Fernandes (2009), severity 1.0, for linear RGB.
SIGHTS: dict[str, Floats] = {
    "all": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip
# sRGB to XYZ (IEC 61966-2-1), over the white point D65.
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
     [0.0193339, 0.1191920, 0.9503041]]
) / np.array([[0.95047], [1.0], [1.08883]])  # fmt: skip
APART = 15.0
"""Distance in CIE 1976 Lab; a just noticeable one is about 2.3."""
LIGHT, DARK = "#1d2129", "#e7e9ee"
"""The page's ink on its two grounds."""

FIGURES = {
    "bottlenecks": level_keys(["DRAM", "SMEM", "RF", "LRF"], "arithmetic"),
    "energy by tensor": tensor_keys(["A", "B", "Z"], "arithmetic"),
    "designs": design_keys(["dense", "nvidia-stc", "dstc", "crisp-stc", "s2ta"], "dense"),
}


def lab(colour: str, sight: Floats) -> Floats:
    encoded = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(sight @ linear, 0, 1)
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_lab_of_known_colours() -> None:
    """Values of D65 sRGB as tables give them."""
    assert lab("#ffffff", np.eye(3)) == pytest.approx([100, 0, 0], abs=0.02)
    assert lab("#ff0000", np.eye(3)) == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert lab("#0000ff", np.eye(3)) == pytest.approx([32.30, 79.19, -107.86], abs=0.02)


def test_the_simulation_merges_what_protans_confuse() -> None:
    """A red and a green of the same confusion line come together; this test can fail."""
    red, green = (lab(each, SIGHTS["protanopia"]) for each in ("#b02020", "#4b4b20"))
    plain = lab("#b02020", np.eye(3)) - lab("#4b4b20", np.eye(3))
    assert np.linalg.norm(red - green) < APART < np.linalg.norm(plain)


@pytest.mark.parametrize("ink", [LIGHT, DARK])
@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("figure", FIGURES)
def test_colours_stay_apart(figure: str, sight: str, ink: str) -> None:
    keys = FIGURES[figure].values()
    colours = {key.name: ink if key.colour == INK else key.colour for key in keys}
    for (one, a), (other, b) in combinations(colours.items(), 2):
        apart = float(np.linalg.norm(lab(a, SIGHTS[sight]) - lab(b, SIGHTS[sight])))
        assert apart >= APART, f"{one} and {other} are {apart:.1f} apart"


@pytest.mark.parametrize("figure", FIGURES)
def test_colour_never_stands_alone(figure: str) -> None:
    keys = list(FIGURES[figure].values())
    assert len({key.mark for key in keys}) == len(keys)


def test_leakage_has_a_key() -> None:
    assert LEAKAGE in tensor_keys(["A"], "arithmetic")
