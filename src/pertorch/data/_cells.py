"""The rows that a call needs, in group order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch

from pertorch.data._groups import Groups
from pertorch.data._matrix import Matrix


@final
@dataclass(frozen=True)
class Cells:
    """Matrix × Groups: what a metric is evaluated on."""

    matrix: Matrix
    groups: Groups
    _loaded: dict[torch.device, torch.Tensor] = field(default_factory=dict)

    @property
    def offsets(self) -> torch.Tensor:
        """See :attr:`Groups.offsets`."""
        return self.groups.offsets

    @property
    def sizes(self) -> torch.Tensor:
        """See :attr:`Groups.sizes`."""
        return self.groups.sizes

    def on(self, device: torch.device) -> torch.Tensor:
        """All rows on `device`, sorted by group: shape ``(offsets[-1], d)``. Read once per device.

        Raises
        ------
        ValueError
            If a value is NaN or infinite.
        """
        if device not in self._loaded:
            self._loaded[device] = self.matrix.rows(self.groups.order(device))
        return self._loaded[device]
