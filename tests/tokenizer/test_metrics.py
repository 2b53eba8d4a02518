"""The warning about a collapsed codebook fits the kind of tokenizer."""

import pytest

from stages.train_tokenizer import collapse_fix
from tests.checkout import set_value, tiny_params
from vqpriors.core.params import Params
from vqpriors.tokenizer.base.metrics import collapse_warning

NAMED = {  # kinds, and the params that the fix names
    ("vqvae", "ema"): {"tokenizer.ema.dead_code_threshold"},
    ("vqvae", "fsq"): {"tokenizer.fsq.levels"},
    ("pretrained", "ema"): {"tokenizer.pretrained.location", "tokenizer.pretrained.phases"},
    ("pretrained", "fsq"): {"tokenizer.pretrained.location", "tokenizer.pretrained.phases"},
}


@pytest.mark.parametrize(("arch", "quantizer"), NAMED)
def test_fix_of_a_collapse_names_params_of_the_chosen_kind(arch, quantizer):
    params = tiny_params()
    set_value(params, "tokenizer.arch", arch)
    set_value(params, "tokenizer.quantizer", quantizer)
    fix = collapse_fix(Params(params))
    warning = collapse_warning({"codebook_usage": 0.25}, codebook_size=4096, fix=fix)
    assert warning == f"the codebook has collapsed: 25% of 4,096 codes are in use; {fix}"
    words = (word.strip(",.;()") for word in warning.split())
    assert {word for word in words if word.startswith("tokenizer.")} == NAMED[arch, quantizer]


@pytest.mark.parametrize("usage", [0.5, 1.0])
def test_codebook_in_use_has_no_warning(usage):
    assert collapse_warning({"codebook_usage": usage}, codebook_size=4, fix="") is None
