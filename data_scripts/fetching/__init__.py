"""What the scripts of this folder share: download, extract, convert, check. No torch, no segkit."""
