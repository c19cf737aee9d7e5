"""The model families with region tokens in vLLM: a module each, named by its `model_type`."""
