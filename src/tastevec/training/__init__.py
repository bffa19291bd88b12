"""Training: settings, batches, loop and checkpoints."""
