"""steadytrain inside other people's frameworks."""
