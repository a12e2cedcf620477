"""What a replica of a run needs beside torchft: its share, its updates, its record, its state."""
