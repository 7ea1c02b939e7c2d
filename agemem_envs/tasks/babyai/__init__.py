"""BabyAI: missions in a grid of rooms."""
