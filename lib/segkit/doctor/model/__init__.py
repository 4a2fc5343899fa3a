"""The examination of a network: a dry run of a step, and sanity checks that train."""
