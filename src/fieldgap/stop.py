"""A stop between two steps, when a signal asks for it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def on_signals() -> Iterator[Callable[[], int]]:
    """Within it SIGINT and SIGTERM ask for a stop. Yields what tells the signal that asked, or 0.

    A second signal of the same kind does at once what it did outside.
    """
    asked = 0
    outside = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _: FrameType | None) -> None:
        nonlocal asked
        asked = number
        signal.signal(number, outside[signal.Signals(number)])

    for each in outside:
        signal.signal(each, ask)
    try:
        yield lambda: asked
    finally:
        for each, handler in outside.items():
            signal.signal(each, handler)
