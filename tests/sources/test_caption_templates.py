import pytest

from vqpriors.sources.base.caption_templates import MissingFieldError, caption, parse


def test_fields_are_filled():
    assert caption("a {size} {label}, {{so}}", {"label": "bag", "size": "big"}) == "a big bag, {so}"


def test_template_without_fields_is_unchanged():
    assert caption("a picture", {}) == "a picture"


def test_unknown_field_is_named_with_the_available_ones():
    with pytest.raises(MissingFieldError, match=r"^no field \{kind\}, this row has label, size$"):
        caption("a {kind}", {"label": "bag", "size": "big"})


@pytest.mark.parametrize("template", ["{label.__class__}", "{label[0]}"])
def test_names_are_never_evaluated(template):
    with pytest.raises(MissingFieldError):
        caption(template, {"label": "bag"})


@pytest.mark.parametrize("template", ["{", "a {label", "{}", "{label!r}", "{label:>9}"])
def test_malformed_template_is_refused(template):
    with pytest.raises(ValueError, match=r"is not a valid template|has a field"):
        parse(template)
