"""Published methods behind the common interface, one file each."""
