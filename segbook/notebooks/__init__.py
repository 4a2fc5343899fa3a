"""Notebooks executed headlessly, each in a run folder of its own."""
