"""Strict reading of metadata."""

import pytest

from tests.picture_folders import build, problem, records, write

PICTURES = dict.fromkeys(["a.png", "b.png", "c.png"])
QUOTE = 'write "" for a quotation mark inside of a quoted field'


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path, PICTURES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file_name,text\na.png,one\n", ["one"]),
        ('\ufefffile_name,text\na.png,"one, with a comma"\n', ["one, with a comma"]),
        ("file_name,text\r\na.png,one\r\n\r\nb.png,two", ["one", "two"]),
        ("file_name,text\ra.png,one\rb.png,two\r", ["one", "two"]),
        ('file_name,text\na.png,"one ""two"""\n', ['one "two"']),
        ('file_name,text\na.png,a 5" disk\n', ['a 5" disk']),
        ('file_name,text\na.png,"one\ntwo"\nb.png,three\n', ["one\ntwo", "three"]),
        ("file_name, text\na.png, one \n", ["one"]),
        ("text,file_name\none,a.png\n", ["one"]),
        (",file_name,text\n0,a.png,one\n1,b.png,two\n", ["one", "two"]),
        ("file_name,text,\na.png,one,\n", ["one"]),
        ("file_name,text\na.png,one\n,\n", ["one"]),
        ('file_name,text\na.png,\nb.png,"  "\nc.png,\u00a0\n', [None, None, None]),
        ("file_name,text\na.png,nan\nb.png,[sic]\n", ["nan", "[sic]"]),
    ],
)
def test_well_formed_csv_is_read(folder, text, expected):
    write(folder, {"metadata.csv": text})
    assert [r.caption for r in records(build(folder, caption_column="text"))] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "file_name,text\na.png,one\nb.png,red, blue\n",
            ":3: fields: 3, columns: 2 (file_name, text); put a field that has commas in",
        ),
        ("file_name,text,kind\na.png,one\n", ":2: fields: 2, columns: 3 (file_name, text, kind); "),
        ('file_name,text\na.png,"one\nb.png,two\n', ":2: a quotation mark is not closed; close it"),
        (
            'file_name,text\na.png,"one\nb.png,"two"\n',
            f":2: text after a closing quotation mark; {QUOTE}",
        ),
        (
            'file_name,text\na.png,"one\nb.png,two\nc.png,three"\n',
            ":2: a quoted field goes on over rows ('b.png,two'); close its quotation mark, or",
        ),
        ('text,file_name\n"a,a.png\nb, c,b.png\n",c.png\n', ":2: a quoted field goes on over rows"),
        ('file_name,text\na.png,one\nb.png,"x "y" z"\n', ":3: text after a closing quotation mark"),
        ('file_name,text\na.png,"a \\"b\\" c"\n', ":2: text after a closing quotation mark"),
        ('file_name,text\na.png, "one"\n', ":2: a space before a quotation mark; remove the space"),
        ("file_name,text,\na.png,red, blue\n", ":2: ' blue' is in a column without a name; name"),
        ("file_name,text,text\na.png,x,y\n", ":1: column 'text' is named twice; rename one"),
        ("file_name,file_name\na.png,a.png\n", ":1: column 'file_name' is named twice"),
        (
            "file_name;text\na.png;x, y\n",
            ":1: fields are separated by semicolons; separate them by",
        ),
        ('"file_name";"text"\n"a.png";"x"\n', ":1: fields are separated by semicolons"),
        ("file_name\ttext\na.png\tone\n", ":1: fields are separated by tabs; separate them by"),
        ("text|file_name\none|a.png\n", ":1: fields are separated by vertical bars"),
        ("File_Name,text\na.png,one\n", ": no column 'file_name', found 'File_Name', 'text'; name"),
        ("a.png,one\n", ": no column 'file_name', found 'a.png', 'one'; name the one with the"),
        ("\n\n", ": empty; list the pictures, or remove it"),
        ("file_name,text\n\n", ": no rows; list the pictures, or remove it"),
        (
            f'file_name,text\na.png,one\nb.png,"{"x" * 131_073}"\n',
            ":3: a field has over 131,072 characters; close its quotation mark or shorten it",
        ),
        (
            "file_name,text\na.png,x\nb.png,y\n./a.png,z\n",
            ":4: './a.png' is listed twice; remove a",
        ),
        ('{"file_name": "a.png"}\n', ":1: a JSON object; rename the file to metadata.jsonl"),
        ("file_name,text\n,x\n", ":2: no file_name; add the path of the picture, relative to ."),
        (
            "file_name,text\na.png,\"['x', 'y']\"\n",
            ":2: column 'text': \"['x', 'y']\" is a list or",
        ),
        ("file_name,text\na.png,\"{'x': 1}\"\n", ":2: column 'text': \"{'x': 1}\" is a list or an"),
        ("file_name,text\na.png,café\n".encode("latin-1"), ":2: not UTF-8 (byte 0xe9), perhaps"),
        (
            "file_name,text\na.png,café\n".encode("utf-16"),
            ": not UTF-8, perhaps UTF-16; save it as",
        ),
        (
            "file_name,text\na.png,x\n".encode("utf-16-be"),
            ": not UTF-8, perhaps UTF-16; save it as",
        ),
        ("file_name,text\na.png,x\0y\n", ": not UTF-8, perhaps UTF-16"),
    ],
)
def test_ill_formed_csv_is_refused_with_line_and_cause(folder, text, expected):
    write(folder, {"metadata.csv": text})
    found = problem(folder, caption_column="text")
    assert found.startswith(f"location: metadata.csv{expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{not json}\n", ":1: not valid JSON ("),
        ('{"file_name": "a.png"}\n\n[1]\n', ":3: not a JSON object; write one per line"),
        ('[{"file_name": "a.png"}]', ":1: not a JSON object; write one per line"),
        ('{\n"file_name": "a.png"\n}\n', ":1: not valid JSON ("),
        ('{"file_name": "a.png"}{"file_name": "b.png"}\n', ":1: not valid JSON (Extra data"),
        ('{"file_name": "a.png", "text": "x", "text": "y"}\n', ":1: not valid JSON (key 'text' tw"),
        (f'{{"file_name": "a.png", "text": {"[" * 100_000}\n', ":1: not valid JSON ("),
        ("", ": empty; list the pictures, or remove it"),
        ('{"name": "a.png"}\n', ": no column 'file_name', found 'name'; name"),
        ('{"file_name": "a.png", "text": ""}\n{"text": "x"}\n', ":2: no file_name; add"),
        ('{"file_name": "a\\u0000.png", "text": ""}\n', ":1: 'a\\x00.png' can't be a path; corr"),
        ('{"file_name": "\\ud800.png", "text": ""}\n', ":1: '\\ud800.png' can't be a path; corr"),
        (f'{{"file_name": "{"a" * 5000}", "text": ""}}\n', f":1: '{'a' * 40}' can't be a path"),
        ('{"file_name": 3, "text": "x"}\n', ":1: no file_name; add"),
        ('{"file_name": "a.png", "text": true}\n', ":1: column 'text': True is a boolean; write"),
        ('{"file_name": "a.png", "text": {"en": "x"}}\n', ":1: column 'text': {'en': 'x'} is an o"),
        ('{"file_name": "a.png", "text": [["x"]]}\n', ":1: column 'text': ['x'] is a list; write"),
        ('{"file_name": "a.png", "text": Infinity}\n', ":1: column 'text': inf is no finite numb"),
        ('{"file_name": "a.png", "text": "\\ud83d"}\n', ":1: column 'text': '\\ud83d' has half of"),
        ('{"file_name": "a.png", "text": "caf\u00e9"}\n'.encode("cp1252"), ":1: not UTF-8 (byte"),
    ],
)
def test_ill_formed_jsonl_is_refused_with_line_and_cause(folder, text, expected):
    write(folder, {"metadata.jsonl": text})
    found = problem(folder, caption_column="text")
    assert found.startswith(f"location: metadata.jsonl{expected}")


@pytest.mark.parametrize("key", ["label_column", "attribute_columns"])
@pytest.mark.parametrize("value", ["true", '["x"]', "[]", '{"a": 1}', "-Infinity"])
def test_classes_and_attributes_are_text_or_numbers(folder, key, value):
    write(folder, {"metadata.jsonl": f'{{"file_name": "a.png", "kind": {value}}}\n'})
    found = problem(folder, **{key: "kind" if key == "label_column" else ["kind"]})
    assert found.startswith("location: metadata.jsonl:1: column 'kind': ")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("NaN", None), ("null", None), ("2.0", "2"), ("2.5", "2.5"), ('" "', None), ("-0.0", "0")],
)
def test_values_of_jsonl_become_labels(folder, value, expected):
    write(folder, {"metadata.jsonl": f'{{"file_name": "a.png", "kind": {value}}}\n'})
    assert records(build(folder, label_column="kind"))[0].label == expected


def test_list_of_captions_is_kept_in_order(folder):
    row = {"file_name": "a.png", "text": ["one", "  ", None, "two", 3]}
    write(folder, {"metadata.jsonl": [row, {"file_name": "b.png", "text": []}]})
    first, second = records(build(folder, caption_column="text"))
    assert (first.caption, first.other_captions) == ("one", ("two", "3"))
    assert (second.caption, second.other_captions) == (None, ())


def test_txt_file_that_is_not_utf8_is_named(folder):
    write(folder, {"a.txt": b"one\ncaf\xe9\n"})
    found = problem(folder, caption_column="text")
    assert found.startswith("location: a.txt:2: not UTF-8 (byte 0xe9), perhaps Latin-1; save it")


def test_other_columns_may_hold_anything(folder):
    row = {"file_name": "a.png", "text": "one", "boxes": [[1, 2]], "is_big": True}
    write(folder, {"metadata.jsonl": [row]})
    assert records(build(folder, caption_column="text"))[0].caption == "one"
