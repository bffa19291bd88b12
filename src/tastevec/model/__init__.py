"""The network, alone: it imports torch and transformers and none of our other rooms."""
