"""Bad input: the error names the argument, the value and the fix, and the caller's data is as it was."""

import numpy as np
import pandas as pd
import pytest

from pertorch import Distance
from testing.pertorch import unchanged


def without_embedding(adata):
    del adata.obsm["X_pca"]
    return adata


def with_value(adata, value):
    adata.obsm["X_pca"][7, 2] = value
    return adata


def table(**columns):
    return pd.DataFrame(columns)


ONE = np.ones((3, 4))
KNOWN = "'JAK2', 'NT', 'IRF1', 'STAT1'"
COLUMNS = "there are: 'gene', 'text', 'number', 'flag', 'replicate' and 1 more"

# What is asked (by case of a table of edge cases, E1 to E37, where it has one), and what to answer.
CASES = {
    # keys
    "E1 pairwise": (lambda a: Distance().pairwise(a, "zzz"), KeyError, rf"obs column 'zzz' not found: {COLUMNS}"),
    "E1 near": (
        lambda a: Distance().pairwise(a, "genes"),
        KeyError,
        r"obs column 'genes' not found: did you mean 'gene'",
    ),
    "E1 onesided": (lambda a: Distance().onesided_distances(a, "zzz", "NT"), KeyError, rf"'zzz' not found: {COLUMNS}"),
    "E1 create": (lambda a: Distance.create_contrasts(a, "zzz", "NT"), KeyError, rf"'zzz' not found: {COLUMNS}"),
    "E1 contrasts": (
        lambda a: Distance().contrast_distances(a, table(zzz=["x"], reference=["y"])),
        ValueError,
        rf"contrasts column 'zzz' is not in obs: {COLUMNS}",
    ),
    "E1 none": (lambda a: Distance().pairwise(a, None), KeyError, "obs column None not found"),
    "E2 obsm": (
        lambda a: Distance(obsm_key="X_pc").pairwise(a, "gene"),
        KeyError,
        r"obsm key 'X_pc' not found: did you mean 'X_pca'",
    ),
    "E2 default": (
        lambda a: Distance().pairwise(a, "gene"),
        KeyError,
        r"obsm key 'X_pca' not found: there are none. Compute it, for instance with scanpy.pp.pca",
    ),
    "E2 layer": (
        lambda a: Distance(layer_key="cuonts").onesided_distances(a, "gene", "NT"),
        KeyError,
        r"layers key 'cuonts' not found: did you mean 'counts'",
    ),
    "E3": (
        lambda _: Distance(layer_key="counts", obsm_key="X_pca"),
        ValueError,
        r"layer_key='counts' and obsm_key='X_pca' exclude each other: give one",
    ),
    "E3 empty text": (lambda _: Distance(layer_key="", obsm_key="X_pca"), ValueError, "exclude each other"),
    # groups
    "E8 pairwise": (
        lambda a: Distance().pairwise(a, "gene", groups=["NT", "STAT2"]),
        ValueError,
        r"group 'STAT2' has no cells in obs column 'gene': did you mean 'STAT1'",
    ),
    "E8 onesided": (
        lambda a: Distance().onesided_distances(a, "gene", "NT", groups=["zz"]),
        ValueError,
        rf"group 'zz' has no cells in obs column 'gene': there are: {KNOWN}",
    ),
    "E8 create": (
        lambda a: Distance.create_contrasts(a, "gene", "NT", groups=["zz"]),
        ValueError,
        rf"group 'zz' has no cells in obs column 'gene': there are: {KNOWN}",
    ),
    "E8 unused category": (
        lambda a: Distance().pairwise(a, "gene", groups=["unused", "NT"]),
        ValueError,
        rf"group 'unused' has no cells in obs column 'gene': there are: {KNOWN}",
    ),
    "E8 other type": (
        lambda a: Distance().pairwise(a, "number", groups=["10"]),
        ValueError,
        r"group '10' has no cells in obs column 'number': did you mean 10",
    ),
    "E8 one name, pairwise": (
        lambda a: Distance().pairwise(a, "gene", groups="NT"),
        ValueError,
        r"groups='NT' is one name: pass a list",
    ),
    "E8 one name, onesided": (
        lambda a: Distance().onesided_distances(a, "gene", "NT", groups="JAK2"),
        ValueError,
        r"groups='JAK2' is one name: pass a list",
    ),
    "E8 one name, create": (
        lambda a: Distance.create_contrasts(a, "gene", "NT", groups="JAK2"),
        ValueError,
        r"groups='JAK2' is one name: pass a list",
    ),
    # references
    "E11 none": (
        lambda a: Distance().onesided_distances(a, "gene", None),
        ValueError,
        rf"group None has no cells in obs column 'gene': there are: {KNOWN}",
    ),
    "E11 nan": (lambda a: Distance().onesided_distances(a, "gene", np.nan), ValueError, "group nan has no cells"),
    "E11 unknown": (
        lambda a: Distance().onesided_distances(a, "gene", "STAT7"),
        ValueError,
        r"group 'STAT7' has no cells in obs column 'gene': did you mean 'STAT1'",
    ),
    "E11 one of several": (
        lambda a: Distance().onesided_distances(a, "gene", ["NT", "STAT7"]),
        ValueError,
        r"group 'STAT7' has no cells",
    ),
    "E11 create": (lambda a: Distance.create_contrasts(a, "gene", "STAT7"), ValueError, "group 'STAT7' has no cells"),
    "E11 no reference": (
        lambda a: Distance().onesided_distances(a, "gene", []),
        ValueError,
        r"selected_group=\[\] names no reference: name one",
    ),
    "E11 create, no reference": (
        lambda a: Distance.create_contrasts(a, "gene", []),
        ValueError,
        r"selected_group=\[\] names no reference: name one",
    ),
    # arrays
    "E16 X": (lambda _: Distance()(ONE[:0], ONE), ValueError, "X has 0 cells and Y has 3: neither can be empty"),
    "E16 Y": (
        lambda _: Distance().bootstrap(ONE, ONE[:0]),
        ValueError,
        "X has 3 cells and Y has 0: neither can be empty",
    ),
    "E17 nan": (
        lambda a: Distance().pairwise(a, "gene"),
        ValueError,
        r"obsm\['X_pca'\] holds NaN or infinity in 1 cell\(s\), the first at row 7: remove those cells or impute",
    ),
    "E17 infinity": (
        lambda a: Distance("mse").onesided_distances(a, "gene", "NT"),
        ValueError,
        r"obsm\['X_pca'\] holds NaN or infinity in 1 cell\(s\), the first at row 7",
    ),
    "E17 array": (lambda _: Distance()(ONE * np.nan, ONE), ValueError, r"X( and Y)? holds? NaN or infinity in 3 cell"),
    "E30": (
        lambda _: Distance()(ONE, ONE[:, :3]),
        ValueError,
        "X has 4 features and Y has 3: pass the same features for both",
    ),
    "E30 one dimension": (
        lambda _: Distance()(ONE[0], ONE),
        ValueError,
        r"X has 1 dimension\(s\): pass cells × features",
    ),
    "text": (lambda a: Distance()(a.obs, ONE), ValueError, "X holds object, not numbers: convert it to float32"),
    "not an array": (lambda _: Distance()("X", ONE), TypeError, "X is a str: pass a numpy, scipy.sparse, pandas"),
    # resampling
    "E31 pairwise": (
        lambda a: Distance().pairwise(a, "gene", bootstrap=True, n_bootstrap=0),
        ValueError,
        "n_bootstrap=0 must be at least 1",
    ),
    "E31 onesided": (
        lambda a: Distance("mse").onesided_distances(a, "gene", "NT", bootstrap=True, n_bootstrap=-3),
        ValueError,
        "n_bootstrap=-3 must be at least 1",
    ),
    "E31 contrasts": (
        lambda a: Distance().contrast_distances(
            a, table(gene=["JAK2"], reference=["NT"]), bootstrap=True, n_bootstrap=0
        ),
        ValueError,
        "n_bootstrap=0 must be at least 1",
    ),
    "E31 arrays": (
        lambda _: Distance().bootstrap(ONE, ONE, n_bootstrap=0),
        ValueError,
        "n_bootstrap=0 must be at least 1",
    ),
    "E31 half": (
        lambda a: Distance().pairwise(a, "gene", bootstrap=True, n_bootstrap=2.5),
        TypeError,
        "n_bootstrap=2.5 is a float: pass a whole number",
    ),
    "E31 none": (
        lambda a: Distance().pairwise(a, "gene", bootstrap=True, n_bootstrap=None),
        TypeError,
        "n_bootstrap=None is a NoneType: pass a whole number",
    ),
    "E32 not a seed": (
        lambda a: Distance().pairwise(a, "gene", bootstrap=True, random_state="one"),
        TypeError,
        "random_state='one' is a str: pass a whole number",
    ),
    # contrasts
    "E33 a column that is no metric": (
        lambda a: Distance().contrast_distances(a, table(gene=["JAK2"], reference=["NT"], score=[1.0])),
        ValueError,
        rf"contrasts column 'score' is not in obs: {COLUMNS}",
    ),
    "E34": (
        lambda a: Distance().contrast_distances(
            a[(a.obs["gene"] != "JAK2") | (a.obs["dose"] != 5)], table(gene=["JAK2"], reference=["NT"], dose=[5])
        ),
        ValueError,
        r"no cells for contrast condition \{'gene': 'JAK2', 'dose': 5\}: remove those rows",
    ),
    "contrasts: not a frame": (
        lambda a: Distance().contrast_distances(a, [("JAK2", "NT")]),
        ValueError,
        "contrasts is a list: pass a pandas DataFrame",
    ),
    "contrasts: no reference": (
        lambda a: Distance().contrast_distances(a, table(gene=["JAK2"])),
        ValueError,
        "contrasts has no column 'reference': add one",
    ),
    "contrasts: reference first": (
        lambda a: Distance().contrast_distances(a, table(reference=["NT"], gene=["JAK2"])),
        ValueError,
        "contrasts begins with column 'reference': put the target column first",
    ),
    "contrasts: unknown target": (
        lambda a: Distance.validate_contrasts(a, table(gene=["JAK1"], reference=["NT"])),
        ValueError,
        "contrasts column 'gene': 'JAK1' is not in obs 'gene': did you mean 'JAK2'",
    ),
    "contrasts: unknown reference": (
        lambda a: Distance.validate_contrasts(a, table(gene=["JAK2"], reference=["zz"])),
        ValueError,
        "contrasts column 'reference': 'zz' is not in obs 'gene': there are: ",
    ),
    "contrasts: unknown stratum": (
        lambda a: Distance.validate_contrasts(a, table(gene=["JAK2"], reference=["NT"], dose=[3])),
        ValueError,
        r"contrasts column 'dose': 3 is not in obs 'dose': there are: (1, 5|5, 1)\.",
    ),
    "contrasts: no target": (
        lambda a: Distance.validate_contrasts(a, table(gene=[None], reference=["NT"])),
        ValueError,
        "contrasts column 'gene': None is not in obs 'gene'",
    ),
    "split_by unknown": (
        lambda a: Distance.create_contrasts(a, "gene", "NT", split_by=["dose", "batch"]),
        KeyError,
        rf"obs column 'batch' not found: {COLUMNS}",
    ),
    "split_by groupby": (
        lambda a: Distance.create_contrasts(a, "gene", "NT", split_by="gene"),
        ValueError,
        "split_by='gene' names the groupby column 'gene': split by other columns",
    ),
    # devices
    "E36 empty": (
        lambda a: Distance().pairwise(a, "gene", multi_gpu=[]),
        ValueError,
        r"multi_gpu=\[\] names no GPU: pass None",
    ),
    "E36 no such GPU": (
        lambda a: Distance().pairwise(a, "gene", multi_gpu=[99]),
        ValueError,
        r"GPU id 99 does not exist: this machine has \d+ CUDA device\(s\), numbered from 0",
    ),
    "E36 tuple": (lambda a: Distance().pairwise(a, "gene", multi_gpu=(-1,)), ValueError, "GPU id -1 does not exist"),
    "E36 text": (
        lambda a: Distance().pairwise(a, "gene", multi_gpu="all"),
        ValueError,
        "GPU ids 'all' are not understood: use a comma-separated list such as '0,2'",
    ),
    "E36 number": (
        lambda a: Distance().pairwise(a, "gene", multi_gpu=1),
        ValueError,
        r"multi_gpu=1 is not understood: pass a list of GPU ids, such as \[0\]",
    ),
    # metrics and their options
    "metric": (lambda _: Distance("edist"), ValueError, "metric='edist' is not one of: .*edistance.*euclidean"),
    "metric none": (lambda _: Distance(None), ValueError, "metric=None is not one of: "),
    "option": (
        lambda _: Distance("edistance", estimater="v"),
        TypeError,
        "metric 'edistance' has no option 'estimater': it takes .*estimator",
    ),
    "option of another": (
        lambda _: Distance("mse", estimator="v"),
        TypeError,
        "metric 'mse' has no option 'estimator': it takes",
    ),
    "estimator": (lambda _: Distance(estimator="w"), ValueError, "estimator='w' is not one of: 'u', 'v'"),
    "cell_wise_metric": (
        lambda _: Distance(cell_wise_metric="manhattan"),
        ValueError,
        "cell_wise_metric='manhattan' is not one of: 'euclidean', 'sqeuclidean'",
    ),
}


# Data that is spoilt before the call.
SPOILT = {
    "E2 default": without_embedding,
    "E17 nan": lambda adata: with_value(adata, np.nan),
    "E17 infinity": lambda adata: with_value(adata, -np.inf),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(screen, case):
    call, error, message = CASES[case]
    adata = SPOILT.get(case, lambda adata: adata)(screen)
    with unchanged(adata), pytest.raises(error, match=message):
        call(adata)
