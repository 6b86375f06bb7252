"""Figures that others have published, in per cent of samples where nothing else is said; none of them is ours."""

from typing import NamedTuple

# Xie, Girshick, Farhadi 2016, tables 2 and 3; what the paper leaves out is not here.
ACCURACY: dict[str, dict[str, float]] = {
    "k-means": {"mnist": 53.49, "stl10-hog": 28.39, "reuters10k": 52.42, "reuters": 53.29},
    "LDMGI": {"mnist": 84.09, "stl10-hog": 33.08, "reuters10k": 43.84},
    "SEC": {"mnist": 80.37, "stl10-hog": 30.75, "reuters10k": 60.08},
    "DEC without back-propagation": {"mnist": 79.82, "stl10-hog": 34.06, "reuters10k": 70.05, "reuters": 69.62},
    "AE + k-means": {"mnist": 81.84, "stl10-hog": 33.92, "reuters10k": 66.59, "reuters": 71.97},
    "AE + LDMGI": {"mnist": 83.98, "stl10-hog": 32.04, "reuters10k": 42.92},
    "AE + SEC": {"mnist": 81.56, "stl10-hog": 32.29, "reuters10k": 61.86},
    "DEC": {"mnist": 84.30, "stl10-hog": 35.90, "reuters10k": 72.17, "reuters": 75.63},
}

# Table 4: MNIST, class 0 kept with rate r_min, class 9 with 1, linear between.
IMBALANCE: dict[str, dict[float, float]] = {
    "k-means": {0.1: 47.14, 0.3: 49.93, 0.5: 53.65, 0.7: 54.16, 0.9: 54.39},
    "AE + k-means": {0.1: 66.82, 0.3: 74.91, 0.5: 77.93, 0.7: 80.04, 0.9: 81.31},
    "DEC": {0.1: 70.10, 0.3: 80.92, 0.5: 82.68, 0.7: 84.69, 0.9: 85.41},
}


class Size(NamedTuple):
    """A row of table 1: how many samples, features and classes there are, and the largest class in per cent."""

    n_samples: int
    n_features: int
    n_classes: int
    largest_class: float


DATASETS = {
    "mnist": Size(70_000, 784, 10, 11),
    "stl10-hog": Size(13_000, 1428, 10, 10),
    "reuters10k": Size(10_000, 2000, 4, 43),
    "reuters": Size(685_071, 2000, 4, 43),
}

# Figure 6: generalisability falls sharply past this number of clusters on MNIST.
N_CLUSTERS_OF_MNIST = 9
