"""The check of a GPU: steps in processes of their own, one JSON, one page."""
