"""HTTP addresses: parse, call, shape the answer."""
