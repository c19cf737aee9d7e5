"""The problem: samples, answers, regions, cameras, prompts and grammar of the paths, kinds of question, scenes."""
