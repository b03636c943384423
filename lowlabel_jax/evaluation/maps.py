"""Features in two dimensions, to be looked at: PCA, or t-SNE (van der Maaten and Hinton, 2008)."""

import numpy as np

from lowlabel_jax.core.errors import UserError, nearest

WAYS = ("tsne", "pca")
MOST = 2000  # points of a map: more hide each other, and t-SNE takes minutes
PERPLEXITY = 30.0  # of t-SNE, at most: about so many neighbours count
REDUCED = 50  # components that t-SNE is given: distances are hardly changed, and quickly found


def embedded(features: np.ndarray, by: str, seed: int = 0) -> np.ndarray:
    """float32 [n, 2] of features [n, f], the same whenever it is asked for.

    by: "pca", the two directions of largest variance, or "tsne", which keeps near what is near and
    says nothing by far distances. seed: of t-SNE. Raises UserError for another way.
    """
    if by not in WAYS:
        raise UserError(f"no map {by!r}.{nearest(by, WAYS)}", f"there are: {', '.join(WAYS)}.")
    if not (features != features[:1]).any():  # no point, or all of them the same
        return np.zeros((len(features), 2), np.float32)
    points = _components(np.asarray(features, np.float64), 2 if by == "pca" else REDUCED)
    if by == "tsne" and len(points) > 4:
        points = _tsne(points, seed)
    return points[:, :2].astype(np.float32)


def sample(n: int, seed: int = 0, most: int = MOST) -> np.ndarray:
    """int [min(n, most)], sorted: which of n points a map shows."""
    return np.sort(np.random.default_rng([seed, n]).permutation(n)[:most])


def vectors(endpoint: np.ndarray) -> np.ndarray:
    """float32 [n, f] of an endpoint [n, …, f]: its mean over pixels or tokens."""
    flat = np.asarray(endpoint, np.float32).reshape(len(endpoint), -1, endpoint.shape[-1])
    return flat.mean(1)


def _components(x: np.ndarray, count: int) -> np.ndarray:
    """[n, max(2, m)]: the m = min(count, n, f) principal components of x [n, f]; others are 0."""
    from sklearn.decomposition import PCA

    kept = min(count, *x.shape)
    found = np.zeros((len(x), max(kept, 2)))
    found[:, :kept] = PCA(kept, svd_solver="full").fit_transform(x)
    return found


def _tsne(x: np.ndarray, seed: int) -> np.ndarray:
    """[n, 2] of x [n, f], on one thread: the order of sums on several is not always the same."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(PERPLEXITY, (len(x) - 1) / 3)
    with threadpool_limits(1):
        made = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
        return made.fit_transform(x)
