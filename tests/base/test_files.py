from __future__ import annotations

from pathlib import Path

import pytest

from fieldgap.base.errors import InputError
from fieldgap.base.files import read_json, read_json_lines, replacing


@pytest.mark.parametrize("text", ["[]", "7", "null", '"a"', "{", "", "\xff"])
def test_json_that_is_no_object_is_refused_with_the_name_of_its_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=rf"^{path}: cannot be read \(.*\); run the stage that makes it again$"):
        read_json(path)


def test_lines_that_are_no_objects_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n[]\n7\n\n\xff\n{"a": \n{"a": 2}\n{"a": 3')
    assert list(read_json_lines(path)) == [{"a": 1}, {"a": 2}]


def test_a_file_appears_whole_or_not_at_all_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "made/file"
    for content in ("one", "two"):
        with replacing(path) as draft:
            draft.write_text(content)
    with pytest.raises(ValueError, match="surrogates not allowed"), replacing(path) as draft:
        draft.write_text("three\ud800", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot be written \(No space left"), replacing(path):
        raise OSError(28, "No space left on device")
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]
