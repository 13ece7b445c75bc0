"""Measured screens that can be fetched by name."""

from __future__ import annotations

from typing import NamedTuple, final

# scPerturb, release 1.4 (Peidli et al. 2024): one schema for all. The checksums are those that Zenodo states.
RECORD = "https://zenodo.org/records/13350497/files"
COLLECTION = "https://doi.org/10.5281/zenodo.13350497"
LICENCE = "CC-BY-4.0"


@final
class Dataset(NamedTuple):
    """One file.

    Attributes
    ----------
    name
        What it is fetched by.
    file, md5
        Name in the record, and its checksum.
    cells, features
        Shape; ``None`` where it is not known without the file.
    about
        What was measured, and what stands in ``obs["perturbation"]``.
    paper, doi
        To be cited, besides the collection.
    """

    name: str
    file: str
    md5: str
    cells: int
    features: int | None
    about: str
    paper: str
    doi: str

    @property
    def url(self) -> str:
        """Where the file is."""
        return f"{RECORD}/{self.file}?download=1"


_ADAMSON = "Adamson et al. 2016, Cell", "10.1016/j.cell.2016.11.048"
_PLASMIDS = "one guide per cell, by plasmid; controls are plasmids too, 62(mod)_pBA581 among them"
_DATLINGER = "Datlinger et al. 2017, Nature Methods", "10.1038/nmeth.4177"
_DIXIT = "Dixit et al. 2016, Cell", "10.1016/j.cell.2016.11.038"
_FRANGIEH = "Frangieh et al. 2021, Nature Genetics", "10.1038/s41588-021-00779-1"
_MCFARLAND = "McFarland et al. 2020, Nature Communications", "10.1038/s41467-020-17440-w"
_NORMAN = "Norman et al. 2019, Science", "10.1126/science.aax4438"
_PAPALEXI = "Papalexi et al. 2021, Nature Genetics", "10.1038/s41588-021-00778-2"
_REPLOGLE = "Replogle et al. 2022, Cell", "10.1016/j.cell.2022.05.013"
_SCHRAIVOGEL = "Schraivogel et al. 2020, Nature Methods", "10.1038/s41592-020-0837-5"
_SHIFRUT = "Shifrut et al. 2018, Cell", "10.1016/j.cell.2018.10.024"
_SRIVATSAN = "Srivatsan et al. 2020, Science", "10.1126/science.aax6234"
_CONDITIONS = "CRISPR knock-outs of 248 genes in melanoma cells: control, IFN-γ, with T cells (obs['perturbation_2'])"
_TAP = "CRISPRi of promoters and enhancers in K562, TAP-seq: a panel of genes, not the transcriptome"

_FILES = (
    Dataset(
        "adamson_2016_pilot", "AdamsonWeissman2016_GSM2406675_10X001.h5ad", "232f7e3756d41602bbe434b50662a76f",
        5_768, None, f"CRISPRi pilot in K562; {_PLASMIDS}", *_ADAMSON,
    ),
    Dataset(
        "adamson_2016_upr_epistasis", "AdamsonWeissman2016_GSM2406677_10X005.h5ad", "8657391920e7f8b3e6fd52745777002a",
        15_006, None, "CRISPRi of the unfolded protein response's sensors in K562, alone and together", *_ADAMSON,
    ),
    Dataset(
        "adamson_2016_upr_perturb_seq", "AdamsonWeissman2016_GSM2406681_10X010.h5ad",
        "2fa44ea61a8dd35742af618638ec65fc", 65_337, 32_738,
        f"CRISPRi of regulators of the unfolded protein response in K562; {_PLASMIDS}", *_ADAMSON,
    ),
    Dataset(
        "datlinger_2017", "DatlingerBock2017.h5ad", "c797d8e0320afcc0cc2a94e94805b142", 5_905, 36_722,
        "CROP-seq: CRISPR knock-outs in Jurkat cells, with and without stimulation of the T cell receptor "
        "(obs['perturbation_2'])", *_DATLINGER,
    ),
    Dataset(
        "dixit_2016_k562_tfs_7_days", "DixitRegev2016_K562_TFs_7_days.h5ad", "b4fb773a3b3857a8ee471d6d2f5221e0",
        33_013, None, "CRISPR knock-outs of transcription factors in K562, day 7; controls are intergenic", *_DIXIT,
    ),
    Dataset(
        "dixit_2016_k562_tfs_13_days", "DixitRegev2016_K562_TFs_13_days.h5ad", "b594d224cf17b268cd7e02efc976cea7",
        19_268, None, "as at 7 days, day 13", *_DIXIT,
    ),
    Dataset(
        "dixit_2016_k562_tfs_high_moi", "DixitRegev2016_K562_TFs_High_MOI.h5ad", "b77c2249b7069b16f91f7384a88c39b1",
        51_898, None, "as at 7 days, several guides per cell", *_DIXIT,
    ),
    Dataset(
        "frangieh_2021_rna", "FrangiehIzar2021_RNA.h5ad", "dc438f53c476a3dd562898654d48ed15", 218_331, 23_712,
        _CONDITIONS, *_FRANGIEH,
    ),
    Dataset(
        "frangieh_2021_protein", "FrangiehIzar2021_protein.h5ad", "9d9337e30af69ffdcf5e831f96616ed1", 218_331, 24,
        f"surface proteins of the same cells: {_CONDITIONS}", *_FRANGIEH,
    ),
    Dataset(
        "mcfarland_2020", "McFarlandTsherniak2020.h5ad", "03204a96b7b5dd96fc3cf33418222cd9", 182_875, 32_738,
        "MIX-seq: drugs, and some CRISPR knock-outs (obs['perturbation_type']), in pools of cancer cell lines "
        "(obs['cell_line'])", *_MCFARLAND,
    ),
    Dataset(
        "norman_2019", "NormanWeissman2019_filtered.h5ad", "c870e6967d91c017d9da827bab183cd6", 111_445, 33_694,
        "CRISPRa of 105 genes and 131 pairs (GENE1_GENE2) in K562", *_NORMAN,
    ),
    Dataset(
        "papalexi_2021_rna", "PapalexiSatija2021_eccite_RNA.h5ad", "d9e8bfe20b0e7b0919be042e8fcf6d03", 20_729, 18_649,
        "ECCITE-seq: CRISPR knock-outs of 25 genes in stimulated THP-1 cells, by guide (ATF2g1); obs['hto'] holds the "
        "replicate", *_PAPALEXI,
    ),
    Dataset(
        "papalexi_2021_protein", "PapalexiSatija2021_eccite_protein.h5ad", "07290242b0e835c9474bb816de9cda45", 20_729,
        4, "surface proteins of the same cells", *_PAPALEXI,
    ),
    Dataset(
        "replogle_2022_k562_essential", "ReplogleWeissman2022_K562_essential.h5ad", "d8cba17576d1a8afc0f7d71b79cad0f7",
        310_385, 8_563, "CRISPRi of essential genes in K562", *_REPLOGLE,
    ),
    Dataset(
        "replogle_2022_k562_gwps", "ReplogleWeissman2022_K562_gwps.h5ad", "13db594f8f1d2ccb88fec44a13e414dc",
        1_989_578, 8_248, "CRISPRi of all expressed genes in K562; 9 GB, dense", *_REPLOGLE,
    ),
    Dataset(
        "replogle_2022_rpe1", "ReplogleWeissman2022_rpe1.h5ad", "cc7f1ec50aeb3a3e1b4a6cfa713d80fa", 247_914, 8_749,
        "CRISPRi of essential genes in RPE1", *_REPLOGLE,
    ),
    Dataset(
        "schraivogel_2020_tap_screen_chr8", "SchraivogelSteinmetz2020_TAP_SCREEN__chromosome_8_screen.h5ad",
        "916e6b511e164f840c7835291f2bbd51", 112_260, None, f"{_TAP}; chromosome 8", *_SCHRAIVOGEL,
    ),
    Dataset(
        "schraivogel_2020_tap_screen_chr11", "SchraivogelSteinmetz2020_TAP_SCREEN__chromosome_11_screen.h5ad",
        "f3276b2ee09bc132fa7f471090b9094e", 120_310, None, f"{_TAP}; chromosome 11", *_SCHRAIVOGEL,
    ),
    Dataset(
        "shifrut_2018", "ShifrutMarson2018.h5ad", "813253590e31611560045333b7ffb637", 52_236, 33_694,
        "SLICE: CRISPR knock-outs of 21 genes in primary T cells of two donors, with and without stimulation "
        "(obs['perturbation_2'])", *_SHIFRUT,
    ),
    Dataset(
        "srivatsan_2020_sciplex2", "SrivatsanTrapnell2020_sciplex2.h5ad", "12a48293a166a859f994551653a2ad8c", 24_262,
        None, "sci-Plex 2: four drugs in A549, by dose", *_SRIVATSAN,
    ),
    Dataset(
        "srivatsan_2020_sciplex3", "SrivatsanTrapnell2020_sciplex3.h5ad", "c9e70629505d98c7ca1a837f62b14e89", 799_317,
        110_983, "sci-Plex 3: 188 compounds at four doses (obs['dose_value']) in three cell lines (obs['cell_line'])",
        *_SRIVATSAN,
    ),
    Dataset(
        "srivatsan_2020_sciplex4", "SrivatsanTrapnell2020_sciplex4.h5ad", "9335b581baba2df02ecf92eed4b56ad7", 98_437,
        None, "sci-Plex 4: histone deacetylase inhibitors and metabolites", *_SRIVATSAN,
    ),
)  # fmt: skip
CATALOGUE = {dataset.name: dataset for dataset in _FILES}
