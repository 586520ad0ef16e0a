"""The doors: codecs of each protocol (pure), validation (pure), and the server that moves bytes."""
