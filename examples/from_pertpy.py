"""A pertpy script. With `import pertorch as pt` in the place of its import of pertpy it runs as it is.

screen.h5ad holds log-normalised expression with obs["gene_target"], obs["batch"] and obsm["X_pca"]; guides.h5ad
holds the guide counts of the same cells.
"""

import anndata
import numpy as np
import pertpy as pt

adata, guides = anndata.read_h5ad("screen.h5ad"), anndata.read_h5ad("guides.h5ad")

ga = pt.pp.GuideAssignment()
ga.assign_by_threshold(guides, assignment_threshold=10)
ga.assign_to_max_guide(guides, assignment_threshold=10)
adata.obs["n_guides"] = np.asarray(guides.layers["assigned_guides"].sum(1)).ravel()
adata.obs["guide"] = np.asarray(guides.obs["assigned_guide"])
adata = adata[adata.obs["n_guides"] == 1].copy()

distance = pt.tl.Distance("mse", obsm_key="X_pca")
pairwise = distance.pairwise(adata, groupby="gene_target", show_progressbar=False)
to_control = pt.tl.Distance("edistance", obsm_key="X_pca").onesided_distances(
    adata, groupby="gene_target", selected_group="NT", show_progressbar=False
)
test = pt.tl.DistanceTest("edistance", n_perms=100, obsm_key="X_pca", correction="holm-sidak")
tests = test(adata, groupby="gene_target", contrast="NT", show_progressbar=False)

mixscape = pt.tl.Mixscape()
mixscape.perturbation_signature(adata, "gene_target", "NT", split_by="batch", n_neighbors=20)
mixscape.mixscape(adata, "gene_target", "NT", layer="X_pert")
adata.uns["share"] = (
    (adata.obs["mixscape_class_global"] == "KO").groupby(adata.obs["gene_target"], observed=True).mean()
)
print(tests.join(to_control.rename("edistance")).join(adata.uns["share"].rename("perturbed")))
