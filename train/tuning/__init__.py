"""Searching settings: a study of trainings, each a run like any other."""
