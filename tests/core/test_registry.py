import sys

import pytest

from vqpriors.core.registry import kind_names, load_kind


def test_kinds_are_the_public_modules_sorted():
    assert kind_names("vqpriors.quantizers") == ["ema", "fsq"]
    assert "base" not in kind_names("vqpriors.sampling")


def test_kind_is_its_module():
    module = load_kind("vqpriors.quantizers", "fsq", param="tokenizer.quantizer")
    assert module is sys.modules["vqpriors.quantizers.fsq"]


@pytest.mark.parametrize("name", ["vq", "base", "", "ema.x", "../ema"])
def test_error_lists_the_valid_names(name):
    with pytest.raises(
        ValueError, match=r"tokenizer.quantizer: no kind .*; choose one of ema, fsq"
    ):
        load_kind("vqpriors.quantizers", name, param="tokenizer.quantizer")
