"""The sampler of a prior: the default of its primitive, or the one that a param names."""

import pytest

from vqpriors.core.registry import kind_names, load_kind
from vqpriors.sampling.base.choosing import choose_sampler

KINDS = kind_names("vqpriors.sampling")


@pytest.mark.parametrize("primitive", ["stepwise", "masked"])
def test_each_primitive_has_one_default_sampler(primitive):
    modules = [load_kind("vqpriors.sampling", kind, param="sample.sampler") for kind in KINDS]
    fitting = [module for module in modules if primitive == module.PRIMITIVE]
    assert sum(module.IS_DEFAULT for module in fitting) == 1


def test_auto_takes_the_default_and_a_name_that_fits_is_kept():
    assert choose_sampler("auto", "stepwise") == "autoregressive"
    assert choose_sampler("auto", "masked") == "maskgit"
    assert choose_sampler("maskgit", "masked") == "maskgit"


def test_sampler_of_another_primitive_is_refused():
    with pytest.raises(ValueError, match=r"^sample\.sampler: maskgit can't sample from a stepwise"):
        choose_sampler("maskgit", "stepwise")


def test_unknown_sampler_lists_the_kinds():
    with pytest.raises(ValueError, match=r"^sample\.sampler: .*'euler'.* autoregressive, maskgit"):
        choose_sampler("euler", "masked")
