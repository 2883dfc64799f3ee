"""Images inside local archives: zip, tar shards, Parquet and LMDB. Nothing is ever unpacked."""
