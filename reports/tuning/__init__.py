"""The search for the values of `mini-64-v1`: sweep files, and what ranks their points."""
