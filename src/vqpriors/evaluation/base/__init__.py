"""What measures share: the contract and what they measure.

A measure is a module of `vqpriors.evaluation` that exports one of these functions, or both:

- `measure(inputs: Inputs) -> dict[str, float]`: metrics by name, for metrics.json. A metric that
  does not exist for a run, such as one of labels without labels, is left out.
- `table(inputs: Inputs) -> pandas.DataFrame`: a table for a plot, which `evaluate` writes to
  MODULE.tsv.

A new measure is a new module. To show a metric in the README, give it a row in
`tools/readme_numbers.py`.
"""
