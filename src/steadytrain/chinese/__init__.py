"""Every word and sentence of the journal in Chinese: a table for each kind of sentence."""
