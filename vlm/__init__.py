"""The spatial VLM that learner and engine share: families, model folders, regions, prompts."""
