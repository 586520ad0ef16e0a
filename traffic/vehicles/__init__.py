"""Rules on the passage stream: pure functions over columnar state and batches of passages."""
