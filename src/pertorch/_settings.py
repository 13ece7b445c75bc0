"""What a user sets once: where to compute, in what precision and memory, with which seed, and what to show."""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")
PREFIX = "PERTORCH_"
DTYPES = ("auto", "float64")
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")

# Values of `Settings.override`. A new thread starts without; `pertorch.exec` hands them to the threads of its pools.
_overridden: ContextVar[Mapping[str, Any]] = ContextVar("pertorch_settings", default=MappingProxyType({}))


class _Setting(Generic[T]):
    """One setting: its default, and how a value is checked, whether it comes from Python or, as text, from outside."""

    def __init__(self, default: T, check: Callable[[Any], T], wants: str) -> None:
        self.default, self.check, self.wants = default, check, wants

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> _Setting[T]: ...
    @overload
    def __get__(self, instance: Settings, owner: type) -> T: ...
    def __get__(self, instance: Settings | None, owner: type) -> _Setting[T] | T:
        return self if instance is None else self.found(instance)[0]

    def __set__(self, instance: Settings, value: Any) -> None:
        value, overridden = self.checked(value), _overridden.get()
        if self.name in overridden:  # what is seen is what changes, until the override ends
            _overridden.set({**overridden, self.name: value})
        else:
            instance._assigned[self.name] = value

    def checked(self, value: Any, source: str = "settings.{}") -> T:
        """The value, or an error that says where it came from and what would do."""
        try:
            return self.check(value)
        except (TypeError, ValueError):
            raise ValueError(f"{source.format(self.name)}={value!r} must be {self.wants}.") from None

    def found(self, instance: Settings) -> tuple[T, str]:
        """The value, and where it comes from."""
        if self.name in (overridden := _overridden.get()):
            return overridden[self.name], "override"
        if self.name in instance._assigned:
            return instance._assigned[self.name], "set here"
        variable = PREFIX + self.name.upper()
        if text := os.environ.get(variable, ""):
            return self.checked(text, variable), variable
        return self.default, "default"

    def described(self, instance: Settings) -> str:
        """The value and its source, or what is wrong with them."""
        try:
            return "{!r:8} ({})".format(*self.found(instance))
        except ValueError as error:
            return f"? ({error})"


def _device(value: Any) -> str:
    text = str(value)  # of a torch.device, its name
    if not re.fullmatch(r"auto|cpu|cuda(:\d+(,\d+)*)?", text):
        raise ValueError
    return text


def _dtype(value: Any) -> str:
    text = str(value).removeprefix("torch.")
    if text not in DTYPES:
        raise ValueError
    return text


def _memory_gb(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not 0 < float(value) < math.inf:
        raise ValueError
    return float(value)


def _progress(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in YES + NO:
        return value.lower() in YES
    if isinstance(value, bool):
        return value
    raise ValueError


def _seed(value: Any) -> int:
    seed = int(value) if isinstance(value, str) else operator.index(value)
    if isinstance(value, bool) or not 0 <= seed < 2**63:
        raise ValueError
    return seed


class Settings:
    """What holds for every call that is not told otherwise; read when a call starts.

    A value comes from the innermost :meth:`override`, else from an assignment (``settings.device = "cpu"``, for the
    whole process), else from the environment variable, else it is the default. ``repr(settings)`` says which. Values
    are checked when they are set, those of environment variables when they are read.

    Attributes
    ----------
    device
        ``"auto"`` (every CUDA device, else the CPU), ``"cpu"``, ``"cuda"`` or ``"cuda:0,2"``. Environment variable
        ``PERTORCH_DEVICE``.
    dtype
        ``"auto"``: float64 and large integers are computed in float64, all else in float32. ``"float64"``: everything
        in float64. ``PERTORCH_DTYPE``.
    memory_gb
        Gigabytes that dense slabs of cells may take on each device, the copies that a metric makes of them included.
        ``None``: 1 on a CPU, and on a GPU 8 or a quarter of its memory, whichever is less. ``PERTORCH_MEMORY_GB``.
    progress
        Whether calls that take more than a second show a progress bar where they are not told otherwise.
        ``PERTORCH_PROGRESS``: 1 or 0.
    seed
        Of every call whose ``random_state`` is left out. ``PERTORCH_SEED``.

    Raises
    ------
    ValueError
        If a value is not one of those above; the message names it and the ones that are. Whether a device exists is
        found when it is used.

    Examples
    --------
    >>> import pertorch
    >>> pertorch.settings.device
    'auto'
    >>> with pertorch.settings.override(device="cpu", seed=1):
    ...     pertorch.settings.seed
    1
    """

    device = _Setting("auto", _device, "'auto', 'cpu', 'cuda' or 'cuda:0,2'")
    dtype = _Setting("auto", _dtype, "'auto' or 'float64'")
    memory_gb = _Setting[float | None](None, _memory_gb, "a positive number of gigabytes, such as 4, or None")
    progress = _Setting(False, _progress, "True or False (in the environment, 1 or 0)")
    seed = _Setting(0, _seed, "a whole number of at least 0")

    def __init__(self) -> None:
        self._assigned: dict[str, Any] = {}

    @contextmanager
    def override(self, **values: Any) -> Iterator[None]:
        """Settings for a block of code: of this thread, or this task of asyncio, alone.

        The threads in which pertorch itself works see them too; threads of your own start without.

        Parameters
        ----------
        **values
            Settings by name.

        Raises
        ------
        TypeError
            If there is no such setting.
        ValueError
            If a value is not one that the setting takes.

        Examples
        --------
        >>> import pertorch
        >>> with pertorch.settings.override(progress=True):
        ...     print(pertorch.settings.progress)
        True
        >>> pertorch.settings.progress
        False
        """
        unknown = [name for name in values if name not in SETTINGS]
        if unknown:
            raise TypeError(f"settings have no {unknown[0]!r}: there are {', '.join(SETTINGS)}.")
        checked = {name: SETTINGS[name].checked(value) for name, value in values.items()}
        token = _overridden.set({**_overridden.get(), **checked})
        try:
            yield
        finally:
            _overridden.reset(token)

    def reset(self) -> None:
        """Forget what was assigned: environment variables and defaults hold again."""
        self._assigned.clear()

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in SETTINGS and name != "_assigned":
            raise AttributeError(f"settings have no {name!r}: there are {', '.join(SETTINGS)}.")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return "\n".join(["pertorch.settings", *(f"  {name:9} = {s.described(self)}" for name, s in SETTINGS.items())])


SETTINGS: dict[str, _Setting[Any]] = {k: v for k, v in vars(Settings).items() if isinstance(v, _Setting)}
settings = Settings()


def seed_or_default(random_state: Any) -> Any:
    """What a call was given, else `settings.seed`."""
    return settings.seed if random_state is None else random_state
