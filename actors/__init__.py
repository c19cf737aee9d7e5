"""Ray: who runs where, health, lifetime, and the loops that join rollout, scoring and learning."""
