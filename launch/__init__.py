"""How a person starts and reads a run: config, command line, demo, doctor, summaries."""
