"""The HTTP service: a model asked over the network, by the page and by programs."""
