"""What the whole project agrees on, once: where states are read, the measure that counts, levels, labels."""

DEFAULT_FAMILY = "tiny-aya"  # of the stages, as the commands of the original have it
EMBEDDED_FAMILY = "nano-aya"  # of what runs on any machine: the pipeline and the explorer

POSITIONS = ("last", "content", "mean", "focus")
PRIMARY_POSITION = "mean"

PRIMARY_METRIC = "centred_cosine"
ALPHA = 0.05  # of a family of tests, after its correction

# Kinds of stimuli with many meanings, shown before the few probes; of equally many the first.
LARGE_SETS = ("parallel", "tico", "flores")

METRIC_LABELS = {
    "centred_cosine": "centred cosine",
    "rank": "rank of the partner (bits)",
    "partial": "centred cosine, nothing shared",
    "stratified": "centred cosine, same topic",
    "cosine": "raw cosine",
    "excess": "excess cosine",
    "p1_to_target": "P@1 from English",
    "p1_to_pivot": "P@1 to English",
    "p1": "P@1, both directions",
    "mrr_to_target": "MRR from English",
    "mrr_to_pivot": "MRR to English",
    "mrr": "MRR, both directions",
    "mexa": "MEXA",
    "margin": "margin",
    "xsim": "1 - xsim error",
    "cka": "CKA, debiased",
    "mutual_knn": "mutual k-NN",
}


def metric_label(metric: str) -> str:
    """For a figure or a page; a name that is not known is shown as it is."""
    return METRIC_LABELS.get(metric, metric.replace("_", " "))
