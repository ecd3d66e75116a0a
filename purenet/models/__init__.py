"""Networks, chains of ops. A module has `net()`, the net; `goal()`, the net with its loss; and `init(key)`, its parameters."""

from purenet.models import two_layer_net

__all__ = ["two_layer_net"]
