"""The Ray actors that work: rollout, reward and learner workers."""
