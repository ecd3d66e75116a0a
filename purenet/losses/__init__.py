"""Losses, by what they compare.

`regression` compares numbers, `binary` a probability with yes or no, `cross_entropy` a distribution over classes with the
right one (`chunked` with few logits at a time), `margins` and `further_margins` a score with a bound, `multilabel` scores with
several right classes, `distributions` two distributions or a number and a distribution, `similarity` and `distances`
vectors, `segmentation` sets, `sampling` one row of a table with a few drawn ones, `alignment` sequences of other lengths,
`policies` what a policy prefers with what was preferred or rewarded.

A loss takes predictions and real-valued targets positionally, and both are differentiated; integer labels, weights and masks
are keywords. `reduction` is "mean", "sum" or "none"; a mean divides by the sum of the weights of the terms that count, and a
mean over nothing, or over zero total weight, is 0.
"""

from purenet.losses.alignment import ctc_loss
from purenet.losses.binary import binary_cross_entropy, sigmoid_binary_cross_entropy, sigmoid_focal_loss
from purenet.losses.chunked import linear_cross_entropy
from purenet.losses.cross_entropy import nll_loss, softmax_cross_entropy, softmax_cross_entropy_with_probabilities
from purenet.losses.distances import cdist, cosine_embedding_loss, pairwise_distance
from purenet.losses.distributions import gaussian_nll_loss, kl_divergence, poisson_nll_loss, vae_kl
from purenet.losses.further_margins import hinge_embedding_loss, multi_margin_loss, soft_margin_loss
from purenet.losses.margins import (
    hinge_loss,
    margin_ranking_loss,
    multiclass_hinge_loss,
    perceptron_loss,
    squared_hinge_loss,
)
from purenet.losses.multilabel import multilabel_margin_loss, multilabel_soft_margin_loss
from purenet.losses.policies import clipped_surrogate_pg_loss, dpo_loss
from purenet.losses.regression import (
    huber_loss,
    l1_loss,
    log_cosh,
    mse,
    quantile_loss,
    smooth_l1_loss,
    squared_error,
    sum_squared_error,
)
from purenet.losses.sampling import negative_sampling_loss
from purenet.losses.segmentation import dice_loss
from purenet.losses.similarity import contrastive_loss, cosine_distance, cosine_similarity, ntxent, triplet_margin_loss

__all__ = [
    "binary_cross_entropy",
    "cdist",
    "clipped_surrogate_pg_loss",
    "contrastive_loss",
    "cosine_distance",
    "cosine_embedding_loss",
    "cosine_similarity",
    "ctc_loss",
    "dice_loss",
    "dpo_loss",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "hinge_loss",
    "huber_loss",
    "kl_divergence",
    "l1_loss",
    "linear_cross_entropy",
    "log_cosh",
    "margin_ranking_loss",
    "mse",
    "multi_margin_loss",
    "multiclass_hinge_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "negative_sampling_loss",
    "nll_loss",
    "ntxent",
    "pairwise_distance",
    "perceptron_loss",
    "poisson_nll_loss",
    "quantile_loss",
    "sigmoid_binary_cross_entropy",
    "sigmoid_focal_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_probabilities",
    "squared_error",
    "squared_hinge_loss",
    "sum_squared_error",
    "triplet_margin_loss",
    "vae_kl",
]
