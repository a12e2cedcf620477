"""Around the training process: start it, watch it, stop it, start it again."""
