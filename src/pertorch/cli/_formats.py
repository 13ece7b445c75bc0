"""What a file holds, whichever of the formats it has: h5ad, h5mu, these as zarr, or the h5 of Cell Ranger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from pertorch.cli._console import CliError

if TYPE_CHECKING:
    import h5py
    from anndata import AnnData

Part: TypeAlias = Literal["genes", "guides"]
FEATURE_TYPES: dict[Part, str] = {"genes": "Gene Expression", "guides": "CRISPR Guide Capture"}  # as 10x names them
TYPE_COLUMNS = ("feature_types", "feature_type")  # of var: as scanpy names it, as 10x does
MODALITIES: dict[Part, tuple[str, ...]] = {  # of h5mu, most usual first
    "genes": ("rna", "gex", "genes", "gene_expression", "expression", "mrna"),
    "guides": ("gdo", "guides", "guide", "grna", "sgrna", "crispr", "guide_capture", "crispr_guide_capture"),
}
WORDS: dict[Part, str] = {"genes": "gene expression", "guides": "guide counts"}


class Content(NamedTuple):
    """The parts of a file, over the same cells.

    Attributes
    ----------
    genes
        Gene expression; whatever the file holds where it does not tell kinds of features apart. None: there is none.
    guides
        Guide counts; None where there are none, or where they cannot be told apart.
    told_apart
        Whether the file says which features are which.
    """

    genes: AnnData | None
    guides: AnnData | None
    told_apart: bool

    def part(self, part: Part, path: str) -> AnnData:
        """One of them; of a file that does not tell them apart, all of it.

        Raises
        ------
        CliError
            If the file has no such part.
        """
        found = self.genes if part == "genes" or not self.told_apart else self.guides
        if found is None:
            raise CliError(f"{path} holds no {WORDS[part]}: {_wanted(part)}.")
        return found


def read_content(path: str) -> Content:
    """Read a file; X of an h5ad, and X and layers in zarr, stay on disk until something reads them.

    Raises
    ------
    CliError
        If there is no such file, it is of another kind, it is damaged, or it may not be read.
    """
    import h5py

    is_zarr = any((Path(path) / name).is_file() for name in (".zgroup", "zarr.json"))
    if not is_zarr and not Path(path).is_file():
        raise CliError(f"{path} is {'a directory' if Path(path).is_dir() else 'not there'}: give an h5ad file or zarr.")
    if not is_zarr and not h5py.is_hdf5(path):
        raise CliError(f"{path} is not an h5ad file: write one with adata.write_h5ad().")
    try:
        if is_zarr:
            return _of_zarr(path)
        with h5py.File(path) as file:
            if isinstance(file.get("matrix"), h5py.Group):
                return _by_feature_type(_cell_ranger(file["matrix"]))
            if "mod" in file:
                return _of_modalities(file, path)
            _check_annotated(file, path)
            has_x = "X" in file
        return _by_feature_type(_h5ad(path, backed=has_x))
    except PermissionError:
        raise CliError(f"{path} may not be read: ask for permission.") from None
    except Exception as error:
        raise _damaged(path, error) from error


def in_memory(adata: AnnData, path: str) -> AnnData:
    """All of what was read from `path`, in memory.

    Raises
    ------
    CliError
        If the file is damaged.
    """
    try:
        return adata.to_memory()
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: str, error: Exception) -> Exception:
    """What to raise for whatever a damaged file makes the readers raise."""
    if isinstance(error, CliError | MemoryError):
        return error
    return CliError(f"{path} is damaged or cut short: copy it again ({_first_line(error)}).")


def _h5ad(path: str, *, backed: bool) -> AnnData:
    import anndata

    return anndata.read_h5ad(path, backed="r" if backed else None)


def _of_zarr(path: str) -> Content:
    try:
        import zarr
    except ImportError:
        raise CliError(f"{path} is zarr: pip install zarr to read it.") from None
    group = zarr.open_group(path, mode="r")
    if "mod" in group:
        return _of_modalities(group, path)
    _check_annotated(group, path)
    return _by_feature_type(_from_zarr(group))


def _from_zarr(group: Any) -> AnnData:
    """As anndata reads it, but for X and layers."""
    from anndata import AnnData
    from anndata.io import read_elem, sparse_dataset

    def kept(element: Any) -> Any:
        kind = element.attrs.get("encoding-type")
        if kind in ("csr_matrix", "csc_matrix"):
            return sparse_dataset(element)
        return element if kind == "array" else read_elem(element)

    slots = [slot for slot in ("obs", "var", "uns", "obsm", "varm", "obsp", "varp") if slot in group]
    adata = AnnData(kept(group["X"]) if "X" in group else None, **{slot: read_elem(group[slot]) for slot in slots})
    for name in group.get("layers", ()):
        adata.layers[name] = kept(group["layers"][name])
    if "raw" in group:
        adata.raw = read_elem(group["raw"])
    return adata


def _check_annotated(file: Any, path: str) -> None:
    if "obs" not in file or "var" not in file:
        raise CliError(f"{path} holds no AnnData, without obs and var: write one with adata.write_h5ad().")


def _cell_ranger(matrix: h5py.Group) -> AnnData:
    """``filtered_feature_bc_matrix.h5`` of Cell Ranger 3 and later: features × barcodes, compressed by barcode."""
    from anndata import AnnData
    from anndata.utils import make_index_unique

    n_features, n_cells = (int(n) for n in matrix["shape"])
    data, indices, indptr = (matrix[name][:] for name in ("data", "indices", "indptr"))
    counts = sp.csr_matrix((data.astype(np.float32), indices, indptr), shape=(n_cells, n_features))
    var = pd.DataFrame(_columns(matrix["features"], n_features))
    var = var.set_index("name", drop=True).rename(columns={"id": "gene_ids", "feature_type": TYPE_COLUMNS[0]})
    cells = pd.Index(_texts(matrix["barcodes"]), name="barcode")
    var.index = make_index_unique(var.index.rename(None))  # some genes share a symbol
    return AnnData(counts, obs=pd.DataFrame(index=cells), var=var)


def _columns(features: h5py.Group, n_features: int) -> dict[str, Any]:
    """What is said of each feature: also the tags of a guide, such as ``target_gene_name``."""
    found = {name: values for name, values in features.items() if values.shape == (n_features,)}
    of_feature = {name: values for name, values in found.items() if not name.startswith("_")}
    return {name: _texts(values) if values.dtype.kind in "SO" else values[:] for name, values in of_feature.items()}


def _texts(values: h5py.Dataset) -> list[str]:
    return [text.decode() if isinstance(text, bytes) else str(text) for text in values[:]]


def _by_feature_type(adata: AnnData) -> Content:
    column = next((name for name in TYPE_COLUMNS if name in adata.var), None)
    if column is None:
        return Content(adata, None, told_apart=False)
    kinds = adata.var[column].astype(str)
    if not kinds.isin(list(FEATURE_TYPES.values())).any():
        return Content(adata, None, told_apart=False)
    genes, guides = (_kept(adata, (kinds == kind).to_numpy()) for kind in FEATURE_TYPES.values())
    return Content(genes, guides, told_apart=True)


def _kept(adata: AnnData, which: NDArray[np.bool_]) -> AnnData | None:
    return adata if which.all() else adata[:, which] if which.any() else None


def _of_modalities(file: Any, path: str) -> Content:
    """MuData: each modality is an AnnData, and columns of the whole hold for its cells too."""
    from anndata.io import read_elem

    names = {name.lower(): name for name in file["mod"]}
    chosen = {part: next((names[n] for n in known if n in names), None) for part, known in MODALITIES.items()}
    if not any(chosen.values()):
        raise CliError(
            f"{path} has modalities {', '.join(map(repr, file['mod']))}, none of them known as gene expression or "
            "guide counts: name them 'rna' and 'gdo'."
        )
    of_all = read_elem(file["obs"])
    genes, guides = (None if name is None else read_elem(file["mod"][name]) for name in chosen.values())
    for part in (genes, guides):
        if part is not None:
            new = [column for column in of_all.columns if column not in part.obs and ":" not in column]
            part.obs = part.obs.join(of_all[new])
    return Content(genes, guides, told_apart=True)


def _wanted(part: Part) -> str:
    names = " or ".join(repr(name) for name in MODALITIES[part][:2])
    return f"they are features of type {FEATURE_TYPES[part]!r}, or a modality named {names}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
