"""What the tests of pertorch, and of packages that build on it, share: a comparison and a zoo of storage kinds."""

from testing.pertorch._assert import assert_close

__all__ = ["assert_close"]
