"""A run over many files on a Ray cluster."""
