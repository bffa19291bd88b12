"""The models: encoders, losses and export, on torch and transformers alone."""
