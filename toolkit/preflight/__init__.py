"""What this machine has, and whether a recipe's target can run on it: ``trtkit doctor``."""
