"""One file a service: how a message looks there, how it is signed, what its answers mean."""
