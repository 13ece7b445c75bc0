import numpy as np
import torch

from pertorch.data._matrix import as_matrix
from testing.pertorch import assert_close


def counts(n=23, p=7, seed=0):
    return np.random.default_rng(seed).poisson(1.0, (n, p)).astype(np.float64)


def test_rows_of_every_kind_of_array(stored_array):
    values = counts()
    index = np.array([5, 0, 22, 5, 7])
    rows = as_matrix(stored_array.make(values), "X").rows(index, torch.device("cpu"))
    assert rows.is_contiguous()
    assert_close(rows, stored_array.dense(values)[index], rel=0)
