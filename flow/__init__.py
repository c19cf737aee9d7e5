"""What flows from rollout through scoring to the learner: requests, trajectories, scores, failures, groups."""
