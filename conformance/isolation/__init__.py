"""The process boundary between suite and backend: wire format, worker, and the life and death of its process."""
