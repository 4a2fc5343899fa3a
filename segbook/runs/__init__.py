"""Run folders: the record of a run, who owns it, and what the reader sees of it."""
