"""The problem: samples, answers, regions, cameras, prompts and grammar of the paths, synthetic scenes, data sets."""
