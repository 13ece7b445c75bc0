"""Numbers and names in sentences."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence


def listed(names: Iterable[Hashable], most: int = 6) -> str:
    """Names as a sentence has them, the first `most` of many.

    Examples
    --------
    >>> listed(["a", "b", "c"])
    'a, b and c'
    >>> listed(range(9), 2)
    '0, 1 and 7 more'
    """
    texts = [str(name) for name in names]
    if len(texts) > most:
        texts = [*texts[:most], f"{len(texts) - most:,} more"]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}" if texts else "none"


def counted(n: int, one: str, many: str | None = None) -> str:
    """A number with what it counts.

    Examples
    --------
    >>> counted(1, "cell"), counted(2_000, "cell")
    ('1 cell', '2,000 cells')
    """
    return f"{n:,} {one if n == 1 else many or f'{one}s'}"


def percent(share: float) -> str:
    """A share, rounded to a whole percentage, but never to none or all of what is some.

    Examples
    --------
    >>> percent(0.757), percent(0.002), percent(0.998), percent(0.0)
    ('76 %', 'under 1 %', 'over 99 %', '0 %')
    """
    if 0 < share < 0.01:
        return "under 1 %"
    if 0.99 < share < 1:
        return "over 99 %"
    return f"{100 * share:.0f} %"


def with_values(names: Sequence[Hashable], values: Sequence[str], most: int = 6) -> str:
    """Names, each with its value in brackets."""
    return listed([f"{name} ({value})" for name, value in zip(names, values, strict=True)], most)
