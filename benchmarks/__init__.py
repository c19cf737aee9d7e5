"""How fast the parts are. Each module is a program: `python -m benchmarks.NAME`, started in the project's folder."""
