"""One vLLM engine: samples in, trajectories out, weights in."""
