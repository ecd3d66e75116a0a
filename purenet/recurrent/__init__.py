"""Recurrent layers: cells, whole sequences with a carry in and out, both directions, several on top of each other."""

from purenet.recurrent.gated import gru, gru_cell
from purenet.recurrent.layers import bidirectional, embedded, stacked
from purenet.recurrent.long_short_term import LSTMCarry, lstm, lstm_cell
from purenet.recurrent.selective import selective_scan
from purenet.recurrent.simple import rnn, rnn_cell

__all__ = [
    "LSTMCarry",
    "bidirectional",
    "embedded",
    "gru",
    "gru_cell",
    "lstm",
    "lstm_cell",
    "rnn",
    "rnn_cell",
    "selective_scan",
    "stacked",
]
