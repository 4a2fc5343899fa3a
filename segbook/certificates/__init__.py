"""Certificates: what each network of the catalogue was measured to be, and against what."""
