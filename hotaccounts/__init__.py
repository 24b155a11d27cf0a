"""Hot accounts: one identity, many buckets, merged at end of day.

The place is kept by the layers: the shard already books on buckets, and what decides which
account has how many will stand here.
"""
