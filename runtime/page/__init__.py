"""HTML pages: the parts that they share, and the page of a run."""
