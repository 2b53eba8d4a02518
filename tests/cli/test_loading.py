import gc

import pytest

from tests.parts import make_parts
from vqpriors.cli.loading import load_generator
from vqpriors.inference.generator import Generator


@pytest.fixture
def frozen():
    """Undo what the test freezes."""
    before = gc.get_freeze_count()
    yield before
    gc.unfreeze()


def test_loading_is_not_interrupted_to_look_for_garbage(tmp_path, monkeypatch, frozen):
    make_parts(tmp_path / "data", "lstm")
    seen, load = [], Generator.load
    monkeypatch.setattr(
        Generator,
        "load",
        lambda *given, **named: seen.append(gc.isenabled()) or load(*given, **named),
    )
    assert load_generator(str(tmp_path / "data"), None).prior.primitive == "stepwise"
    assert seen == [False]
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen


def test_garbage_is_collected_again_after_a_model_that_is_not_there(tmp_path, frozen):
    with pytest.raises(ValueError, match="nowhere"):
        load_generator(str(tmp_path / "nowhere"), None)
    assert gc.isenabled()
