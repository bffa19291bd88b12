"""How good a user vector is, measured without torch."""
