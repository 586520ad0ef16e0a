"""Who sees what, now: HTTP and WebSocket API, the web client, the command line and the supervisor."""
