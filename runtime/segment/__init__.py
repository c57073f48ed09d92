"""One run over many files: read, segment, write, resume."""
