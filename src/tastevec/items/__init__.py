"""Item vectors: content, tag genome, collaborative factors, cold start and tag directions."""
