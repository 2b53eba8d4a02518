"""Sample quality by number of decoding steps."""

import pandas as pd

from vqpriors.data.samples import read_comparisons
from vqpriors.evaluation.adherence import measure_adherence
from vqpriors.evaluation.base.inputs import MIN_COMPARED, Inputs
from vqpriors.evaluation.distances import frechet_distance


def table(inputs: Inputs) -> pd.DataFrame:
    """Return "steps", and "adherence" and "frechet_distance" if they can be measured.

    The distances are of fewer pictures than that of metrics.json, so they compare with each other
    only.
    """
    rows = []
    for part in read_comparisons(inputs.data / "samples"):
        row: dict[str, float] = {"steps": part.steps}
        if inputs.judge is not None:
            judged = inputs.judged(part.pixels)
            if inputs.judge.classes:
                found = measure_adherence(inputs, part.prompts, judged.labels)
                row |= {name: found[name] for name in ("adherence",) if name in found}
            if len(part.pixels) >= MIN_COMPARED:
                real = inputs.judged_real.features
                row["frechet_distance"] = frechet_distance(judged.features, real)
        rows.append(row)
    return pd.DataFrame(rows, columns=None if rows else ["steps"])
