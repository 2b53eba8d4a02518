"""The commands of the section "Draw" of README.md, with untrained models."""

import re
import shlex

import pytest

from tests.imports import ROOT
from tests.parts import half_mask, make_parts, picture
from vqpriors.__main__ import main

DRAW = (ROOT / "README.md").read_text().partition("\n## Draw\n")[2].partition("\n## ")[0]
ANY, MASKED = re.findall(r"```\n(.*?)```", DRAW, re.DOTALL)[:2]
STEPWISE_WARNING = "warning: generate: --steps: ignored, since transformer draws one code"


def commands(block):
    """Return the arguments of each call of vqpriors in a block, but for names left to the user."""
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    found = [words[3:] for words in lines if words[:3] == ["python", "-m", "vqpriors"]]
    return [words for words in found if not {"NAME", "OWNER/NAME"} & {*words}]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Return a function that makes a folder like a checkout after the chain, and enters it."""

    def make(arch):
        make_parts(tmp_path / "data", arch)
        written = re.search(r"printf '(.*)' > prompts.txt", ANY)[1]
        (tmp_path / "prompts.txt").write_text(written.replace("\\n", "\n"))
        picture().save(tmp_path / "picture.png")
        half_mask().save(tmp_path / "mask.png")
        (tmp_path / "data/samples/pictures").mkdir(parents=True)
        picture().save(tmp_path / "data/samples/pictures/00000.png")
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return make


def run(command):
    try:
        main(command)
    except SystemExit as ended:
        return str(ended.code)
    return None


def test_block_has_the_commands_that_the_text_names():
    assert [command[0] for command in commands(ANY)] == ["generate"] * 3 + ["save", "generate"]
    used = [option for command in commands(MASKED) for option in command]
    assert {"--steps", "--inpaint", "--vary", "caption"} <= set(used)


@pytest.mark.parametrize("arch", ["transformer", "cftn2"])
def test_commands_for_every_prior_work(checkout, arch):
    folder = checkout(arch)
    assert [run(command) for command in commands(ANY)] == [None] * 5
    assert len(list(folder.glob("samples/*/sheet.png"))) == 4
    assert len(list(folder.glob("samples/*/sheet.gif"))) == 1


def test_commands_for_masked_priors_work_with_cftn2(checkout):
    checkout("cftn2")
    assert [run(command) for command in commands(MASKED)] == [None] * 4


def test_default_prior_refuses_the_others_and_ignores_steps(checkout, capsys):
    checkout("transformer")
    found = [run(command) for command in commands(MASKED)]
    assert found[0] is None
    assert capsys.readouterr().err.startswith(STEPWISE_WARNING)
    assert all(line.startswith("error: ") for line in found[1:])
    assert [line.split(": ")[2].split()[0] for line in found[1:]] == [
        "--inpaint",
        "--vary",
        "transformer",
    ]
