"""Beside the training: reads journals, never writes them."""
