"""Ray itself: calls with a deadline, placement, joining a cluster, its life and its end."""
