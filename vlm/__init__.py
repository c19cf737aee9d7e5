"""The spatial VLM that learner and engine share: checkpoints, regions, prompts."""
