"""A training: its state, its loop, the processes that share it, and the proof that it resumes."""
