"""The optimisers, one object each. To add one: its file beside these, and its name in `config.py`."""
