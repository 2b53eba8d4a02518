"""The file that `make report` writes."""

import sys

import pytest

from tools import report


@pytest.fixture
def page(monkeypatch):
    """Make a page without DVC; return its text."""
    text = f"<html>{report.BODY}</div></html>"
    monkeypatch.setattr(report, "report", lambda revisions: text)
    return text


def write(monkeypatch, path):
    monkeypatch.setattr(sys, "argv", ["report", "--out", str(path)])
    report.main()


def test_report_replaces_an_earlier_report(page, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text(f"<html>old {report.BODY}</div></html>")
    write(monkeypatch, path)
    assert path.read_text() == page
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"years of work", b"\xff\xfe\x00", b""])
def test_report_replaces_no_other_file(page, tmp_path, monkeypatch, content):
    path = tmp_path / "thesis.html"
    path.write_bytes(content)
    with pytest.raises(SystemExit, match=r"^error: report: .*thesis\.html: is there already and"):
        write(monkeypatch, path)
    assert path.read_bytes() == content


def test_report_replaces_no_folder(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"^error: report: .*: is a folder; choose another --out$"):
        write(monkeypatch, tmp_path)
