"""Linear and multilinear maps, and tables of vectors looked up by integers."""

from purenet.linear.lookup import embedding, embedding_bag, embedding_dot, one_hot, unembedding
from purenet.linear.low_rank import lora_affine
from purenet.linear.products import affine, bilinear, einsum, matmul

__all__ = [
    "affine",
    "bilinear",
    "einsum",
    "embedding",
    "embedding_bag",
    "embedding_dot",
    "lora_affine",
    "matmul",
    "one_hot",
    "unembedding",
]
