"""The spatial VLM that learner and engine share: families, checkpoints, regions, prompts."""
