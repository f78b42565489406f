"""Spread over the texts: weighted k-means over candidates, and near-duplicates left out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from stillhouse.probabilities import Floats


def spread(embeddings: Floats, weight: Floats, count: int, *, seed: int, ids: NDArray[Any]) -> NDArray[np.intp]:
    """`count` of the candidates, one from each cluster of a k-means weighted by uncertainty (Zhdanov 2019).

    `embeddings` (m, d), `weight` (m,) >= 0; returns positions among the m candidates, in the order of the clusters'
    largest weight. Of a cluster, the candidate nearest to its centre is taken; ties break by id.
    """
    if count == 0:
        return np.empty(0, dtype=np.intp)
    if count >= len(embeddings):
        return np.arange(len(embeddings))
    model = KMeans(count, n_init=1, max_iter=20, random_state=seed).fit(embeddings, sample_weight=weight + 1e-9)
    distance = ((embeddings - model.cluster_centers_[model.labels_]) ** 2).sum(axis=1)
    order = np.lexsort((ids, np.round(distance, 9), model.labels_))
    first = np.unique(model.labels_[order], return_index=True)[1]
    chosen = order[first]
    if len(chosen) < count:  # k-means may leave a cluster empty: fill up with the most uncertain of the rest
        rest = np.setdiff1d(np.arange(len(embeddings)), chosen)
        extra = rest[np.lexsort((ids[rest], -weight[rest]))][: count - len(chosen)]
        chosen = np.concatenate([chosen, extra])
    out: NDArray[np.intp] = chosen[np.lexsort((ids[chosen], -weight[chosen]))]
    return out


def without_near_duplicates(
    embeddings: Floats, order: NDArray[np.intp], cosine: float, most: int, taken: Sequence[int] = ()
) -> NDArray[np.intp]:
    """The first `most` of `order` of which no two unit embeddings (n, d) are closer than `cosine`, nor one to `taken`.

    Greedy from the front; one matrix-vector product for each kept item.
    """
    kept = list(taken)
    chosen = np.empty((len(taken) + most, embeddings.shape[1]), dtype=embeddings.dtype)
    chosen[: len(taken)] = embeddings[kept]
    for position in order:
        if len(kept) == len(chosen):
            break
        if kept and float((chosen[: len(kept)] @ embeddings[position]).max()) >= cosine:
            continue
        chosen[len(kept)] = embeddings[position]
        kept.append(int(position))
    return np.array(kept[len(taken) :], dtype=np.intp)
