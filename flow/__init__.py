"""What flows between rollout, scoring and the learner: requests, trajectories, scores, groups, receipts."""
