"""The paper's experiments: each a file of runs, columns and claims, made by one command."""
