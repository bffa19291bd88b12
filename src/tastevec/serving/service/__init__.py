"""The HTTP service: a model over the network, for programs and the web page."""
