"""A rapids_singlecell script. With `import pertorch as ptg` in the place of its import it runs as it is, on any device.

screen.h5ad holds log-normalised expression with obs["gene_target"], obs["batch"] and obsm["X_pca"]; guides.h5ad
holds the guide counts of the same cells.
"""

import anndata
import rapids_singlecell.ptg as ptg

adata, guides = anndata.read_h5ad("screen.h5ad"), anndata.read_h5ad("guides.h5ad")
adata.obs["gene_target"] = adata.obs["gene_target"].astype("category")

assignment = ptg.GuideAssignment()
assignment.assign_to_max_guide(guides, assignment_threshold=10, obs_key="largest")
assignment.assign_mixture_model(guides, max_assignments_per_cell=5, posterior_threshold=0.5)
agree = guides.obs["assigned_guide"].astype(str) == guides.obs["largest"].astype(str)
adata = adata[agree.to_numpy()].copy()

distance = ptg.Distance(metric="edistance", obsm_key="X_pca")
pairwise = distance.pairwise(adata, groupby="gene_target", multi_gpu=False)
to_control, variance = distance.onesided_distances(
    adata, groupby="gene_target", selected_group="NT", bootstrap=True, n_bootstrap=20, random_state=1
)
contrasts = ptg.Distance.create_contrasts(adata, groupby="gene_target", selected_group="NT", split_by="batch")
by_batch = distance.contrast_distances(adata, contrasts=contrasts)
expression = ptg.Distance("pearson_distance", layer_key="X").pairwise(adata, groupby="gene_target")

mixscape = ptg.Mixscape()
mixscape.perturbation_signature(adata, "gene_target", "NT", split_by="batch", n_neighbors=20)
mixscape.mixscape(adata, "gene_target", "NT")
mixscape.mixscale(adata, "gene_target", "NT")
mixscape.lda(adata, "gene_target", "NT")
print(by_batch.sort_values("edistance", ascending=False).head())
print(adata.obs.groupby("gene_target", observed=True)["mixscale_score"].mean().sort_values())
