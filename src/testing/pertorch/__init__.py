"""What the tests of pertorch, and of packages that build on it, share: comparisons and a zoo of storage kinds."""

from testing.pertorch._assert import assert_close
from testing.pertorch._unchanged import unchanged

__all__ = ["assert_close", "unchanged"]
