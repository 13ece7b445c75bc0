"""What holds where a call was made, held where its work is done."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar

R = TypeVar("R")


def in_context(work: Callable[..., R]) -> Callable[..., R]:
    """`work` as a thread may call it, which otherwise starts without the caller's ``settings.override``."""
    context = copy_context()
    # A context is entered by one thread at a time: each call gets a copy, which is a pointer.
    return lambda *arguments: context.copy().run(work, *arguments)
