"""Positions of codes on the sheets of a run."""

import numpy as np
import pyarrow as pa
import pytest

from vqpriors.core.arrays import StringColumn
from vqpriors.data.pixels import HIDDEN_GRAY
from vqpriors.data.samples import SheetRow
from vqpriors.data.token_spec import TokenSpec
from vqpriors.data.tokens import TokenSet
from vqpriors.figures import sheets
from vqpriors.figures.sample_sheets import draw_sheets

SPEC = TokenSpec(rows=1, columns=2, codebook_size=250, fingerprint="f" * 64)
TEST = TokenSet(
    SPEC,
    StringColumn(pa.chunked_array([["0", "1"]])),
    StringColumn(pa.chunked_array([["x", "y"]])),
    np.array([[10, 20], [30, 40]], np.uint16),
)
ORIGINALS = np.full((2, 1, 2, 4), 77, np.uint8)
ROWS = [
    *(SheetRow("samples", "temperature 0.7", c, [i, i], []) for i, c in enumerate("aabb", 100)),
    *(SheetRow("temperatures", "temperature 1", c, [i, i], []) for i, c in enumerate("ab", 110)),
    *(SheetRow("temperatures", "temperature 2", c, [i, i], []) for i, c in enumerate("ab", 120)),
    SheetRow("edits", "completion", "x", [10, 200], [True, False]),
    SheetRow("edits", "completion", "y", [30, 210], [True, False]),
]


def decode(codes):
    """Draw each code as a gray patch of 2 x 2 pixels."""
    return codes.astype(np.uint8).repeat(2, 1)[:, None, None, :].repeat(2, 2)


@pytest.fixture(scope="module")
def drawn():
    return draw_sheets(ROWS, decode=decode, real=TEST, originals=ORIGINALS, seed=0)


def flat(*levels):
    return decode(np.array([[level, level] for level in levels]))


def test_samples_are_grouped_by_caption(drawn):
    pixels = np.stack([flat(100, 101), flat(102, 103)])
    assert drawn["samples"] == sheets.captioned_sheet(pixels, ["a", "b"], across=2)


def test_temperatures_are_columns(drawn):
    pixels = np.stack([flat(110, 120)[:, None], flat(111, 121)[:, None]])
    headings = ["temperature 1", "temperature 2"]
    assert drawn["temperatures"] == sheets.comparison_sheet(pixels, ["a", "b"], headings)


def test_edits_show_the_given_part_and_the_result(drawn):
    whole = decode(TEST.codes)
    given = decode(np.array([[10, HIDDEN_GRAY], [30, HIDDEN_GRAY]]))
    found = decode(np.array([[10, 200], [30, 210]]))
    blocks = [
        sheets.Block([whole], "the pictures, reconstructed from their codes"),
        sheets.Block([given, found], "completion"),
    ]
    assert drawn["edits"] == sheets.sheet(blocks)


def test_reconstructions_are_below_their_originals(drawn):
    assert drawn["reconstructions"] == sheets.pair_sheet(ORIGINALS, decode(TEST.codes))
