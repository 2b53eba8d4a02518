import pytest

from vqpriors.sources.base.text_values import NotTextError, captions_of, text_of


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((None, None), ("", None), (" \t\n", None), ("\u00a0\u200b", None), (float("nan"), None)),
        *((3, "3"), (3.0, "3"), (-0.0, "0"), (1.5, "1.5"), (0, "0"), (10**20, "1" + "0" * 20)),
        *((" a cat ", " a cat "), ("nan", "nan"), ("[x]", "[x]"), ("{label}", "{label}")),
    ],
)
def test_text_and_numbers_become_text(value, expected):
    assert text_of(value) == expected


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        *((True, "a boolean"), (False, "a boolean"), (["a"], "a list"), ({}, "an object")),
        *((b"a", "of type bytes"), (float("inf"), "no finite number"), (1j, "of type complex")),
        *(("['a', 'b']", "a list or an object as text"), ('["a", null]', "a list or an object")),
        *(('{"a": 1}', "a list or an object as text"), ("\ud800", "half of a surrogate pair")),
    ],
)
def test_other_values_are_refused(value, kind):
    for convert in (text_of, lambda value: captions_of([value])):
        with pytest.raises(NotTextError, match=kind):
            convert(value)


def test_empty_captions_of_a_list_are_dropped():
    assert captions_of(["a", " ", None, 2, float("nan")]) == ("a", "2")
    assert captions_of([]) == captions_of(None) == captions_of(" ") == ()
    assert captions_of("a") == ("a",)
