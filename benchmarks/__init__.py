"""Benchmarks: what the masks are worth and what they cost."""
