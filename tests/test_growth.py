"""The benchmark of time and memory as the work grows, and its committed results."""

from dataclasses import replace

import pytest

from benchmarks import growth
from benchmarks.growth import AXES, COLUMNS, MARKED, PAGE, PLOT, PRIORS, READ
from benchmarks.speed.machine import operations
from tools.csv_rows import read_rows, write_rows

ROWS = [
    {"axis": "codes", "work": PRIORS[0], "value": str(codes), "seconds": str(codes / 100)}
    | {"megabytes": str(codes**2), "threads": "2", "hardware": "2 x something"}
    for codes in (16, 64, 256)
]


def test_slope_is_the_exponent():
    assert growth.slope([(1, 3.0), (10, 30.0), (100, 300.0)]) == pytest.approx(1)
    assert growth.slope([(1, 1.0), (2, 4.0), (8, 64.0)]) == pytest.approx(2)


@pytest.mark.parametrize("work", PRIORS)
def test_time_and_memory_of_a_prior_are_measured(monkeypatch, work):
    sizes = {"width": 32, "depth": 1, "num_codes": 32, "text_length": 5, "vocabulary": 20}
    monkeypatch.setattr(growth, "SMALL", replace(growth.SMALL, heads=4, **sizes))
    measured = growth.measure(work, codes=16, batch=2)
    assert measured["seconds"] > 0
    assert measured["megabytes"] > 0


@pytest.mark.parametrize("work", PRIORS)
def test_a_run_has_as_many_codes_and_pictures_as_stated(work):
    """Counted by the operations of its products."""
    sizes = {"width": 32, "depth": 1, "heads": 4, "num_codes": 32}
    sizes |= {"text_length": 5, "vocabulary": 20}
    counts = [
        operations(
            growth.runner(work, replace(growth.SMALL, pixels=4 * edge, batch=batch, **sizes))
        )
        for edge, batch in ((4, 1), (4, 3), (8, 1))
    ]
    assert counts[1] == pytest.approx(3 * counts[0], rel=0.1)
    assert 3 < counts[2] / counts[0] < 16  # between proportion to the codes and to their square


def test_memory_of_a_process_that_reads_tokens_is_measured():
    assert growth.measure(READ, rows=2000).keys() == {"seconds", "megabytes"}


def test_table_states_first_and_last_point_and_exponents():
    line = f"| {PRIORS[0]} | 16 codes | 256 codes | 0.16 to 2.56 | 1.00 | 256 to 65,536 | 2.00 |"
    assert line in growth.table(ROWS)
    assert "- 2 x something, 2 threads" in growth.table(ROWS)


def test_rows_are_written_and_read_and_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "RESULTS", tmp_path / "growth.csv")
    monkeypatch.setattr(growth, "PLOT", tmp_path / "plot.png")
    write_rows(growth.RESULTS, ROWS, growth.COLUMNS)
    assert read_rows(growth.RESULTS) == ROWS
    growth.draw(ROWS)
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_committed_table_and_plot_are_of_the_committed_rows():
    found = read_rows(growth.RESULTS)
    assert MARKED.search(PAGE.read_text()).group() == growth.table(found)
    assert list(found[0]) == COLUMNS
    measured = {(row["axis"], row["work"], int(row["value"])) for row in found}
    expected = {(a, w, v) for a, axis in AXES.items() for w in axis.works for v in axis.values}
    assert measured == expected
    assert PLOT.is_file()
