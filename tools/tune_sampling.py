"""Compare sampling settings on the validation split, and name the best one.

Pictures are drawn with each combination of values. Of the combinations whose coverage is at least
0.95 of that of real pictures, the best has the highest conformity of its worst class (of all
pictures, if there are no classes).
"""

import argparse
import copy
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from vqpriors.core.params import Params, Seed, read_params
from vqpriors.core.registry import kind_names
from vqpriors.data.samples import choose_prompts
from vqpriors.evaluation import adherence, classes, conformity, coverage
from vqpriors.evaluation.base.inputs import MIN_COMPARED, Inputs
from vqpriors.inference.stage_sampler import SAMPLERS, StageSampler, load_stage_sampler

SPLIT = "validation"
COVERAGE_SHARE = 0.95  # of the coverage of real pictures, that the best setting must have
MEASURES = (conformity, classes, coverage, adherence)
COLUMNS = ("conformity", "conformity_worst", "coverage", "adherence")
GRIDS: dict[str, dict[str, list[Any]]] = {
    "autoregressive": {
        "sample.autoregressive.temperature": [0.5, 0.7, 0.85, 1.0],
        "sample.autoregressive.top_p": [0.9, 0.95, 1.0],
        "sample.guidance": [1.0, 1.5, 2.0, 3.0],
    },
    "maskgit": {
        "sample.maskgit.temperature": [0.8, 1.0, 1.3, 1.6],
        "sample.maskgit.choice_temperature": [2.0, 4.5, 9.0],
        "sample.guidance": [1.0, 1.5, 2.0, 3.0],
    },
}


def main() -> None:
    """Print a row for each setting, the values of real pictures and the best setting."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.tune_sampling", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "-S",
        action="append",
        default=[],
        dest="grid",
        metavar="KEY=VALUE,VALUE",
        help="values to compare, such as sample.guidance=1.0,1.5; default: a grid for the sampler",
    )
    parser.add_argument(
        "--pictures", type=int, default=500, help="pictures of a setting (default: 500)"
    )
    args = parser.parse_args()
    try:
        grid: dict[str, list[Any]] = {}
        for key, values in map(parse_values, args.grid):
            grid.setdefault(key, []).extend(values)
        tune(grid, num_pictures=args.pictures)
    except (ValueError, OSError) as error:
        sys.exit(f"error: tune_sampling: {error}")


def parse_values(text: str) -> tuple[str, list[Any]]:
    """Return key and values of a text such as "sample.guidance=1.0,1.5".

    Raises:
        ValueError: If it is not of this form, or the key is not in the section `sample`.
    """
    key, is_given, values = text.partition("=")
    if not is_given or not values or not key.startswith("sample."):
        raise ValueError(f"-S {text}: expected sample.KEY=VALUE,VALUE")
    try:
        return key, [YAML(typ="safe").load(value) for value in values.split(",")]
    except YAMLError:
        raise ValueError(f"-S {text}: a value is not valid YAML") from None


def tune(grid: Mapping[str, list[Any]], *, num_pictures: int) -> None:
    """Draw and measure with each setting of the current run in `data/`; print the table.

    Args:
        grid: Values by key; empty for those of `GRIDS` for the run's sampler.
        num_pictures: Captions of the validation split to draw, at most.

    Raises:
        ValueError: If a value is out of range or of another sampler, a part of the run is missing,
            the data set has no judge, or there are too few pictures.
    """
    params = read_params("sample")
    seed = params.value("seed", Seed)
    sampler = load_stage_sampler(Path("data"), params, seed=seed)
    own = sampler.generator.sampler.name
    chosen = grid or GRIDS[own]
    if unused := [key for key in chosen if key.split(".")[1] in {*kind_names(SAMPLERS)} - {own}]:
        raise ValueError(f"-S {unused[0]}: not used, this run draws with {own}; leave it out")
    if "sample.steps" in chosen and not sampler.generator.has_steps:
        raise ValueError("-S sample.steps: not used, this prior takes a step for each code")
    settings = list(combinations(chosen))
    samplers = [sampler.with_params(changed(params, setting)) for setting in settings]
    inputs = Inputs(
        Path("data"),
        split=SPLIT,
        batch_size=sampler.config.batch_size,
        bound_samples=2,  # of likelihoods, which are not measured here
        bootstrap_samples=2,
        reliable_accuracy=0.0,
        seed=seed,
    )
    if inputs.judge is None:
        raise ValueError("data/judge: there is no judge for this data set, so nothing to compare")
    count = min(num_pictures, len(inputs.real))
    if count < MIN_COMPARED:
        raise ValueError(f"needs {MIN_COMPARED} pictures of the {SPLIT} split, got {count}")
    rows, names = [], [key.removeprefix("sample.") for key in chosen]
    print("  ".join([*names, *COLUMNS]))
    for each, setting in zip(samplers, settings, strict=True):
        metrics = measure(each, inputs, num_pictures=count)
        rows.append(dict(zip(names, setting.values(), strict=True)) | metrics)
        print("  ".join(cells(rows[-1], [*names, *COLUMNS])), flush=True)
    floors = {name: rows[0].get(f"{name}_real") for name in COLUMNS}
    print("  ".join(cells(dict.fromkeys(names, "real") | floors, [*names, *COLUMNS])))
    number = best_row(rows)
    best, limit = settings[number], COVERAGE_SHARE * rows[number]["coverage_real"]
    if rows[number]["coverage"] < limit:
        print(f"no setting has a coverage of {limit:.3f}; the best is that of most coverage")
    print("best:", " ".join(f"-S {key}={value}" for key, value in best.items()))


def combinations(grid: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Yield every combination of a value of each key."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def changed(params: Params, setting: Mapping[str, Any]) -> Params:
    """Return params with some values replaced.

    Raises:
        ValueError: If there is no such key.
    """
    values = copy.deepcopy(params.values)
    for path, value in setting.items():
        params.raw(path)
        section, _, key = path.rpartition(".")
        Params(values).raw(section)[key] = value
    return Params(values)


def measure(sampler: StageSampler, inputs: Inputs, *, num_pictures: int) -> dict[str, Any]:
    """Draw pictures from captions of the evaluated split and return their metrics."""
    prompts = choose_prompts([], inputs.tokens, limit=num_pictures)
    captions = [prompt.caption for prompt in prompts]
    codes, pixels, _ = sampler.sample_timed(captions, purpose="tune")
    drawn = inputs.with_samples(prompts, pixels=pixels, codes=codes)
    metrics: dict[str, Any] = {}
    for module in MEASURES:
        metrics |= module.measure(drawn)
    real = classes.table(drawn)["conformity_real"].tolist()
    return metrics | ({"conformity_worst_real": min(real)} if real else {})


def best_row(rows: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of the best row by the rule above, or that of most coverage.

    Args:
        rows: Metrics: "coverage", "coverage_real", "conformity" and, if there are classes,
            "conformity_worst".
    """
    by = "conformity_worst" if "conformity_worst" in rows[0] else "conformity"
    varied = [
        number
        for number, row in enumerate(rows)
        if row["coverage"] >= COVERAGE_SHARE * row["coverage_real"]
    ]
    if not varied:
        return max(range(len(rows)), key=lambda number: rows[number]["coverage"])
    return max(varied, key=lambda number: (rows[number][by], rows[number]["coverage"]))


def cells(row: Mapping[str, Any], columns: list[str]) -> Iterator[str]:
    """Yield the values of a row, as wide as the names of their columns."""
    for name in columns:
        value = row.get(name)
        value = "" if value is None else value
        yield (f"{value:.3f}" if isinstance(value, float) else str(value)).rjust(len(name))


if __name__ == "__main__":
    main()
