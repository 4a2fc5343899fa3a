"""What a recipe will cost on this machine, measured before it is paid."""
