"""Readers of data sets: one file each, all in `registry.py`."""
