"""The losses that `benchmarks.ops` compares; `twins` says what a twin is."""

from __future__ import annotations

from typing import Any

from benchmarks.twin import CLASSES, ROWS, Leaf, Twin, keyword, normal, of, paired, scored

__all__ = ["LOSSES", "softened"]


def softened(a: Any, x: Any) -> Any:
    return a.logaddexp(x, 0)


LOSSES = (
    Twin("mse", of(ROWS, count=2), lambda t, x, y: t.mse_loss(x, y), lambda a, x, y: a.mean((x - y) ** 2)),
    Twin("l1_loss", of(ROWS, count=2), lambda t, x, y: t.l1_loss(x, y), lambda a, x, y: a.mean(abs(x - y))),
    Twin("smooth_l1_loss", of(ROWS, count=2), lambda t, x, y: t.smooth_l1_loss(x, y)),
    Twin("huber_loss", of(ROWS, count=2), lambda t, x, y: t.huber_loss(x, y)),
    Twin(
        "sigmoid_binary_cross_entropy",
        paired("normal", "unit"),
        lambda t, x, y: t.binary_cross_entropy_with_logits(x, y),
        lambda a, x, y: a.mean(a.logaddexp(x, 0) - x * y),
    ),
    Twin(
        "binary_cross_entropy",
        paired("unit", "unit"),
        lambda t, x, y: t.binary_cross_entropy(x, y),
        lambda a, x, y: -a.mean(y * a.log(x) + (1 - y) * a.log(1 - x)),
    ),
    Twin(
        "kl_divergence",
        paired("normal", "unit"),
        lambda t, x, y: t.kl_div(x, y, reduction="batchmean"),
        lambda a, x, y: a.sum(y * (a.log(y) - x)) / len(x),
    ),
    Twin(
        "vae_kl",
        of(ROWS, count=2),
        lambda t, m, v: (m * m + t.expm1(v) - v).sum(-1).mean() / 2,
        lambda a, m, v: a.sum(m * m + a.expm1(v) - v) / (2 * len(m)),
    ),
    Twin("poisson_nll_loss", paired("normal", "positive"), lambda t, x, y: t.poisson_nll_loss(x, y)),
    Twin(
        "gaussian_nll_loss",
        lambda i: (*of(ROWS)(i) * 2, Leaf("positive", ROWS[i])),
        lambda t, x, y, v: t.gaussian_nll_loss(x, y, v),
    ),
    Twin(
        "margin_ranking_loss",
        of(ROWS, count=3),
        lambda t, x, y, s: t.margin_ranking_loss(x, y, s),
    ),
    Twin("triplet_margin_loss", of(ROWS, count=3), lambda t, x, y, z: t.triplet_margin_loss(x, y, z)),
    Twin("multilabel_soft_margin_loss", paired("normal", "unit"), lambda t, x, y: t.multilabel_soft_margin_loss(x, y)),
    Twin(
        "multilabel_margin_loss",
        lambda i: (normal(*CLASSES[i]), Leaf("labels", (CLASSES[i][0], 3), CLASSES[i][1])),
        lambda t, x, y: t.multilabel_margin_loss(x, t.pad(y, (0, x.shape[1] - 3), value=-1)),
        arrange=keyword("labels"),
    ),
    Twin("cosine_similarity", of(ROWS, count=2), lambda t, x, y: t.cosine_similarity(x, y, -1).mean()),
    Twin("pairwise_distance", of(ROWS, count=2), lambda t, x, y: t.pairwise_distance(x, y)),
    Twin("cdist", of(((4, 8), (64, 32), (256, 64)), count=2), lambda t, x, y: t.cdist(x, y)),
    Twin(
        "cosine_embedding_loss",
        lambda i: (*of(ROWS)(i) * 2, Leaf("labels", ROWS[i][:1], 2)),
        lambda t, x, y, s: t.cosine_embedding_loss(x, y, 2 * s - 1),
        arrange=lambda x, y, s: ((x, y), {"labels": 2 * s - 1}),
    ),
    Twin(
        "dpo_loss",
        of(ROWS, count=4),
        lambda t, c, r, ref_c, ref_r: -t.logsigmoid(0.1 * (c - r - ref_c + ref_r)).mean(),
        lambda a, c, r, ref_c, ref_r: a.mean(softened(a, -0.1 * (c - r - ref_c + ref_r))),
    ),
    Twin(
        "clipped_surrogate_pg_loss",
        paired("positive", "normal"),
        lambda t, r, a: -t.minimum(r * a, t.clamp(r, 0.8, 1.2) * a).mean(),
        lambda a, r, adv: -a.mean(a.minimum(r * adv, a.clip(r, 0.8, 1.2) * adv)),
    ),
    Twin("softmax_cross_entropy", scored, lambda t, x, y: t.cross_entropy(x, y), arrange=keyword("labels")),
    Twin("nll_loss", scored, lambda t, x, y: t.nll_loss(x, y), arrange=keyword("labels")),
)
