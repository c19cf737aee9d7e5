"""What a machine has, what an install has, what a config needs of them."""
