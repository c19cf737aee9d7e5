"""The rollout pool: its members, who serves which request, how many there are, what weights they hold."""
