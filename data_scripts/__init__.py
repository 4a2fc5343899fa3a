"""One stand-alone script a data set: fetch (or take a local copy), verify, convert, check."""
