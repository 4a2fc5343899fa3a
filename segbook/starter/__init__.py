"""A folder to begin research in: ``files/`` is copied as it stands, its name put into it."""
