"""Where spec and backend meet: cases, checks, the backend's process, the pytest plugin."""
