"""Text from outside: what looks right passes unchanged, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fieldgap.base import untrusted

KEY, MD5 = "0123456789abcdef" * 4, "0123456789abcdef" * 2
NOWHERE = ["", ".", "..", "/", "/etc/passwd", "../x", "a/../../x", "a\0b", "a\n"]  # No file below a folder.
NEVER = [None, 7, ["a"], {}, *NOWHERE, "$(touch x)", "a b;c"]
RIGHT: list[tuple[Callable[[object], object], str]] = [
    (untrusted.key, KEY),
    (untrusted.md5, MD5),
    (untrusted.md5, f"{MD5}.dir"),
    (untrusted.identifier, "momentum"),
    (untrusted.relative, "scene_000.png"),
    (untrusted.relative, "deep/er/Größe 1.png"),
]
WRONG: list[tuple[Callable[[object], object], object]] = [
    *((untrusted.key, text) for text in (*NEVER, KEY[1:], KEY + "0", KEY.upper(), KEY + "\n", MD5)),
    *((untrusted.md5, text) for text in (*NEVER, MD5[1:], MD5.upper(), MD5 + "\n", f"{MD5}.dirs", "xx/../../precious")),
    *((untrusted.identifier, text) for text in (*NEVER, "1st", "lr-max", "a.b", "momentum$(touch x)")),
    *((untrusted.function, text) for text in (*NEVER, "mine", "mine:", ":f", "a..b:f", "a/b:f", "a:f:g", "a:f()")),
    *((untrusted.relative, text) for text in (None, 7, ["a"], {}, *NOWHERE)),
]


@pytest.mark.parametrize(("read", "text"), RIGHT)
def test_what_looks_right_is_returned(read: Callable[[object], object], text: str) -> None:
    assert read(text) == text


@pytest.mark.parametrize(("read", "text"), WRONG)
def test_what_looks_wrong_is_refused(read: Callable[[object], object], text: object) -> None:
    with pytest.raises(ValueError, match=r" is not |leaves its folder"):
        read(text)


def test_functions_have_a_module() -> None:
    assert untrusted.function("a.b_1:make") == ("a.b_1", "make")


def test_links_may_not_lead_out_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    (folder / "near").write_text("x")
    (folder / "link").symlink_to(folder / "near")
    (folder / "leak").symlink_to(tmp_path / "secret")
    assert untrusted.inside(folder, "link") == folder / "link"
    assert untrusted.inside(folder, "not/there/yet") == folder / "not/there/yet"
    with pytest.raises(ValueError, match="leaves its folder"):
        untrusted.inside(folder, "leak")
