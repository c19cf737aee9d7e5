"""What one card shows of the whole program, in eight parts: see `benchmarks/gpu/__main__.py`."""
