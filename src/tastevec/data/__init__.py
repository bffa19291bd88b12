"""Data: from releases and tables to histories and prepared datasets."""
