"""Readers of data sets: a file each, listed in `registry.py`."""
