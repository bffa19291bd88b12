"""What happened: from a release or a table to histories."""
