"""The model families in vLLM, with region tokens: a module for each, named by its `model_type`."""
