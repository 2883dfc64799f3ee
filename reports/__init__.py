"""What is derived from run directories: tables, contact sheets."""
