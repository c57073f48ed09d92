"""Masks over HTTP."""
