"""Finished runs, to be read by others: published, and side by side."""
