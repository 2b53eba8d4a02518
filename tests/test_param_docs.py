"""docs/params.md says what the schemas and params.yaml say, of every param that there is."""

import re

import yaml

from tests.faults.stage import leaves
from tests.imports import ROOT
from tools.param_docs import PAGE, page

TEXT = PAGE.read_text()
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
ROWS = [line.split(" | ") for line in TEXT.splitlines() if line.startswith("| `")]


def test_page_is_as_the_schemas_make_it():
    assert page() == TEXT, "run `make params`"


def test_every_param_is_on_the_page():
    listed = {row[0].removeprefix("| ").strip("`") for row in ROWS}
    for key, value in leaves(PARAMS):
        if re.match(r"data\.(mnist|fashion_mnist|emoji|naruto|folder)\.", key):
            key = re.sub(r"^data\.\w+", "data.digits", key)  # a table stands for all data sets
            key = re.sub(r"^data\.digits\.hub", "data.mnist.hub", key)
            key = re.sub(r"^data\.digits\.imagefolder", "data.folder.imagefolder", key)
        if ".phases" in key:
            key = f"{key.partition('.phases')[0]}.phases"
        assert key in listed or value == {}, key


def test_every_param_is_explained():
    assert len(ROWS) > 100
    for key, default, kinds, does in ROWS:
        assert default.strip(" `"), key
        assert kinds.strip(), key
        assert does.strip(" |"), key
