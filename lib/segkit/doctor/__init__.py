"""Preflight: looks at data, network, settings and machine before the first step."""
