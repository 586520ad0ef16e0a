"""What is happening on the roads: records in, the stream, link and vehicle state, findings, feed."""
