"""From a recipe's words and numbers to the objects that train."""
