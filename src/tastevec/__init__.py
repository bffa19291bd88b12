"""Taste vectors: one short vector a person, from what they rated."""
