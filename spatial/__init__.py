"""The problem: samples, answers, regions, cameras, prompts and grammar of the two paths, synthetic scenes, data sets."""
