"""word2vec by CBOW: the mean of the vectors around a gap tells the word in it from a few sampled ones.

params, (contexts, targets) = {"net": word2vec.init(random.key(0), 1000)}, word2vec.windows(ids, 5)
sampled = word2vec.sample_negatives(key, counts, (len(targets), 5))
options = {"embedding": {"ids": contexts}, "output": {"targets": targets, "negatives": sampled}}
value, residuals = word2vec.goal().fwd(params, net=options)
(grads,) = word2vec.goal().bwd(residuals, 1.0)     # the vectors of the words are params["net"]["embedding"]["w"]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet import initializers, random
from purenet.checks import number
from purenet.combinators import chain, named
from purenet.linear import embedding_bag
from purenet.losses import negative_sampling_loss
from purenet.op import Array, Op
from purenet.random.checks import integer
from purenet.reductions import mean

__all__ = ["goal", "init", "net", "sample_negatives", "windows"]


def net() -> Op:
    """CBOW with negative sampling, from the words around each gap to the loss of the word in it.

    Shapes: params {embedding: {w (V, D)}, output: {w (V, D)}}, embedding={"ids": integers (N, C)},
        output={"targets": integers (N,), "negatives": integers (N, K)} -> (N,)
    Math, with u the rows of the embedding, v those of the output, and s the sigmoid:
        h = the mean of u over the C words around,  y = -log s(h v_target) - sum_k log s(-h v_k)
        the cotangents are those of negative_sampling_loss and of embedding_bag
    Errors: ValueError where `params` has other keys than embedding and output; those of both ops, for words that are not there.
    Source: Mikolov et al., Distributed representations of words and phrases (2013); Saito, Deep Learning from Scratch 2 (2018),
        chapter 4. Conventions: the mean of the context, as in the original program and the book; the vectors that are used
        afterwards are those of the embedding.

    >>> import numpy as np, purenet as pn
    >>> model = pn.models.word2vec
    >>> params = {"embedding": {"w": np.array([[1.0], [3.0], [0.0]])}, "output": {"w": np.zeros((3, 1))}}
    >>> options = {"ids": np.array([[0, 1]])}, {"targets": np.array([2]), "negatives": np.array([[0, 0, 1]])}
    >>> y = model.net()(params, embedding=options[0], output=options[1])  # four halves
    >>> np.exp(-y).round(12), 1 / 2**4
    (array([0.0625]), 0.0625)
    """
    return named(chain(embedding=embedding_bag, output=negative_sampling_loss.bind(reduction="none")), net, "word2vec")


def goal() -> Op:
    """The mean of the losses that the net gives.

    Shapes: params {net: params of the net}, net={keywords of the net} -> ()
    Math:
        y = mean of net(params); the cotangents are those of the net, dy / N for each word
    Errors: those of the net.
    Source: as the net. Conventions: as the net.

    >>> import numpy as np, purenet as pn
    >>> model = pn.models.word2vec
    >>> params = {"net": {"embedding": {"w": np.ones((3, 2))}, "output": {"w": np.zeros((3, 2))}}}
    >>> options = {"ids": np.array([[0, 1]])}, {"targets": np.array([2]), "negatives": np.array([[0, 0, 1]])}
    >>> value = model.goal()(params, net={"embedding": options[0], "output": options[1]})
    >>> bool(np.isclose(value, 4 * np.log(2)))
    True
    """
    return named(chain(net=net(), loss=mean), goal, "word2vec_goal")


def init(key: Array, vocabulary: int, *, width: int = 100, std: float = 0.01, dtype: Any = np.float64) -> dict[str, Any]:
    """Parameters of the net: two vectors of `width` numbers for each word, std * normal.

    >>> import purenet as pn
    >>> pn.models.word2vec.init(pn.random.key(0), 1000)["output"]["w"].shape
    (1000, 100)
    """
    shape = tuple(integer("word2vec.init", name, n, 1) for name, n in (("vocabulary", vocabulary), ("width", width)))
    weights = initializers.normal(std)
    tables = zip(("embedding", "output"), random.split(key), strict=True)
    return {name: {"w": weights(own, shape, dtype)} for name, own in tables}


def windows(ids: Array, size: int) -> tuple[Array, Array]:
    """The words within `size` places of each word that has so many on both sides, and these words themselves.

    Shapes: ids (T,) integers -> contexts (T - 2 size, 2 size), targets (T - 2 size,)
    Errors: TypeError unless ids are integers; ValueError for a size below 1 or a text that is shorter than a window.

    >>> import numpy as np, purenet as pn
    >>> pn.models.word2vec.windows(np.array([0, 1, 2, 3]), 1)
    (array([[0, 2],
           [1, 3]]), array([1, 2]))
    """
    op, text = "word2vec.windows", np.asarray(ids)
    size = integer(op, "size", size, 1)
    if text.dtype.kind not in "iu":
        raise TypeError(f"{op}: ids must be integers, got {text.dtype}")
    if text.ndim != 1 or len(text) <= 2 * size:
        raise ValueError(f"{op}: ids must have shape (T,) with T more than {2 * size}, the size of a window, got {text.shape}")
    whole = np.lib.stride_tricks.sliding_window_view(text, 2 * size + 1)
    return np.delete(whole, size, axis=1), whole[:, size].copy()


def sample_negatives(key: Array, counts: Array, shape: tuple[int, ...], *, power: float = 0.75) -> Array:
    """Words drawn with probabilities proportional to counts^power: rare ones more often than they occur.

    Shapes: counts (V,) of each word in the text -> shape, integers 0..V-1
    Errors: TypeError unless counts are real numbers; ValueError for negative ones, or where no word has a count.
    Source: Mikolov et al. (2013). Conventions: a word that is the target counts as a negative too, as in
        negative_sampling_loss; the original program and the book draw others.

    >>> import numpy as np, purenet as pn
    >>> drawn = pn.models.word2vec.sample_negatives(pn.random.key(0), np.array([16, 0, 1]), (90, 100))
    >>> (np.bincount(drawn.ravel()) / drawn.size * 9).round(1)  # 16^(3/4) = 8
    array([8., 0., 1.])
    """
    op, given = "word2vec.sample_negatives", np.asarray(counts)
    power = number(op, "power", power, low=0)
    if given.dtype.kind not in "iuf":
        raise TypeError(f"{op}: counts must be real numbers, got {given.dtype}")
    if given.ndim != 1 or not (given >= 0).all() or not given.any():
        raise ValueError(f"{op}: counts must have shape (V,), none negative and not all 0, got {given}")
    weights = np.where(given > 0, given.astype(np.float64) ** power, 0)  # 0^0 is 1, but such a word does not occur
    return random.choice(key, len(given), shape, p=weights)
